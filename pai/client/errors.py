"""What goes wrong with a request, whoever says so: PAI, the gateway before it, or the network."""

from collections.abc import Mapping
from typing import Any

import httpx

from chalicelib import errors
from pai.client.wire import parsed, text_of
from pai.config import is_this_machine

LOST_PAUSE_S = 1.0
"""The pause before a server is asked again that was there a moment ago."""
GATEWAY_PAUSE_S = 2.0
"""The pause after an answer of API Gateway's own that may be asked again: it names none."""


class ClientError(Exception):
    """A request that did not end well. `status` is HTTP's, None when no answer came.

    `retry_after_s` is there where asking again may help.
    `details` are the further members of the error body, such as the `conversation_id` that the question is kept in.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.details = details or {}


class TurnFailed(ClientError):
    """The server took the question, and could not answer it."""


def error_of(response: httpx.Response) -> ClientError:
    """Return what a refusal says, in PAI's shape or in one of API Gateway's own (`message`, or only a status)."""
    body = parsed(response.content) or {}
    code, message = text_of(body, "Code"), text_of(body, "Message") or text_of(body, "message")
    if not code and message == "Missing Authentication Token":  # API Gateway's words for a path that it does not know
        code, message = "RouteNotFound", "There is no PAI at this address. Does its end, such as /api, lack?"
    return ClientError(
        code or response.headers.get("x-amzn-ErrorType", "") or f"Http{response.status_code}",
        message or _wordless(response),
        status=response.status_code,
        retry_after_s=_retry_after_s(response, named=bool(code)),
        request_id=text_of(body, "RequestId") or response.headers.get("x-amzn-RequestId", ""),
        details={name: value for name, value in body.items() if name not in {"Code", "Message", "message", "RequestId"}},
    )


def turn_failed(data: Mapping[str, Any], conversation_id: str, turn_id: str) -> TurnFailed:
    """Return what a turn that failed says. Whether asking again helps is known from its code: the event does not say it."""
    code = text_of(data, "Code")
    known = getattr(errors, code, None)
    kind = known if isinstance(known, type) and issubclass(known, errors.PaiError) else None
    return TurnFailed(
        code or "TurnFailed",
        text_of(data, "Message") or "There is no answer, and the server did not say why.",
        status=kind.status if kind else None,
        retry_after_s=kind.retry_after_s if kind else None,
        details={"conversation_id": conversation_id, "turn_id": turn_id},
    )


def unsendable() -> ClientError:
    sentence = "What was given can't be sent as JSON: a number that is none, or text with half a character in it."
    return ClientError("BadRequest", sentence, status=400)


def unreachable(address: str, error: httpx.TransportError) -> ClientError:
    if is_this_machine(address) and address.startswith("http:"):
        advice = f"Nothing answers at {address}. Start it with `make run` or `pai run`."
    else:
        advice = f"Nothing answers at {address} ({error}). Check the address with `pai use`, and the network."
    return ClientError("Unreachable", advice)


def timed_out(address: str) -> ClientError:
    return ClientError("TimedOut", f"{address} took the request, but no answer came in time.")


def interrupted(address: str) -> ClientError:
    return ClientError("Interrupted", f"The connection to {address} broke off.", retry_after_s=LOST_PAUSE_S)


def not_pai(address: str, response: httpx.Response) -> ClientError:
    kind = response.headers.get("Content-Type", "no type")
    sentence = f"{address} answers, but not as PAI does ({kind}). Check the address with `pai use`."
    return ClientError("NotPai", sentence, status=response.status_code)


def _retry_after_s(response: httpx.Response, *, named: bool) -> float | None:
    """Read Retry-After, in seconds; a gateway's refusal, which has no code of ours, may be asked again without one."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    return GATEWAY_PAUSE_S if response.status_code in {429, 502, 503, 504} and not named else None


def _wordless(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"This address leads on to {response.headers['Location']}. Give that one to `pai use`."
    return f"The server refused with status {response.status_code} and said nothing more."
