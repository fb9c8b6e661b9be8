"""An answer's chunks, taken in one by one. Pure."""

import logging
from collections.abc import Mapping
from typing import Any

from chalicelib.errors import GuardrailIntervened
from chalicelib.llm import Finish, Request, StopReason
from chalicelib.llm.openai.failures import broken_off, failed_midway
from chalicelib.records import Usage

BYTES_PER_TOKEN = 4
STOP_REASONS: Mapping[str, StopReason] = {"stop": "end", "length": "max_tokens", "tool_calls": "tool_use"}

logger = logging.getLogger(__name__)


class Answer:
    """What has come so far of the answer to a request."""

    def __init__(self, model: str, request: Request) -> None:
        self.model = model
        self._asked_bytes = sum(_size_bytes(text) for text in (request.system, *(said.text for said in request.messages)))
        self._said_bytes = 0
        self._finish_reason = ""
        self._usage: Mapping[str, Any] = {}

    @property
    def complete(self) -> bool:
        return bool(self._finish_reason)

    def read(self, chunk: Mapping[str, Any]) -> str:
        """Take in a `chat.completion.chunk` and return its text. Raises the error that comes in place of one."""
        if "error" in chunk:
            raise failed_midway(chunk["error"])
        try:
            return self._read(chunk)
        except (AttributeError, TypeError, IndexError) as error:
            raise broken_off("the server sent what is no part of an answer") from error

    def _read(self, chunk: Mapping[str, Any]) -> str:
        self.model = chunk.get("model") or self.model
        self._usage = {**self._usage, **(chunk.get("usage") or {})}
        if not chunk.get("choices"):
            return ""
        choice = chunk["choices"][0]
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if self._finish_reason == "content_filter":
            raise GuardrailIntervened("The provider's content filter ended the answer. Ask in another way.")
        text: str = (choice.get("delta") or {}).get("content") or ""
        self._said_bytes += _size_bytes(text)
        return text

    def finish(self) -> Finish:
        return Finish(self._counted(), STOP_REASONS.get(self._finish_reason, "end"), self.model)

    def _counted(self) -> Usage:
        """Return the server's count; an estimate, and a line in the log that says so, when it does not count."""
        asked, said = self._usage.get("prompt_tokens"), self._usage.get("completion_tokens")
        if not asked or said is None:
            logger.warning("%s sends no token counts: they are estimated at %d bytes a token.", self.model, BYTES_PER_TOKEN)
            return Usage(_estimated(self._asked_bytes), _estimated(self._said_bytes))
        cached = (self._usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Usage(asked - cached, said, cache_read_tokens=cached)


def _size_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _estimated(size_bytes: int) -> int:
    return -(-size_bytes // BYTES_PER_TOKEN)
