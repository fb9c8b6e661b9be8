"""How these tests ask, and what they look at."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.errors import PaiError
from chalicelib.llm import Event, Finish, Request, Said, Text
from chalicelib.llm.bedrock import BedrockLLM

SONNET = "us.anthropic.claude-sonnet-4-6"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
MISTRAL = "mistral.mistral-7b-instruct-v0:2"

Make = Callable[..., BedrockLLM]


@dataclass
class Outcome:
    """What came of a question: the events before the end, and the error that ended it, if one did."""

    events: list[Event] = field(default_factory=list)
    error: PaiError | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Text))

    @property
    def finish(self) -> Finish:
        assert self.error is None, self.error
        [finish] = [event for event in self.events if isinstance(event, Finish)]
        assert finish is self.events[-1]
        return finish


def question(text: str = "How are you?", **members: object) -> Request:
    return Request([Said("user", text)], **members)  # type: ignore[arg-type]


def outcome(llm: BedrockLLM, request: Request | None = None) -> Outcome:
    result = Outcome()
    try:
        for event in llm.stream(request or question()):
            result.events.append(event)
    except PaiError as error:
        result.error = error
    return result


def conversation(turns: int) -> list[Said]:
    """A conversation whose question number `turns` is open."""
    said = [Said(role, f"{role} {number}") for number in range(1, turns + 1) for role in ("user", "assistant")]
    return said[:-1]
