"""One file on its way to where the server said: S3 by a signed form, or the server itself by a signed address."""

import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

import httpx

from pai.client.errors import ClientError, error_of
from pai.client.wire import Place
from pai.config import is_this_machine

BLOCK_BYTES = 256 * 1024
TRIES = 3
CONNECT_S = 10.0
STALLED_S = 120.0
"""How long a network may take no bytes, or the other side say nothing after the last one."""

OnBytes = Callable[[int], object]


class Stopped(Exception):
    """The person wants no more to be sent."""


class Sender:
    """Sends files; any number of threads at once. The address is signed, so that no API key goes with the file."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Break off what is on its way, and begin nothing more."""
        self._stopping.set()

    def send(self, place: Place, content_type: str, file: BinaryIO, on_bytes: OnBytes) -> None:
        """Send a file from its beginning; `on_bytes` is told how many have gone. Raises `ClientError`, `Stopped`, OSError.

        What broke off is sent again: the signature holds for several tries.
        """
        for left in reversed(range(TRIES)):
            try:
                self._send_once(place, content_type, file, on_bytes)
                return
            except ClientError as error:
                if not left or error.retry_after_s is None:
                    raise
                self._stopping.wait(error.retry_after_s)

    def _send_once(self, place: Place, content_type: str, file: BinaryIO, on_bytes: OnBytes) -> None:
        file.seek(0)
        counted = _Counted(file, on_bytes, self._stopping)
        url, timeout = place["url"], httpx.Timeout(STALLED_S, connect=CONNECT_S)
        try:
            with httpx.Client(timeout=timeout, verify=url.startswith("https:"), trust_env=not is_this_machine(url)) as http:
                response = http.send(_request(http, place, content_type, counted))
        except httpx.ConnectError as error:
            raise ClientError("Unreachable", f"The files' place does not answer ({error}).", retry_after_s=2) from None
        except httpx.RequestError:
            raise ClientError("Interrupted", "The connection broke off while the file was sent.", retry_after_s=2) from None
        if not response.is_success:
            raise _refusal(response)


def _request(http: httpx.Client, place: Place, content_type: str, counted: "_Counted") -> httpx.Request:
    if fields := place.get("fields"):
        # The form's own fields come first: S3 ignores what follows the file. Its type stands among them.
        form = {"file": ("file", counted, content_type)}
        return http.build_request("POST", place["url"], data=dict(fields), files=form)  # type: ignore[arg-type]
    headers = {**(place.get("headers") or {"Content-Type": content_type}), "Content-Length": str(counted.size_bytes)}
    return http.build_request(place["method"], place["url"], headers=headers, content=iter(counted))


class _Counted:
    """A file that says how much of it was read, and stops when it is to."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes, stopping: threading.Event) -> None:
        self._file = file
        self._on_bytes = on_bytes
        self._stopping = stopping
        self.size_bytes = file.seek(0, 2)
        file.seek(0)

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK_BYTES):
            yield block

    def read(self, size: int = BLOCK_BYTES) -> bytes:
        if self._stopping.is_set():
            raise Stopped
        block = self._file.read(size)
        self._on_bytes(self._file.tell())
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _refusal(response: httpx.Response) -> ClientError:
    """Return what a place for files says no with: PAI's JSON, or S3's XML, of which only the code is told."""
    error = error_of(response)
    code = response.text.partition("<Code>")[2].partition("</Code>")[0]
    sentence = S3_SENTENCES.get(code, f"The files' place refused the file ({code}).") if code else error.message
    again = error.retry_after_s or (2 if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR else None)
    return ClientError(code or error.code, sentence, status=response.status_code, retry_after_s=again)


S3_SENTENCES = {
    "EntityTooLarge": "The file is larger than it was announced.",
    "EntityTooSmall": "The file is smaller than it was announced.",
    "AccessDenied": "The upload address is not accepted any more: it may have expired. Add the file again.",
    "SlowDown": "The files' place takes no more just now.",
}
