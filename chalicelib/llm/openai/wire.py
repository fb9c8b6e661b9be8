"""HTTP with one server, and the server-sent events of its answers.

Their format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

import urllib3
from botocore.compat import set_socket_timeout
from urllib3.exceptions import HTTPError, LocationParseError

from chalicelib.errors import Misconfigured
from chalicelib.llm.openai.failures import Refusal, broken_off, lost, not_openai, unreachable

CONNECT_TIMEOUT_S = 5.0
LEAST_READ_S = 0.05
ERROR_BYTES = 65_536
"""As much of an error's body is read."""
DONE = b"[DONE]"


class Reply:
    """A streamed answer. Leaving its block before the end closes the connection, at which servers stop working."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self._response = response
        self._url = url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def chunks(self, until: float) -> Generator[Mapping[str, Any] | None]:
        """Yield each event's JSON object, and None for a mere sign of life, until `[DONE]` or the stream's end.

        No read lasts beyond `until`, in seconds of `time.monotonic`.
        """
        try:
            for line in self._lines(until):
                field, _, data = line.partition(b":")
                if field != b"data":
                    yield None
                elif data.strip() == DONE:
                    self._let_go()
                    return
                else:
                    yield _object(data)
        except HTTPError as error:
            raise lost(error, self._url) from error

    def _lines(self, until: float) -> Iterator[bytes]:
        rest = b""
        while piece := self._read_some(until):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
        yield rest

    def _read_some(self, until: float) -> bytes:
        # A socket's timeout is for one read, and what is left is less each time.
        with suppress(AttributeError):  # a response that has been read to its end has no socket any more
            set_socket_timeout(self._response, max(until - time.monotonic(), LEAST_READ_S))
        return self._response.read1(65_536)

    def _let_go(self) -> None:
        """Give the connection back for the next request."""
        self._response.drain_conn()
        self._response.release_conn()


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise broken_off("the server sent what is no JSON") from error
    if not isinstance(value, dict):
        raise broken_off("the server sent what is no part of an answer")
    return value


class Server:
    """A server at a base URL, such as http://127.0.0.1:11434/v1. `url` is that, without a password, for people to read."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._base = base_url.strip().rstrip("/")
        self.url = _shown(self._base)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._pool = urllib3.PoolManager(maxsize=8)

    def models(self, timeout_s: float) -> list[str]:
        """Return the ids of the models that the server has, in its order."""
        response = self._request("GET", "/models", timeout_s, {})
        try:
            content = response.read()
        except HTTPError as error:
            raise lost(error, self.url) from error
        if response.status != 200:
            raise Refusal(response.status, content).error("its models", self.url)
        try:
            return [str(model["id"]) for model in json.loads(content)["data"] or ()]
        except (ValueError, KeyError, TypeError) as error:
            raise not_openai(self.url) from error

    def ask(self, body: Mapping[str, Any], timeout_s: float) -> Reply:
        """Post to `/chat/completions`. Raises Refusal when the answer is none."""
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        response = self._request("POST", "/chat/completions", timeout_s, headers, json.dumps(body).encode())
        if response.status == 200 and "event-stream" in response.headers.get("Content-Type", ""):
            return Reply(response, self.url)
        with Reply(response, self.url):
            raise Refusal(response.status, _beginning(response), response.headers.get("Retry-After", ""))

    def _request(
        self, method: str, path: str, timeout_s: float, headers: Mapping[str, str], content: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, timeout_s), read=timeout_s)
        try:
            # A redirect is not followed: it would take the key to who knows whom.
            return self._pool.request(
                method,
                self._base + path,
                body=content,
                headers={**headers, **self._headers},
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except HTTPError as error:
            raise unreachable(error, self.url) from error


def _beginning(response: urllib3.BaseHTTPResponse) -> bytes:
    try:
        return response.read(ERROR_BYTES)
    except HTTPError:
        # The status alone will have to do.
        return b""


def _shown(base_url: str) -> str:
    try:
        url = urllib3.util.parse_url(base_url)
    except LocationParseError:
        url = urllib3.util.Url()
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(
            "PAI_OPENAI_BASE_URL must be an address such as http://127.0.0.1:11434/v1 or https://api.openai.com/v1."
        )
    return url._replace(auth=None).url
