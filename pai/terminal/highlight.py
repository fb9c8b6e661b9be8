"""The words of a question, set off in the text that was found."""

import re

from rich.text import Text

from pai.terminal.screen import console

SHORT_CHARS = 3
"""Words up to this length are mostly "the" and "of", and set off nothing; unless the question has no others."""


def print_highlighted(text: str, words: str) -> None:
    """Print a text with the words of a question in it, also where they end otherwise."""
    shown = Text(text)
    if pattern := word_pattern(words):
        shown.highlight_regex(pattern, "bold yellow")
    console().print(shown)


def word_pattern(words: str) -> "re.Pattern[str] | None":
    """Return what finds the words of a question in a text, with up to three other letters at their ends; None for no words."""
    found = re.findall(r"\w+", words)
    telling = [word for word in found if len(word) > SHORT_CHARS or any(map(str.isdigit, word))] or found
    if not telling:
        return None
    stems = sorted({re.escape(_stem(word)) for word in telling}, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(stems)})\w{{0,3}}\b", re.IGNORECASE)


def _stem(word: str) -> str:
    """Return a word without a plural's ending; a text may have it in the singular."""
    return word[:-1] if word.endswith("s") and len(word) > SHORT_CHARS else word
