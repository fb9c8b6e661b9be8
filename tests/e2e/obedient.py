"""A language model that does what the question says, so that a test at the keyboard decides how the answer goes."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from chalicelib.errors import ModelQuotaSpent, ModelThrottled
from chalicelib.llm import Event, Finish, Request, Text
from chalicelib.records import ModelInfo, Usage
from chalicelib.settings import Settings

MARKDOWN = "# Heading\n\nSome **bold** words and `code`:\n\n```python\nprint('hello')\n```\n\n- one\n- two\n"


class ObedientLLM:
    """Obeys "wait for FILE", "be busy once", "be out of quota", "format", "cut", "control", "who are you"; else echoes."""

    def __init__(self) -> None:
        self._was_busy: set[str] = set()

    def stream(self, request: Request) -> Iterator[Event]:
        asked = request.messages[-1].text
        wish = asked.split("\n\n")[-1]  # a question whose answer nobody waited for stands before it
        if wish.startswith("wait for "):
            while not Path(wish.removeprefix("wait for ")).exists():
                time.sleep(0.01)
        if wish.startswith("be busy once") and wish not in self._was_busy:
            self._was_busy.add(wish)
            raise ModelThrottled("The model has too many requests just now.", retry_after_s=1)
        if wish == "be out of quota":
            raise ModelQuotaSpent("The quota of this model is used up.")
        yield Text(self._answer(wish, asked, request))
        yield Finish(Usage(len(request.messages), 1), "max_tokens" if wish == "cut" else "end", request.model or "obedient")

    def models(self) -> Sequence[ModelInfo]:
        return [ModelInfo("obedient", "Obedient", 8192), ModelInfo("other", "Other", 8192)]

    def _answer(self, wish: str, asked: str, request: Request) -> str:
        answers = {"format": MARKDOWN, "who are you": request.system, "control": "\x1b[31mred\x07 and \x9b2Jgone"}
        return answers.get(wish, f"You said: {asked}")


def build(settings: Settings) -> ObedientLLM:
    return ObedientLLM()
