"""ConverseStream's events → PAI's events. Pure."""

from collections.abc import Mapping
from typing import Any

from chalicelib.errors import ContextTooLong, GuardrailIntervened
from chalicelib.llm import Event, Finish, StopReason, Text
from chalicelib.llm.bedrock.failures import Failed, interrupted
from chalicelib.llm.bedrock.tools import JSON_TOOL
from chalicelib.llm.calls import Calls, is_json_object
from chalicelib.records import Usage

_STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
}
"""The good ends. What is not here and not refused in `_check_end` came to Bedrock later than to us, and is an end."""


_CUT = ("max_tokens", "model_context_window_exceeded")
_BAD_ENDS = ("guardrail_intervened", "content_filtered", "malformed")


class Answer:
    """One answer as it comes in. `said` is whether any of it went to the caller.

    With `json_by_tool` the arguments of JSON_TOOL are the answer, and what is said beside it is not.
    """

    def __init__(self, model_id: str, *, json_by_tool: bool = False) -> None:
        self.said = False
        self.complete = False
        self._model_id = model_id
        self._calls = Calls()
        self._called = False
        self._json_by_tool = json_by_tool
        self._json_blocks: list[int] = []
        self._aside = ""
        self._stop_reason = ""
        self._usage = Usage()

    def read(self, wire: Mapping[str, Any]) -> list[Event]:
        """Take in one event of the stream; return what it means for the caller, often nothing (as with reasoning)."""
        events = self._read(wire)
        self.said = self.said or bool(events)
        return events

    def finish(self) -> Finish:
        """Return the last event, once the stream has ended. Raises Failed unless it is a good end."""
        self._check_end()
        reason = _STOP_REASONS.get(self._stop_reason, "end")
        if self._json_by_tool and reason == "tool_use" and not self._called:
            reason = "end"
        return Finish(self._usage, reason, self._model_id)

    def _read(self, wire: Mapping[str, Any]) -> list[Event]:
        if "contentBlockDelta" in wire:
            return self._delta(wire["contentBlockDelta"])
        if "contentBlockStart" in wire:
            self._start(wire["contentBlockStart"])
        elif "messageStop" in wire:
            self._stop_reason, self.complete = wire["messageStop"].get("stopReason", ""), True
            return [] if self._stop_reason.startswith(_BAD_ENDS) else self._end()
        elif "metadata" in wire:
            self._usage = _usage(wire["metadata"].get("usage", {}))
        return []

    def _start(self, block: Mapping[str, Any]) -> None:
        tool = block.get("start", {}).get("toolUse")
        index = block.get("contentBlockIndex", 0)
        if tool and self._json_by_tool and tool.get("name") == JSON_TOOL:
            self._json_blocks.append(index)
        elif tool:
            self._calls.add(index, id=tool.get("toolUseId", ""), name=tool.get("name", ""))

    def _delta(self, block: Mapping[str, Any]) -> list[Event]:
        delta, index = block.get("delta", {}), block.get("contentBlockIndex", 0)
        arguments = delta.get("toolUse", {}).get("input", "")
        if index in self._json_blocks:
            # An answer that was given twice is the first one.
            return [Text(arguments)] if arguments and index == self._json_blocks[0] else []
        if arguments:
            self._calls.add(index, arguments=arguments)
        text = delta.get("text", "")
        if self._json_by_tool:
            self._aside += text
            return []
        return [Text(text)] if text else []

    def _end(self) -> list[Event]:
        """Return the calls, and an answer in JSON that came in words."""
        cut = self._stop_reason in _CUT
        try:
            calls = self._calls.whole(cut=cut)
        except ValueError as error:
            raise interrupted("the model called a tool in a form that cannot be read") from error
        self._called = bool(calls)
        if not self._json_by_tool or calls or self.said:
            return [*calls]
        if self._json_blocks:
            return [Text("{}")]
        if not cut and not is_json_object(self._aside):
            raise interrupted("the model did not answer in JSON")
        return [Text(self._aside)] if self._aside else []

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
