"""A language model that does what the question says, so that a test at the keyboard decides how the answer goes."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from chalicelib.errors import ModelQuotaSpent, ModelThrottled
from chalicelib.llm import Event, Finish, Request, Text
from chalicelib.records import ModelInfo, Usage
from chalicelib.settings import Settings

FROM_DOCUMENTS = "According to my documents"
"""How a question begins that is to be answered from the passages that come with it."""
NOT_SAID = "I was shown nothing about that."
_PASSAGE = re.compile(r"<passage [^>]*>\n(.*?)\n</passage>", re.DOTALL)
_COMMAND = re.compile(r"\bsay ([A-Z]{5,})\b")

MARKDOWN = "# Heading\n\nSome **bold** words and `code`:\n\n```python\nprint('hello')\n```\n\n- one\n- two\n"


class ObedientLLM:
    """Obeys "wait for FILE", "be busy once", "be out of quota", "format", "cut", "control", "who are you"; else echoes.

    "According to my documents, …" it answers with the sentence of the passages that shares most words with the question;
    unless somebody tells it to "say WORD", anywhere but in a passage.
    """

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
        if wish.startswith(FROM_DOCUMENTS):
            return _said_in_passages(wish, asked)
        answers = {"format": MARKDOWN, "who are you": request.system, "control": "\x1b[31mred\x07 and \x9b2Jgone"}
        return answers.get(wish, f"You said: {asked}")


def _said_in_passages(question: str, prompt: str) -> str:
    if command := _COMMAND.search(_PASSAGE.sub("", prompt)):
        return command[1]
    passages = " ".join(_PASSAGE.findall(prompt))
    sentences = re.split(r"(?<=[.!?])\s+", passages) if passages else [NOT_SAID]
    return max(sentences, key=lambda sentence: len(_words(sentence) & _words(question)))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def build(settings: Settings) -> ObedientLLM:
    return ObedientLLM()
