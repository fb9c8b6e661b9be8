"""Which language a text is in, by CLD3: a small neural network over the letters of its words, the same answer every time."""

import re
from collections import Counter
from functools import lru_cache
from textwrap import wrap
from typing import Any

PIECE_CHARS = 400
"""A text is judged in pieces: of one in two languages, CLD3 would name either."""
LEAST_BYTES = 24
"""Letters, in UTF-8: of a word or two CLD3 knows as little as anybody."""
_WORD = re.compile(r"[^\W\d_]+")
_TODAY = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv"}
"""CLD3 says some languages by codes that ISO has withdrawn."""


def detect(text: str) -> str:
    """Return the ISO 639-1 code of the language that most of a text is in; empty when there is no telling."""
    pieces = wrap(" ".join(_WORD.findall(text)), PIECE_CHARS)
    votes: Counter[str] = Counter()
    for piece in pieces:
        votes[_language(piece)] += len(piece)
    [(language, weight)] = votes.most_common(1) or [("", 0)]
    return language if weight * 2 > votes.total() else ""


def _language(piece: str) -> str:
    if len(piece.encode()) < LEAST_BYTES:
        return ""
    found = _identifier().FindLanguage(piece)
    code = _TODAY.get(found.language, found.language)
    return code if found.is_reliable and len(code) == 2 else ""


@lru_cache(maxsize=1)
def _identifier() -> Any:
    import gcld3  # type: ignore[import-untyped]  # a shared library: loaded when a document is read, and not for a chat

    return gcld3.NNetLanguageIdentifier(0, 4 * PIECE_CHARS)
