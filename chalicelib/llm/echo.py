"""A model that says the last message again, word by word: for trials and tests, without a model."""

import re
from collections.abc import Generator, Sequence

from chalicelib.errors import UnknownModel
from chalicelib.llm import LLM, Event, Finish, Request, StopReason, Text
from chalicelib.records import ModelInfo, Usage
from chalicelib.settings import Settings

MODEL = ModelInfo("echo", "Echo", context_tokens=1_000_000)
WORD = re.compile(r"\s*\S+|\s+$")


def build(settings: Settings) -> LLM:
    return EchoLLM()


class EchoLLM:
    """Counts words as tokens."""

    def stream(self, request: Request) -> Generator[Event]:
        if request.model not in (None, MODEL.id):
            raise UnknownModel("there is only one here: echo")
        words = WORD.findall(request.messages[-1].text)
        said = words[: request.max_tokens]
        yield from map(Text, said)
        asked = sum(len(WORD.findall(text)) for text in (request.system, *(said.text for said in request.messages)))
        stop_reason: StopReason = "end" if len(said) == len(words) else "max_tokens"
        yield Finish(Usage(asked, len(said)), stop_reason, MODEL.id)

    def models(self) -> Sequence[ModelInfo]:
        return [MODEL]
