"""A model that says the last message again, word by word: for trials and tests, without a model.

It calls a tool that it must call, without arguments; asked for JSON, it says `{"echo": <the last message>}`.
"""

import json
import re
from collections.abc import Generator, Sequence

from chalicelib.errors import UnknownModel
from chalicelib.llm import LLM, Event, Finish, Request, StopReason, Text
from chalicelib.llm.calls import new_call
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
        asked = sum(len(WORD.findall(text)) for text in request.texts)
        if name := _forced(request):
            yield new_call(name, "{}")
            yield Finish(Usage(asked, 1), "tool_use", MODEL.id)
            return
        whole = _answer(request)
        text = _up_to_stop(whole, request.stop)
        words = WORD.findall(text)
        said = words[: request.max_tokens]
        yield from map(Text, said)
        ended: StopReason = "end" if text == whole else "stop_sequence"
        yield Finish(Usage(asked, len(said)), ended if len(said) == len(words) else "max_tokens", MODEL.id)

    def models(self) -> Sequence[ModelInfo]:
        return [MODEL]


def _forced(request: Request) -> str:
    """Return the name of the tool that must be called, empty for none."""
    if not request.tools or request.tool_choice in ("auto", "none"):
        return ""
    return request.tools[0].name if request.tool_choice == "required" else request.tool_choice


def _answer(request: Request) -> str:
    last = request.messages[-1]
    text = last.text or "\n".join(result.text for result in last.tool_results)
    return json.dumps({"echo": text}, ensure_ascii=False) if request.json_form else text


def _up_to_stop(text: str, stop: Sequence[str]) -> str:
    found = [at for at in map(text.find, stop) if at >= 0]
    return text[: min(found, default=len(text))]
