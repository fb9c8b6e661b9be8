"""How many tokens a text will be for an embedder, estimated without its vocabulary.

The rules were fitted to the vocabulary with the most tokens for a text among those that PAI's embedders use, the 30,522
English word pieces of BERT and MiniLM; docs/benchmarks.md has the error measured.
"""

import math
import re
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate

_LATIN = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_TOKEN = re.compile(rf"[{_LATIN}]{{1,16}}|[0-9]{{1,16}}|[^\s{_LATIN}0-9]")
_WORD = re.compile(rf"[{_LATIN}]+")
_ENGLISH = re.compile(
    r"\b(?:the|and|of|to|for|that|with|by|from|this|are|be|it|you|at|or|not|have|which|were)\b", re.IGNORECASE
)
"""Small words that one in five words of English is, and hardly one of another language."""
SURE, NONE = 0.08, 0.02
FOREIGN = 1.9
"""How many times the pieces of an English word a word of the same length has in another language."""


class Measure:
    """Counts the tokens of stretches of one text."""

    def __init__(self, text: str) -> None:
        foreign = _foreign(text)
        matches = list(_TOKEN.finditer(text))
        self._starts = [match.start() for match in matches]
        self._sums = list(accumulate((_tokens_in(match[0], foreign) for match in matches), initial=0.0))
        self._end = len(text)

    def tokens(self, start: int, end: int) -> float:
        """Return about how many tokens this stretch is."""
        return self._sums[bisect_left(self._starts, end)] - self._sums[bisect_left(self._starts, start)]

    def place(self, start: int, tokens: float) -> int:
        """Return where a stretch from `start` has to end to have so many tokens."""
        last = bisect_left(self._sums, self._sums[bisect_left(self._starts, start)] + tokens)
        return self._starts[last] if last < len(self._starts) else self._end


def count_tokens(text: str) -> int:
    """Return about how many tokens a text is."""
    return math.ceil(Measure(text).tokens(0, len(text)))


def _foreign(text: str) -> float:
    """Return how many times as many tokens the words of this text are as those of plain English."""
    words = sum(1 for _ in _WORD.finditer(text))
    share = sum(1 for _ in _ENGLISH.finditer(text)) / words if words else 0.0
    certainty = min(max((share - NONE) / (SURE - NONE), 0.0), 1.0)
    return FOREIGN + (1 - FOREIGN) * certainty


@lru_cache(maxsize=32_768)
def _tokens_in(token: str, foreign: float) -> float:
    """Return about how many pieces a word, a number or a mark is.

    English words of up to 5 letters are one, of 11 two; longer ones are mostly names of substances, or no words at all.
    """
    length = len(token)
    if token.isdigit():
        return max(length * 0.7, 1)
    if not token[0].isalpha() or token[0] > "\u1eff":
        return 2.0 if "\uac00" <= token[0] <= "\ud7a3" else 1.0  # a Korean syllable is two or three letters
    if length > 1 and token.isupper():
        return max(length * 0.6, 1)
    if length > 13:
        return length * 0.25 * foreign
    return (1 + max(length - 5, 0) * 0.16) * (foreign if length > 2 else 1)
