"""A model from its official hub: one file over HTTP, resumed with Range."""

import queue
import threading
from pathlib import Path

import httpx

from pai.local.catalogue import Model
from pai.local.source import Progress, SourceFailed, ensure_room, size_of

PATIENCE_S = 4.0
"""How long the hub may take to answer at all, before another source is tried."""
STALL_S = 20.0
FRUITLESS_TRIES = 3


def append(url: str, model: Model, part: Path, progress: Progress, patience_s: float = PATIENCE_S) -> None:
    """Append to `part` what it lacks of the model, going on after each break as long as something came. `SourceFailed`."""
    if size_of(part) == model.size_bytes:
        return
    host = httpx.URL(url).host
    progress(size_of(part), model.size_bytes, f"asking {host}")
    _ask(url, model, patience_s)
    ensure_room(part.parent, model.size_bytes - size_of(part))
    fruitless = 0
    with httpx.Client(timeout=httpx.Timeout(STALL_S, connect=patience_s), follow_redirects=True) as client:
        while size_of(part) < model.size_bytes:
            before = size_of(part)
            try:
                _download(client, url, model, part, progress)
            except httpx.HTTPError as error:
                fruitless = fruitless + 1 if size_of(part) == before else 0
                if fruitless == FRUITLESS_TRIES:
                    raise SourceFailed(f"{host} breaks off") from error


def _ask(url: str, model: Model, patience_s: float) -> None:
    """Raise `SourceFailed` unless the hub answers soon that it has this very file.

    In a thread of its own, because the look-up of a name knows no timeout.
    """
    answer: queue.SimpleQueue[httpx.Response | httpx.HTTPError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(httpx.head(url, timeout=patience_s))
        except httpx.HTTPError as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    host = httpx.URL(url).host
    try:
        response = answer.get(timeout=patience_s)
    except queue.Empty:
        raise SourceFailed(f"{host} does not answer") from None
    if isinstance(response, httpx.HTTPError):
        raise SourceFailed(f"{host} is out of reach") from response
    if response.is_error:
        raise SourceFailed(f"{host} answers {response.status_code}")
    # The hub says the sha256 of large files: no need to fetch a gigabyte to see that it is another one.
    if response.headers.get("x-linked-etag", "").strip('"') not in ("", model.sha256):
        raise SourceFailed(f"{host} has another file")


def _download(client: httpx.Client, url: str, model: Model, part: Path, progress: Progress) -> None:
    """Fetch from the end of `part` on; httpx raises when the connection breaks."""
    start = size_of(part)
    # Compressed, the range would be of other bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        _check(response, model, start)
        with part.open("ab") as file:
            if response.status_code == httpx.codes.OK:
                file.truncate(0)
            for piece in response.iter_raw():
                file.write(piece)
                progress(file.tell(), model.size_bytes, f"from {response.url.host}")


def _check(response: httpx.Response, model: Model, start: int) -> None:
    """Raise `SourceFailed` unless this is the model's file, from `start` or from its beginning."""
    host = response.url.host
    if response.is_error:
        raise SourceFailed(f"{host} answers {response.status_code}")
    whole = f"bytes {start}-{model.size_bytes - 1}/{model.size_bytes}"
    if response.status_code == httpx.codes.PARTIAL_CONTENT and response.headers.get("content-range") != whole:
        raise SourceFailed(f"{host} sends another range")
    if response.status_code == httpx.codes.OK and response.headers.get("content-length") != str(model.size_bytes):
        raise SourceFailed(f"{host} has another file")
