"""An answer's chunks, taken in one by one. Pure."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from chalicelib.errors import GuardrailIntervened
from chalicelib.llm import Event, Finish, Request, StopReason, Text, ToolCall
from chalicelib.llm.calls import Calls
from chalicelib.llm.openai.failures import broken_off, failed_midway
from chalicelib.records import Usage

BYTES_PER_TOKEN = 4
STOP_REASONS: Mapping[str, StopReason] = {"stop": "end", "length": "max_tokens", "tool_calls": "tool_use"}

logger = logging.getLogger(__name__)


class Answer:
    """What has come so far of the answer to a request."""

    def __init__(self, model: str, request: Request) -> None:
        self.model = model
        self._asked_bytes = sum(map(_size_bytes, request.texts))
        self._said_bytes = 0
        self._finish_reason = ""
        self._usage: Mapping[str, Any] = {}
        self._calls = Calls()

    @property
    def complete(self) -> bool:
        return bool(self._finish_reason)

    def read(self, chunk: Mapping[str, Any]) -> Event | None:
        """Take in a `chat.completion.chunk` and return its text, if it has one. Raises the error that comes in its place."""
        if "error" in chunk:
            raise failed_midway(chunk["error"])
        try:
            text = self._read(chunk)
        except (AttributeError, TypeError, IndexError) as error:
            raise broken_off("the server sent what is no part of an answer") from error
        return Text(text) if text else None

    def _read(self, chunk: Mapping[str, Any]) -> str:
        self.model = chunk.get("model") or self.model
        self._usage = {**self._usage, **(chunk.get("usage") or {})}
        if not chunk.get("choices"):
            return ""
        choice = chunk["choices"][0]
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if self._finish_reason == "content_filter":
            raise GuardrailIntervened("The provider's content filter ended the answer. Ask in another way.")
        delta = choice.get("delta") or {}
        for call in delta.get("tool_calls") or ():
            self._said_bytes += add_delta(self._calls, call)
        text: str = delta.get("content") or ""
        self._said_bytes += _size_bytes(text)
        return text

    def calls(self) -> list[ToolCall]:
        """Return the tool calls of an answer that is complete."""
        try:
            return self._calls.whole(cut=self._finish_reason == "length")
        except ValueError as error:
            raise broken_off("the model called a tool in a form that cannot be read") from error

    def finish(self) -> Finish:
        reason = STOP_REASONS.get(self._finish_reason, "end")
        # A call that was asked for by name ends with "stop" at OpenAI, and every call does at some other servers.
        called = reason == "end" and bool(self.calls())
        return Finish(self._counted(), "tool_use" if called else reason, self.model)

    def _counted(self) -> Usage:
        """Return the server's count; an estimate, and a line in the log that says so, when it does not count."""
        asked, said = self._usage.get("prompt_tokens"), self._usage.get("completion_tokens")
        if not asked or said is None:
            logger.warning("%s sends no token counts: they are estimated at %d bytes a token.", self.model, BYTES_PER_TOKEN)
            return Usage(_estimated(self._asked_bytes), _estimated(self._said_bytes))
        cached = (self._usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Usage(asked - cached, said, cache_read_tokens=cached)


def add_delta(calls: Calls, delta: Mapping[str, Any]) -> int:
    """Take in one of a chunk's `tool_calls`; return how many bytes of arguments it brought."""
    function = delta.get("function") or {}
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    calls.add(delta.get("index") or 0, id=delta.get("id") or "", name=function.get("name") or "", arguments=arguments)
    return _size_bytes(arguments)


def _size_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _estimated(size_bytes: int) -> int:
    return -(-size_bytes // BYTES_PER_TOKEN)
