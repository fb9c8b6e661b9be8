"""Stand-ins for AWS, over HTTP: a Lambda that runs the jobs of this process, and a service that refuses everything."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.session import Session

from chalicelib.platform import JOBS


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[str]:
    """Serve on a free port of this machine; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = answer(Request(self.command, self.path, dict(self.headers.items()), body))
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **(reply.headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)
            # Answers cut short, as some headers here promise, must end the connection.
            self.close_connection = int((reply.headers or {}).get("Content-Length", 0)) > len(reply.body)

        do_GET = do_POST = do_PUT = _respond

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def refusing(code: str, status: int = 400) -> Callable[[Request], Answer]:
    """Answer everything with this error, in the form of each protocol: JSON, REST-JSON and REST-XML."""
    body = {"__type": code, "message": "never to be repeated"}
    xml = f"<Error><Code>{code}</Code><Message>never to be repeated</Message></Error>".encode()

    def answer(request: Request) -> Answer:
        if "X-Amz-Target" in request.headers or "/functions/" in request.path:
            return Answer(status, json.dumps(body).encode(), {"x-amzn-ErrorType": code})
        return Answer(status, xml, {"Content-Type": "application/xml"})

    return answer


_INVOKE = Session().get_service_model("lambda").operation_model("Invoke")
_PATH = re.compile(_INVOKE.http["requestUri"].replace("{FunctionName}", "(?P<name>[^/]+)"))


def lambda_jobs(prefix: str) -> Callable[[Request], Answer]:
    """Be Lambda, as botocore's service model describes it, with a function `<prefix>-x` for each job `x`."""

    def answer(request: Request) -> Answer:
        match = _PATH.fullmatch(request.path)
        assert match
        assert request.method == _INVOKE.http["method"]
        assert request.headers["X-Amz-Invocation-Type"] == "Event"
        job = JOBS.get(match["name"].removeprefix(f"{prefix}-"))
        if job is None:
            return refusing("ResourceNotFoundException", 404)(request)
        threading.Thread(target=_run, args=(job, json.loads(request.body)), daemon=True).start()
        return Answer(202)

    return answer


def _run(job: Callable[[Mapping[str, object]], object], payload: Mapping[str, object]) -> None:
    try:
        job(payload)
    except ZeroDivisionError:
        return  # what the suite's failing job raises; a function's failure is nothing to who invoked it
