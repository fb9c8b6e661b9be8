"""Answers in OpenAI's form, whole and in chunks: https://platform.openai.com/docs/api-reference/chat. Pure."""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.llm import ToolCall
from chalicelib.records import Usage
from chalicelib.v1.ask import PAI
from chalicelib.v1.completions import End, Step

Json = dict[str, Any]
DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class Frame:
    """What all parts of one answer have in common. `model` is the name that was asked for."""

    model: str
    usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, steps: Sequence[Step]) -> Json:
        """Return the completion that all steps of an answer together are."""
        end = _end(steps)
        calls = [_call(step) for step in steps if isinstance(step, ToolCall)]
        message: Json = {"role": "assistant", "content": end.text or (None if calls else ""), "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message | self._cited(end), "logprobs": None, "finish_reason": end.reason}
        return self._head("chat.completion", end.model) | {"choices": [choice], "usage": usage(end.usage)}

    def begin(self) -> str:
        return self._event({"role": "assistant", "content": "", "refusal": None})

    def text(self, text: str) -> str:
        return self._event({"content": text})

    def call(self, place: int, call: ToolCall) -> str:
        return self._event({"tool_calls": [{"index": place, **_call(call)}]})

    def end(self, end: End) -> str:
        """Return the last chunk, with the citations; and the usage after it, if it is wanted."""
        marked = {"marked_content": end.text} if end.citations else {}
        last = self._event(marked | self._cited(end), end.reason, end.model)
        if not self.usage:
            return last
        counted = self._head("chat.completion.chunk", end.model) | {"choices": [], "usage": usage(end.usage)}
        return last + data(counted)

    def _event(self, delta: Json, reason: str | None = None, model: str = "") -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = self._head("chat.completion.chunk", model or self.model) | {"choices": [choice]}
        return data(chunk | {"usage": None} if self.usage else chunk)

    def _head(self, kind: str, model: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": model}

    def _cited(self, end: End) -> Json:
        return {"citations": [vars(citation) for citation in end.citations]} if self.model == PAI else {}


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def usage(used: Usage) -> Json:
    """Return token counts: to OpenAI, what a prompt cache had is part of the prompt."""
    asked = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens
    return {
        "prompt_tokens": asked,
        "completion_tokens": used.output_tokens,
        "total_tokens": asked + used.output_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cache_read_tokens},
    }


def _end(steps: Sequence[Step]) -> End:
    return next(step for step in steps if isinstance(step, End))


def counts(steps: Sequence[Step]) -> Mapping[str, object]:
    """Return what an answer's log line says of it, as of one of /chat."""
    end = _end(steps)
    used = {"input_tokens": end.usage.input_tokens, "output_tokens": end.usage.output_tokens}
    return {"model": end.model, "stop_reason": end.reason, **used}


def data(value: Json) -> str:
    """Return one event. In ASCII: some clients take U+2028 and its like for the end of a line."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"
