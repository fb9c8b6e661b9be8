"""A stand-in for PAI's server over real HTTP, where a test decides how a turn goes: what /chat answers, what each response
with events holds, where it is cut, and when the server is away.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeVar

Json = dict[str, Any]
Act = TypeVar("Act")
CONVERSATION, TURN = "11111111-1111-4111-8111-111111111111", "01TURN"
ACCEPTED = {"conversation_id": CONVERSATION, "turn_id": TURN, "message_id": "01ANSWER", "state": "running"}
PATIENCE_S = 60.0
"""How long an answer waits for the test: longer than the test for the answer."""


@dataclass(frozen=True)
class Answer:
    """An answer of JSON. With `drop` the connection is closed instead."""

    status: int = 202
    body: Json = field(default_factory=lambda: dict(ACCEPTED))
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False


@dataclass(frozen=True)
class Events:
    """A response with events, in these pieces; it waits where one is a threading.Event. Then it ends, or is cut.

    A `held` one is sent when it is whole, with its length.
    """

    pieces: Sequence[bytes | threading.Event]
    then: Literal["end", "cut"] = "end"
    held: bool = False


@dataclass(frozen=True)
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


def event(kind: str, data: Json, event_id: str = "") -> bytes:
    """Return a server-sent event."""
    lines = [f"id: {event_id}"] if event_id else []
    return "\n".join([*lines, f"event: {kind}", f"data: {json.dumps(data, ensure_ascii=False)}", "", ""]).encode()


def text(words: str, event_id: str = "") -> bytes:
    return event("text", {"text": words}, event_id)


def reply(message: str, **members: Any) -> Json:
    """Return what /chat answers."""
    counted = {"input_tokens": 1, "output_tokens": 2}
    return {"conversation_id": CONVERSATION, "message": message, "usage": counted, "model": "standin", **members}


def done(message: str, **members: Any) -> bytes:
    return event("done", reply(message, **members))


@dataclass
class TurnsStandin:
    """What the server does and has seen. `chats` and `events` are answered in order, the last of them again and again."""

    chats: list[Answer] = field(default_factory=lambda: [Answer()])
    events: list[Events | Answer] = field(default_factory=lambda: [Events([done("Hello.")])])
    usage: Json = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when a client asks to stop the turn."""
    told: threading.Event | None = None
    """What the answer to that waits for."""
    port: int = 0
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None
    _connections: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self, method: str, end: str) -> list[Seen]:
        """Return the requests with this method whose path ends so."""
        return [request for request in self.seen if request.method == method and request.path.endswith(end)]

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""

        class Handler(_Handler):
            owner = self

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True  # one may wait for something that never comes
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self) -> None:
        """Go away, as a server does that is killed: connections break off, and nothing listens any more."""
        if self._server and self._thread:
            self._server.shutdown()
            self._server.socket.close()
            self._thread.join()
            self._server = None
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def act_on(self, request: Seen) -> Answer | Events:
        match request.method, request.path.partition("?")[0].rpartition("/")[2]:
            case "POST", "chat" | "regenerate":
                return _next(self.chats)
            case "POST", "conversations":
                return Answer(201, {"conversation_id": CONVERSATION})
            case "GET", "events":
                return _next(self.events)
            case "DELETE", _:
                self.stopped.set()
                if self.told:
                    self.told.wait(PATIENCE_S)
                return Answer()
            case "GET", "usage":
                return Answer(200, self.usage)
        return Answer(200, {"items": [], "next_cursor": None})


def _next(acts: list[Act]) -> Act:
    return acts.pop(0) if len(acts) > 1 else acts[0]


@contextmanager
def turns_standin(**members: Any) -> Iterator[TurnsStandin]:
    """Serve on a free port, until this block is left."""
    standin = TurnsStandin(**members)
    standin.start()
    try:
        yield standin
    finally:
        standin.end()


class _Handler(BaseHTTPRequestHandler):
    owner: TurnsStandin
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        self.owner._connections.add(self.connection)
        with suppress(OSError):  # the client has left, or the server goes away
            super().handle()
        self.owner._connections.discard(self.connection)

    def _act(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Seen(self.command, self.path, dict(self.headers), json.loads(content or "{}"))
        self.owner.seen.append(request)
        act = self.owner.act_on(request)
        if isinstance(act, Answer):
            self._answer(act)
        elif act.held:
            self._send(200, "text/event-stream", b"".join(_waited(act.pieces)))
        else:
            self._stream(act)

    do_GET = do_POST = do_DELETE = _act

    def _answer(self, act: Answer) -> None:
        if act.drop:
            self.close_connection = True
        else:
            self._send(act.status, "application/json", json.dumps(act.body).encode(), act.headers)

    def _send(self, status: int, content_type: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, **(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, act: Events) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in _waited(act.pieces):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.close_connection = act.then != "end"
        if act.then == "end":
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output to itself."""


def _waited(pieces: Sequence[bytes | threading.Event]) -> Iterator[bytes]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            piece.wait(PATIENCE_S)
