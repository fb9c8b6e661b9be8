"""A text as words for a full-text search: the same for what is stored and what is asked.

PostgreSQL's own parser takes `lift/drag` for a file and `e.g.x` for a host, and a sentence of Chinese for one word. So it is
given plain words; of scripts that are written without spaces, overlapping pairs of characters (as Lucene's CJKAnalyzer).
"""

import re
import unicodedata

WORD = re.compile(r"[^\W_]+")
# Thai, Lao, Khmer, Burmese; Japanese syllables; Chinese characters. Korean has spaces, but its endings are part of the word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003134f"
)
RUN = re.compile(f"[{UNSPACED}]+")
LONGEST = 200
"""Characters of a word: a longer one is data, which nobody asks for."""


def words(text: str) -> str:
    """Return the text's words with spaces between, in lower case."""
    plain = text if text.isascii() else RUN.sub(_pairs, unicodedata.normalize("NFKC", text))
    return " ".join(word for word in WORD.findall(plain.lower()) if len(word) <= LONGEST)


def _pairs(match: re.Match[str]) -> str:
    run = match[0]
    pairs = [run[index : index + 2] for index in range(len(run) - 1)] or [run]
    return f" {' '.join(pairs)} "
