"""HTTP without a framework: checks what came in, shapes what goes out, turns errors into answers and a log line."""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib import logs
from chalicelib.errors import BadRequest, InternalError, PaiError, TooLarge

BODY_BYTES = 1_000_000
HEADERS_SENT = ["Authorization", "Idempotency-Key", "Prefer", "Last-Event-ID", "*"]
HEADERS_READ = ["Retry-After", "X-Next-Cursor", "Location", "Preference-Applied", "x-request-id", "x-should-retry"]
"""What a browser on another site may send beyond the ordinary, and read of an answer."""


@dataclass(frozen=True)
class Request:
    """One request, after the authorizer. `headers` have lower-case names; `body` is as it came."""

    request_id: str
    route: str
    owner: str = ""
    key_id: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def streams(self) -> bool:
        """Whether an answer can be sent piece by piece: API Gateway and plain `chalice local` can't."""
        return _door.get() is not None

    @property
    def fields(self) -> "Fields":
        """The members of the JSON body. An empty body is an empty object."""
        if len(self.body) > BODY_BYTES:
            raise TooLarge("body", f"is larger than {BODY_BYTES:,} bytes")
        if not self.body.strip():
            return Fields({})
        try:
            members = json.loads(self.body.decode())
        except (ValueError, RecursionError):
            raise BadRequest("body", "is not JSON in UTF-8") from None
        if not isinstance(members, dict):
            raise BadRequest("body", "must be a JSON object")
        return Fields(members)

    @property
    def parameters(self) -> "Fields":
        """The query string's parameters, numbers read as numbers."""
        return Fields({name: int(value) if _is_number(name, value) else value for name, value in self.query.items()})


def request_of(current: Any, route: str) -> Request:
    """Return what Chalice knows of its current request, as plain data."""
    who = current.context.get("authorizer", {})
    return Request(
        request_id=current.lambda_context.aws_request_id,
        route=route,
        owner=who.get("principalId", ""),
        key_id=who.get("key_id", ""),
        body=current.raw_body,
        headers={name.lower(): value for name, value in current.headers.items()},
        query=dict(current.query_params or {}),
    )


@dataclass(frozen=True)
class Reply:
    """An answer on its way out. `log` joins the request's log line.

    `body` is JSON data; if `content_type` says so it is text, or a generator of pieces of text, which must not raise a
    `PaiError`: the status has gone out by then. It is closed early when whoever asked has gone, perhaps before it began.
    An empty piece is a sign of life: who waits gives one about each second, so that it can be closed at all.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    log: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> str:
        if isinstance(self.body, Generator):
            return "".join(self.body)
        if self.content_type != "application/json":
            return str(self.body)
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Fields:
    """Members of an object, read with their types checked: BadRequest names the field that is wrong. null is absent."""

    members: Mapping[str, Any]

    def text(self, name: str, *, longest: int, largest: int = 0, default: str | None = None) -> str:
        """Return a string of at most `longest` characters and (if given) `largest` bytes; TooLarge if it is more."""
        value: str = self._get(name, str, "a string", default)
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise BadRequest(name, "holds half a surrogate pair, which is not Unicode text") from None
        if len(value) > longest:
            raise TooLarge(name, f"is longer than {longest:,} characters")
        if largest and size > largest:
            raise TooLarge(name, f"is larger than {largest:,} bytes of UTF-8")
        return value

    def required_text(self, name: str, *, longest: int, largest: int = 0) -> str:
        """Return a string with something other than white space in it."""
        value = self.text(name, longest=longest, largest=largest)
        if not value.strip():
            raise BadRequest(name, "must not be empty")
        return value

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        """Return a whole number; to JSON, 8.0 is one."""
        value = self._get(name, (int, float), "a whole number", None, optional=True)
        if isinstance(value, float) and not value.is_integer():
            raise BadRequest(name, "must be a whole number")
        if value is not None and not least <= value <= most:
            raise BadRequest(name, f"must be from {least} to {most}")
        return None if value is None else int(value)

    def number(self, name: str, *, least: float, most: float) -> float | None:
        value = self._get(name, (int, float), "a number", None, optional=True)
        if value is not None and not least <= value <= most:
            raise BadRequest(name, f"must be from {least:g} to {most:g}")
        return value  # type: ignore[no-any-return]

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of the choices, the first when the field is absent."""
        value = self._get(name, str, "a string", choices[0])
        if value not in choices:
            raise BadRequest(name, f"must be one of {', '.join(choices)}")
        return str(value)

    def _get(self, name: str, kind: Any, called: str, default: Any, optional: bool = False) -> Any:
        value = self.members.get(name)
        if value is None:
            if default is None and not optional:
                raise BadRequest(name, "is missing")
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadRequest(name, f"must be {called}")
        return value


def answer(handle: Callable[..., Reply], request: Request, path: Mapping[str, str]) -> Reply:
    """Call a route's function with the request and its path parameters; whatever happens, return a reply and log a line."""
    started = time.monotonic()
    try:
        reply = handle(request, **path)
        if isinstance(reply.body, Generator) and not request.streams:
            reply = replace(reply, body=reply.text)
    except PaiError as error:
        reply = error_reply(error, request.request_id)
    except Exception as error:  # noqa: BLE001 - the outermost place: a defect becomes a logged 500, never a stack trace
        logs.defect(error, request.request_id)
        reply = error_reply(
            InternalError("PAI made a mistake. Its log has the details under this RequestId."), request.request_id
        )
    logs.request_done(
        {
            "request_id": request.request_id,
            "route": request.route,
            "status": reply.status,
            "duration_ms": round((time.monotonic() - started) * 1000, 1),
            "key_id": request.key_id,
            **reply.log,
        }
    )
    return reply


class Door:
    """Where a server that can send pieces takes them: `pieces` is None unless the answer has some."""

    pieces: Generator[str] | None = None


_door: ContextVar[Door | None] = ContextVar("door", default=None)


@contextmanager
def streaming() -> Iterator[Door]:
    """Let answers that are generators leave through a door, instead of in the body, while this block lasts."""
    door = Door()
    token = _door.set(door)
    try:
        yield door
    finally:
        _door.reset(token)


def body_of(reply: Reply) -> str:
    """Return a reply's body as text; empty if its pieces leave through the door."""
    door = _door.get()
    if door is None or not isinstance(reply.body, Generator):
        return reply.text
    door.pieces = reply.body
    return ""


def error_reply(error: PaiError, request_id: str) -> Reply:
    """Return the one shape errors have, with Retry-After where waiting helps."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    body = {"Code": error.code, "Message": error.message, "RequestId": request_id, **error.details}
    return Reply(body, error.status, headers, log={"error": error.code})


def _is_number(name: str, value: str) -> bool:
    return name == "limit" and len(value) < 10 and value.isascii() and value.removeprefix("-").isdigit()
