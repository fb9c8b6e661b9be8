"""Whatever goes wrong on the way to a server and back, as PAI's errors. Pure.

A server's own words may repeat the conversation: they are searched, and never shown.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError, SSLError

from chalicelib.errors import (
    BadRequest,
    ContextTooLong,
    GuardrailIntervened,
    ModelAccessDenied,
    ModelError,
    ModelInterrupted,
    ModelMissing,
    ModelQuotaSpent,
    ModelRejected,
    ModelThrottled,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
    UnknownModel,
)

_TOO_LONG = re.compile(r"context_length|exceed_context|maximum context|context (?:length|size|window)|prompt is too long")
_WINDOW = re.compile(r"context (?:length|size|window)\D{0,40}?(\d{3,})")
_NO_MONEY = re.compile(r"insufficient_quota|insufficient balance|insufficient_credits|exceeded your current quota")
_TOO_FAST = re.compile(r"rate_limit|rate limit|too many requests|overloaded")
_FILTERED = re.compile(r"content_filter|content_policy|responsibleai")
_NO_MODEL = re.compile(r"model_not_found|model.{0,120}?(?:not found|does not exist|not exist)|invalid model|no such model")
_CODE = re.compile(r"[\w.-]{1,60}")


class Refusal(Exception):
    """An HTTP answer that is no answer. `words` are all that the server says of it, in lower case."""

    def __init__(self, status: int, content: bytes, retry_after: str = "") -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self._error = _error_object(content)
        self.words = json.dumps(self._error).lower()
        self._retry_after_s = int(retry_after) if retry_after.isdecimal() else None

    @property
    def param(self) -> str:
        """The member of the request that the server names, as `tools` in `tools[0].function.name`."""
        return re.split(r"[.\[]", str(self._error.get("param") or ""))[0]

    @property
    def is_of_the_model(self) -> bool:
        return self.status in (400, 404, 422) and _NO_MODEL.search(self.words) is not None

    def error(self, model: str, url: str, field: str = "") -> PaiError:
        """Return what this means to the person who asked. `field` is the one of the request that it seems to be about."""
        return (
            meaning_of(self.words, model, self._retry_after_s)
            or (_not_taken(field, model, self._code) if field else None)
            or self._by_status(model, url)
            or ModelRejected(f"{model} does not take a request of this form ({self._code}). Set PAI_MODEL to another model.")
        )

    def _by_status(self, model: str, url: str) -> PaiError | None:
        if self.status in (401, 403):
            return ModelAccessDenied(
                f"The server at {url} refuses PAI's key. Set PAI_OPENAI_API_KEY to one that may use {model}."
            )
        if self.status == 402:
            return _no_money()
        if self.status in (408, 504):
            return ModelTimeout(f"The server at {url} gave up waiting for {model}. Try again, or choose a quicker model.")
        if self.status in (429, 503, 529):
            return _too_fast(self._retry_after_s)
        if self.status >= 500:
            return ModelUnreachable(f"The server at {url} fails (HTTP {self.status}). Its log says why.")
        return not_openai(url) if self.status in (404, 405) or self.status < 400 else None

    @property
    def _code(self) -> str:
        """Return what the server calls it, where that is a bare identifier, else the status."""
        named = (str(self._error.get(name) or "") for name in ("code", "param", "type"))
        return next(filter(_CODE.fullmatch, named), f"HTTP {self.status}")


def _not_taken(field: str, model: str, code: str) -> BadRequest:
    return BadRequest(field, f"{model} or its server does not take this ({code}). Leave it out, or name another model.")


def _error_object(content: bytes) -> Mapping[str, Any]:
    """Return the error in a body; servers differ in how deep they put it, and some only have a sentence."""
    try:
        error = json.loads(content)
    except ValueError:
        return {"message": content.decode(errors="replace")}
    if isinstance(error, dict):
        error = error.get("error", error)
    return error if isinstance(error, dict) else {"message": error}


def meaning_of(words: str, model: str, retry_after_s: int | None = None) -> PaiError | None:
    """Return the error that a server's words mean whatever the status is, None when they mean none of these."""
    if _TOO_LONG.search(words):
        window = _WINDOW.search(words)
        return ContextTooLong(
            f"the conversation does not fit into what {model} can read{f' ({window[1]} tokens)' if window else ''}. "
            "Begin a new conversation, or lower PAI_HISTORY_TOKENS."
        )
    if _NO_MONEY.search(words):
        return _no_money()
    if _TOO_FAST.search(words):
        return _too_fast(retry_after_s)
    if _FILTERED.search(words):
        return GuardrailIntervened("The provider's content filter refused this. Ask in another way.")
    return None


def failed_midway(error: object) -> PaiError:
    """Return the error that an `error` object in place of a chunk means."""
    return meaning_of(json.dumps(error).lower(), "the model") or broken_off("the server ended it with an error")


def no_such_model(model: str, url: str, *, named_by_request: bool) -> PaiError:
    if named_by_request:
        return UnknownModel(f"The server at {url} has no model {model[:80]!r}.")
    return ModelMissing(
        f"The server at {url} has no model {model!r}. `ollama pull {model}` brings it to an Ollama; PAI_MODEL names another."
    )


def not_openai(url: str) -> ModelError:
    return ModelUnreachable(
        f"What answers at {url} does not speak OpenAI's protocol there. PAI_OPENAI_BASE_URL usually ends with /v1."
    )


def broken_off(why: str) -> ModelError:
    return ModelInterrupted(f"The answer broke off: {why}. Ask again.")


def unreachable(error: HTTPError, url: str) -> ModelError:
    """Return what an error of urllib3 means that came before the answer began."""
    if isinstance(error, SSLError):
        return ModelUnreachable(f"The certificate of {url} can't be checked. See that no proxy stands in between.")
    if isinstance(error, ReadTimeoutError):
        return _silent(url)
    if isinstance(error, ProtocolError):
        return ModelUnreachable(f"The server at {url} closed the connection without an answer. Its log may say why.")
    # A connection that is refused counts as a connect timeout in urllib3 2.
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return ModelUnreachable(f"{url} can't be reached in time. Check the network, and PAI_OPENAI_BASE_URL.")
    return ModelUnreachable(f"Nothing answers at {url}. Start the server there (`ollama serve`), or set PAI_OPENAI_BASE_URL.")


def lost(error: HTTPError, url: str) -> ModelError:
    """Return what an error of urllib3 means in the middle of an answer."""
    return _silent(url) if isinstance(error, ReadTimeoutError) else broken_off("the connection was lost")


def _silent(url: str) -> ModelError:
    return ModelTimeout(f"The server at {url} said nothing in time. Try again, or set PAI_MODEL to a quicker model.")


def _no_money() -> ModelError:
    return ModelQuotaSpent(
        "The account's quota or balance at the model's provider is used up. Its console shows and raises it."
    )


def _too_fast(retry_after_s: int | None) -> ModelError:
    return ModelThrottled("The model's server takes no more requests just now. Try again soon.", retry_after_s=retry_after_s)
