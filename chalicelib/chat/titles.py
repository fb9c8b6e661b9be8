"""A conversation's title, by the model: better than the beginning of its first question. Pure but for asking the model."""

import re
from contextlib import closing

from chalicelib.llm import Finish, Request, Said, Text
from chalicelib.metering import Meter
from chalicelib.records import Principal

SHOWN_CHARS = 600
"""As much of the question, and of its answer, is shown to the model: on a small machine it reads 200 characters a second."""
TITLE_TOKENS = 24
TIMEOUT_S = 60.0
LONGEST_CHARS, MOST_WORDS = 60, 9

SYSTEM = "You give conversations short titles."
WISH = "Give this conversation a title of 2 to 6 words in its own language. Write the title only."

_QUOTES = "\"'`*_#“”„‘’«»「」 \t"
_LABEL = re.compile(r"^(?:title|titel|titre|título)\s*:\s*", re.IGNORECASE)


def title_for(question: str, answer: str, who: Principal, meter: Meter) -> str:
    """Return a title for a conversation that begins so; empty when the model gave none that can be used."""
    shown = f"Question: {question[:SHOWN_CHARS]}\n\nAnswer: {answer[:SHOWN_CHARS]}\n\n{WISH}"
    request = Request([Said("user", shown)], system=SYSTEM, max_tokens=TITLE_TOKENS, temperature=0.0, timeout_s=TIMEOUT_S)
    said = ""
    with closing(meter.stream(who, request, aside=True)) as events:
        for event in events:
            if isinstance(event, Text):
                said += event.text
            if isinstance(event, Finish) and event.stop_reason == "end":
                return tidy(said)
    return ""


def tidy(said: str) -> str:
    """Return a model's words as a title; empty when they are none: several lines, a whole sentence, too long."""
    lines = said.strip().splitlines()
    title = _LABEL.sub("", lines[0].strip(_QUOTES)).strip(_QUOTES).rstrip(".") if len(lines) == 1 else ""
    fits = len(title) <= LONGEST_CHARS and len(title.split()) <= MOST_WORDS and title.isprintable()
    return title if fits else ""
