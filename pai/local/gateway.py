"""What API Gateway does in the cloud, on one machine: a request in, Chalice's answer or a refusal out.

Chalice's own local gateway finds the route, asks the authorizer and calls the app. Added here are the product's error bodies
where Chalice speaks for API Gateway: unknown routes, wrong methods, refused keys.
"""

import base64
import json
import threading
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ForbiddenError, LocalChalice, LocalGateway, NotAuthorizedError

from chalicelib import logs
from chalicelib.errors import Forbidden, InternalError, MethodNotAllowed, PaiError, RouteNotFound, Unauthorized
from chalicelib.http import BODY_BYTES, error_reply, streaming
from chalicelib.v1.failures import failed as openai_form
from chalicelib.wiring import here

UPLOADS = "/uploads/"
OPENAI = "/v1/"
LIVE = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""What keeps caches, and proxies like nginx, from holding events back. A reply's own headers go before."""


@dataclass(frozen=True)
class HttpRequest:
    """One whole request. Header names are in lower case; `target` is the request line's second word."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class HttpReply:
    """One answer, without the headers that belong to the connection. If there are `pieces`, they are its body.

    `request_id` is what to log beside a defect that shows only while pieces are drawn.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    pieces: Generator[str] | None = None
    request_id: str = ""


class PerThread(LocalChalice):
    """Chalice keeps the current request and its context on the app. Chalice's own class makes that one request for each
    thread; this one does the same for the context, where the request's id is."""

    _local = threading.local()

    @property
    def lambda_context(self) -> Any:
        return self._local.context

    @lambda_context.setter
    def lambda_context(self, value: Any) -> None:
        self._local.context = value


class Gateway:
    """Answers requests with one Chalice app; any number of threads may ask at once."""

    def __init__(self, app: Chalice, config: Config) -> None:
        if not isinstance(app, PerThread):
            app.__class__ = type("ThreadedChalice", (PerThread, type(app)), {})
        self._app: Any = app
        self._chalice = LocalGateway(app, config)

    def body_bytes(self, method: str, target: str) -> int:
        """Return how large the body of such a request may be: of a file, as large as was announced. Raises `PaiError`."""
        path = _origin_form(target).partition("?")[0]
        if method != "PUT" or not path.startswith(UPLOADS):
            return BODY_BYTES
        return here().uploads.grant(path.removeprefix(UPLOADS)).size_bytes

    def answer(self, request: HttpRequest) -> HttpReply:
        """Return the app's answer, or the refusal of a request that does not get that far. Never raises."""
        path = _origin_form(request.target)
        try:
            method = self._known_method(request.method, path)
            with streaming() as door:
                reply = _reply(self._chalice.handle_request(method, path, dict(request.headers), request.body or None))
            return self._with(door.pieces, reply) if door.pieces else reply
        except NotAuthorizedError:
            missing = Unauthorized("Send an API key, as `Authorization: Bearer <key>`; `pai keys create` makes one.")
            return refusal(missing, path)
        except ForbiddenError:
            wrong = Forbidden("This API key is not valid: it is unknown, expired or disabled. `pai keys list` shows them.")
            return refusal(wrong, path)
        except PaiError as error:
            return refusal(error, path)
        except Exception as error:  # noqa: BLE001 - the outermost place: a defect becomes a logged 500
            return _defect(error)

    def _with(self, pieces: Generator[str], reply: HttpReply) -> HttpReply:
        """Return the reply with its pieces; without, if Chalice found fault with it and gave an answer of its own instead."""
        if reply.body:
            return reply
        return replace(reply, pieces=pieces, request_id=self._app.lambda_context.aws_request_id)

    def _known_method(self, method: str, path: str) -> str:
        """Return the method to call; HEAD is GET, whose body the server then keeps back."""
        try:
            route = self._chalice.event_converter.create_lambda_event(method, path, {})["requestContext"]["resourcePath"]
        except ValueError:
            raise RouteNotFound("There is no such address here. GET /openapi.json lists those there are.") from None
        methods = self._app.routes[route]
        if method == "HEAD" and "GET" in methods:
            return "GET"
        if method not in methods and method != "OPTIONS":
            raise MethodNotAllowed(tuple(methods))
        return method


def refusal(error: PaiError, path: str = "") -> HttpReply:
    """Return the answer that carries this error, and log it: the app, which logs what it answers, never saw the request.

    Under `/v1/` it has OpenAI's form, which is all that its clients show.
    """
    request_id = str(uuid.uuid4())
    reply = openai_form(error) if path.startswith(OPENAI) else error_reply(error, request_id)
    logs.request_done({"request_id": request_id, "route": "", "status": reply.status, **reply.log})
    headers = {"Content-Type": reply.content_type, "Access-Control-Allow-Origin": "*"}
    return HttpReply(reply.status, [*(headers | {**reply.headers, **_error_headers(error)}).items()], reply.text.encode())


def _defect(error: BaseException) -> HttpReply:
    reply = refusal(InternalError("PAI made a mistake. Its log has the details beside this RequestId."))
    logs.defect(error, json.loads(reply.body)["RequestId"])
    return reply


def _error_headers(error: PaiError) -> Mapping[str, str]:
    """The headers that HTTP asks for beside these statuses."""
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    return {}


def _origin_form(target: str) -> str:
    """Return path and query: a proxy's client names the whole URL, and `//x` would be read as the name of a host."""
    if not target.startswith("/"):
        url = urlsplit(target)
        target = url.path + (f"?{url.query}" if url.query else "")
    return "/" + target.lstrip("/")


def _reply(response: Mapping[str, Any]) -> HttpReply:
    """Turn a Lambda proxy response into what goes over the wire."""
    body = response.get("body") or ""
    content = base64.b64decode(body) if response.get("isBase64Encoded") else body
    headers = [*response.get("headers", {}).items()]
    headers += [(name, value) for name, values in response.get("multiValueHeaders", {}).items() for value in values]
    named = {name.lower(): value for name, value in headers}
    if "content-type" not in named:
        headers.append(("Content-Type", "application/json"))
    elif named["content-type"].startswith("text/event-stream"):
        headers += [(name, value) for name, value in LIVE.items() if name.lower() not in named]
    return HttpReply(response["statusCode"], headers, content.encode() if isinstance(content, str) else content)
