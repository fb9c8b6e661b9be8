"""A stand-in for a model hub: one file over HTTP with Range, that breaks off, refuses or lies where a test says so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    content: bytes
    url: str = ""
    status: int = 200
    linked_etag: str = ""
    ranges: bool = True
    break_after_bytes: list[int] = field(default_factory=list)
    """How much each of the next downloads sends before it breaks off."""
    asked: list[str] = field(default_factory=list)
    """The range that each GET asked for."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the hub's file until this block is left."""

    class Handler(_Handler):
        owner = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}/model.gguf"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: Hub

    def do_HEAD(self) -> None:
        self._begin(self.owner.status, len(self.owner.content))

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.owner.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-") or 0) if self.owner.ranges else 0
        rest = self.owner.content[start:]
        self._begin(206 if start else self.owner.status, len(rest), start)
        breaks = self.owner.break_after_bytes
        self.wfile.write(rest[: breaks.pop(0)] if breaks else rest)

    def _begin(self, status: int, length: int, start: int = 0) -> None:
        size = len(self.owner.content)
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.owner.linked_etag:
            self.send_header("X-Linked-Etag", f'"{self.owner.linked_etag}"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output to itself."""
