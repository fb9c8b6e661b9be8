"""The language model's contract: one request in, a stream of events out."""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from chalicelib.records import ModelInfo, Role, Usage

StopReason = Literal["end", "max_tokens", "stop_sequence", "tool_use", "deadline", "stopped"]
"""Why an answer ended. The last two are the caller's doing, so no backend gives them."""


@dataclass(frozen=True)
class ToolCall:
    """The model wants a tool: its id, name and arguments, which are JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolResult:
    """What the tool call of this id gave."""

    id: str
    text: str


@dataclass(frozen=True)
class Tool:
    """A tool that the model may ask for. `parameters` is the JSON Schema of its arguments, an object's."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True)
class JsonForm:
    """That the answer must be a JSON object; of this JSON Schema, unless it is None."""

    schema: Mapping[str, object] | None = None
    name: str = "answer"


@dataclass(frozen=True)
class Said:
    """One message as the model sees it: a user's may have results of tools, before its text; an answer may have calls."""

    role: Role
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True)
class Request:
    """What to ask. `messages` begin with the user's and alternate. `timeout_s`: how long the caller waits for its end.

    `model` None is the backend's default; a name the backend does not know is `UnknownModel`. `tool_choice` is "auto", "none",
    "required", or the name of the one tool to call. `stop` are texts at which the answer ends, without them. What a backend
    has no way to do is `BadRequest` naming the field: `tools`, `tool_choice`, `response_format`, `stop`; and so is a
    conversation whose tool calls and results don't fit together: `messages`.
    """

    messages: Sequence[Said]
    system: str = ""
    model: str | None = None
    max_tokens: int = 1024
    temperature: float | None = None
    timeout_s: float = 60.0
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    json_form: JsonForm | None = None
    stop: tuple[str, ...] = ()
    top_p: float | None = None

    @property
    def wants(self) -> Sequence[str]:
        """The fields of what not every backend has a way to do. One that only takes words refuses them all."""
        has_called = any(said.tool_calls or said.tool_results for said in self.messages)
        wanted = {
            "tools": has_called or (self.tools and self.tool_choice != "none"),
            "response_format": self.json_form,
            "stop": self.stop,
        }
        return [field for field, value in wanted.items() if value]

    @property
    def texts(self) -> Iterator[str]:
        """All that the model reads, for counting it and for seeing it repeated."""
        yield self.system
        for said in self.messages:
            yield said.text
            for call in said.tool_calls:
                yield from (call.name, call.arguments)
            yield from (result.text for result in said.tool_results)
        for tool in self.tools:
            yield from (tool.name, tool.description, json.dumps(tool.parameters))
        if self.json_form and self.json_form.schema:
            yield json.dumps(self.json_form.schema)


@dataclass(frozen=True)
class Text:
    """The next words of the answer. None at all are a sign of life, at which the caller may leave."""

    text: str


@dataclass(frozen=True)
class Finish:
    """The last event of every stream that ends well. `model` is the one that answered, which may be a fallback."""

    usage: Usage
    stop_reason: StopReason
    model: str


Event = Text | ToolCall | Finish


class LLM(Protocol):
    """A language model.

    Every failure is a `ModelError`, `BadRequest` (such as `UnknownModel`), `ContextTooLong` or `GuardrailIntervened`.

    A stream that has not ended after `timeout_s` fails within a moment, however much has come: the caller keeps what it has.

    Closing the generator before its end stops the work behind it.
    """

    def stream(self, request: Request) -> Generator[Event]:
        """Yield the answer piece by piece, ending with exactly one `Finish`."""
        ...

    def models(self) -> Sequence[ModelInfo]:
        """Return the models that a request may name, the default first. Raises `ModelError` when the provider can't say."""
        ...
