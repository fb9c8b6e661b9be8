"""ConverseStream's events → PAI's events. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.errors import ContextTooLong, GuardrailIntervened
from chalicelib.llm import Event, Finish, StopReason, Text, ToolCall
from chalicelib.llm.bedrock.failures import Failed, interrupted
from chalicelib.records import Usage

_STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
}
"""The good ends. What is not here and not refused in `_check_end` came to Bedrock later than to us, and is an end."""


class Answer:
    """One answer as it comes in. `said` is whether any of it went to the caller."""

    def __init__(self, model_id: str) -> None:
        self.said = False
        self.complete = False
        self._model_id = model_id
        self._tools: dict[int, dict[str, str]] = {}
        self._stop_reason = ""
        self._usage = Usage()

    def read(self, wire: Mapping[str, Any]) -> Event | None:
        """Take in one event of the stream; return what it means for the caller, None for nothing (as with reasoning)."""
        event = self._read(wire)
        self.said = self.said or event is not None
        return event

    def finish(self) -> Finish:
        """Return the last event, once the stream has ended. Raises Failed unless it is a good end."""
        self._check_end()
        return Finish(self._usage, _STOP_REASONS.get(self._stop_reason, "end"), self._model_id)

    def _read(self, wire: Mapping[str, Any]) -> Event | None:
        if "contentBlockDelta" in wire:
            return self._delta(wire["contentBlockDelta"])
        if "contentBlockStart" in wire:
            self._start(wire["contentBlockStart"])
        elif "contentBlockStop" in wire:
            return self._stop(wire["contentBlockStop"].get("contentBlockIndex", 0))
        elif "messageStop" in wire:
            self._stop_reason, self.complete = wire["messageStop"].get("stopReason", ""), True
        elif "metadata" in wire:
            self._usage = _usage(wire["metadata"].get("usage", {}))
        return None

    def _start(self, block: Mapping[str, Any]) -> None:
        tool = block.get("start", {}).get("toolUse")
        if tool:
            index = block.get("contentBlockIndex", 0)
            self._tools[index] = {"id": tool.get("toolUseId", ""), "name": tool.get("name", ""), "input": ""}

    def _delta(self, block: Mapping[str, Any]) -> Text | None:
        delta = block.get("delta", {})
        tool = self._tools.get(block.get("contentBlockIndex", 0))
        if tool and "toolUse" in delta:
            tool["input"] += delta["toolUse"].get("input", "")
        return Text(delta["text"]) if delta.get("text") else None

    def _stop(self, index: int) -> ToolCall | None:
        tool = self._tools.pop(index, None)
        if tool is None:
            return None
        try:
            arguments = json.loads(tool["input"] or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            raise interrupted("the model called a tool in a form that cannot be read")
        return ToolCall(tool["id"], tool["name"], arguments)

    def _check_end(self) -> None:
        reason = self._stop_reason
        if not self.complete:
            raise interrupted("the stream ended before the answer did")
        if reason == "guardrail_intervened":
            raise Failed(GuardrailIntervened("Your guardrail stopped this question or its answer. Ask in other words."))
        if reason == "content_filtered":
            raise Failed(GuardrailIntervened("The model provider's content filter stopped this answer. Ask in other words."))
        if reason.startswith("malformed"):
            raise interrupted("the model wrote something that Bedrock could not read")
        if reason == "model_context_window_exceeded" and not self.said:
            raise Failed(ContextTooLong("the conversation fills the model's context window. Start a new one."))


def _usage(usage: Mapping[str, int]) -> Usage:
    return Usage(
        input_tokens=usage.get("inputTokens", 0),
        output_tokens=usage.get("outputTokens", 0),
        cache_read_tokens=usage.get("cacheReadInputTokens", 0),
        cache_write_tokens=usage.get("cacheWriteInputTokens", 0),
    )
