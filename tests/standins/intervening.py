"""Something between a client and an account: answers some requests itself, as it is told, and passes the others on.

For what moto can't be brought to do: a stack whose update failed, a service that refuses.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_OWN_HEADERS = {"connection", "content-length", "date", "server", "transfer-encoding", "content-encoding", "host"}


@dataclass
class Answer:
    """Answers requests whose method, path and body together hold all of `having`; `times` is how many, None is all."""

    having: Sequence[str]
    body: str = ""
    status: int = 200
    content_type: str = "text/xml"
    times: int | None = None


class Intervening:
    """The server, in threads of this process; `requests` are those that came, each as method, path and body in one text."""

    def __init__(self, upstream: str, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []
        self.upstream = upstream
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer_for(self, request: str) -> Answer | None:
        with self._lock:
            self.requests.append(request)
            for answer in self.answers:
                if answer.times != 0 and all(part in request for part in answer.having):
                    if answer.times is not None:
                        answer.times -= 1
                    return answer
        return None

    def __enter__(self) -> "Intervening":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, standin: Intervening) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.standin = standin


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.standin.answer_for(f"{self.command} {self.path}\n{body.decode(errors='replace')}")
        if answer is None:
            kept = {name: value for name, value in self.headers.items() if name.lower() not in _OWN_HEADERS - {"host"}}
            passed = httpx.request(
                self.command, self.server.standin.upstream + self.path, content=body, headers=kept, timeout=60
            )
            self._send(passed.status_code, dict(passed.headers), passed.content)
        else:
            self._send(answer.status, {"Content-Type": answer.content_type}, answer.body.encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _do

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _OWN_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
