"""The language model's contract: one request in, a stream of events out."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from chalicelib.records import ModelInfo, Role, Usage

StopReason = Literal["end", "max_tokens", "stop_sequence", "tool_use", "deadline"]


@dataclass(frozen=True)
class Said:
    """One message as the model sees it."""

    role: Role
    text: str


@dataclass(frozen=True)
class Request:
    """What to ask. `messages` begin with the user's and alternate. `timeout_s`: how long the caller waits for its end.

    `model` None is the backend's default; a name the backend does not know is `UnknownModel`.
    """

    messages: Sequence[Said]
    system: str = ""
    model: str | None = None
    max_tokens: int = 1024
    temperature: float | None = None
    timeout_s: float = 60.0


@dataclass(frozen=True)
class Text:
    """The next words of the answer; never empty."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """The model wants a tool: its id, name and arguments (a JSON object)."""

    id: str
    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True)
class Finish:
    """The last event of every stream that ends well. `model` is the one that answered, which may be a fallback."""

    usage: Usage
    stop_reason: StopReason
    model: str


Event = Text | ToolCall | Finish


class LLM(Protocol):
    """A language model. Every failure is a `ModelError`, `UnknownModel`, `ContextTooLong` or `GuardrailIntervened`.

    A stream that has not ended after `timeout_s` fails within a moment, however much has come: the caller keeps what it has.

    Closing the generator before its end stops the work behind it.
    """

    def stream(self, request: Request) -> Generator[Event]:
        """Yield the answer piece by piece, ending with exactly one `Finish`."""
        ...

    def models(self) -> Sequence[ModelInfo]:
        """Return the models that a request may name, the default first. Raises `ModelError` when the provider can't say."""
        ...
