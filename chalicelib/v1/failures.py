"""PAI's errors in OpenAI's form: https://platform.openai.com/docs/guides/error-codes.

A `code` is OpenAI's where its clients act on one, and else the name of PAI's error.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from chalicelib import logs
from chalicelib.errors import (
    BudgetSpent,
    ContextTooLong,
    GuardrailIntervened,
    InternalError,
    PaiError,
    RateLimited,
    UnknownModel,
)
from chalicelib.http import Reply, Request

PATIENCE_OF_CLIENTS_S = 60
"""The openai package keeps to a Retry-After up to this; told to wait longer it would try again at once."""

_CODES: Mapping[type[PaiError], str] = {
    UnknownModel: "model_not_found",
    ContextTooLong: "context_length_exceeded",
    GuardrailIntervened: "content_filter",
    BudgetSpent: "insufficient_quota",
    RateLimited: "rate_limit_exceeded",
}
_STATUSES: Mapping[type[PaiError], int] = {UnknownModel: 404, ContextTooLong: 400}
"""Where OpenAI's status is another than PAI's: its clients know these two by status and code together."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_errors(handle: Callable[..., Reply]) -> Callable[..., Reply]:
    """Have a route's function answer in OpenAI's form, whatever happens in it."""

    @wraps(handle)
    def answer(request: Request, **path: str) -> Reply:
        try:
            reply = handle(request, **path)
        except PaiError as error:
            reply = failed(error)
        except Exception as error:  # noqa: BLE001 - as in http.answer: a defect becomes a logged 500
            reply = failed(defect(error, request.request_id))
        # The openai package shows this as `_request_id`.
        named = {"x-request-id": request.request_id}
        return Reply(reply.body, reply.status, {**reply.headers, **named}, reply.content_type, reply.log)

    return answer


def failed(error: PaiError) -> Reply:
    """Return the reply that an error is, with Retry-After where waiting helps."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
        if error.retry_after_s > PATIENCE_OF_CLIENTS_S:
            headers["x-should-retry"] = "false"
    return Reply(body(error), _STATUSES.get(type(error), error.status), headers, log={"error": error.code})


def body(error: PaiError) -> dict[str, Any]:
    """Return an error as a body, or as an event in the middle of a stream."""
    status = _STATUSES.get(type(error), error.status)
    kind = "insufficient_quota" if isinstance(error, BudgetSpent) else _TYPES.get(status, _kind(status))
    code = _CODES.get(type(error), error.code)
    param = "messages" if isinstance(error, ContextTooLong) else error.details.get("field")
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def _kind(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


def defect(error: BaseException, request_id: str) -> PaiError:
    """Log a mistake of ours, and return what to say of it."""
    logs.defect(error, request_id)
    return InternalError("PAI made a mistake. Its log has the details under this request's id.")
