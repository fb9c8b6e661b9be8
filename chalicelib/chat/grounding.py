"""Whether passages have anything to do with a question: the threshold below which "not in your documents" is the answer.

Two signs are put together: how near a passage's vector is to the question's, and how many of the question's longer words it
has. Of two embedders the same nearness means different things, so the threshold belongs to one embedder. That of MiniLM was
set on the judged questions of scifact, cranfield, cacm and locomo, each against its own documents and against those of the
other three: `benchmarks.grounding` has the error rates. It leans towards letting a question pass, because the model that is
then asked can still say that the passages do not answer it, while nobody looks again at what was refused here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.chat.support import UNSPACED, content
from chalicelib.embedder import Space
from chalicelib.records import Passage

TELLING_CHARS = 4
"""Shorter words are mostly those that every question has. Numbers, and scripts without spaces, always count."""
KEPT_SHARE = 0.6
"""A passage weaker than this share of the best one is left out: it costs the reader time and the model attention."""


@dataclass(frozen=True)
class Threshold:
    """Strength, 0 to 1, is `nearness` × cosine + (1 - `nearness`) × share of words; `least` of it is enough."""

    nearness: float
    least: float


MINILM = Threshold(nearness=0.8, least=0.34)
UNCALIBRATED = Threshold(nearness=0.5, least=0.2)
"""For embedders nobody has measured here: loose, so that hardly anything is refused that the documents have."""


def grounded(passages: Sequence[Passage], question: str, space: Space) -> Sequence[Passage]:
    """Return the passages to answer from, in their order; none when even the strongest is too weak."""
    threshold = MINILM if "minilm" in space.model.lower() else UNCALIBRATED
    strengths = [strength(passage, question, threshold) for passage in passages]
    best = max(strengths, default=0.0)
    if best < threshold.least:
        return ()
    return [passage for passage, own in zip(passages, strengths, strict=True) if own >= KEPT_SHARE * best]


def strength(passage: Passage, question: str, threshold: Threshold) -> float:
    """Return how much a passage has to do with a question."""
    near = max(passage.similarity or 0.0, 0.0)
    return threshold.nearness * near + (1 - threshold.nearness) * _share_of_words(passage, question)


def _share_of_words(passage: Passage, question: str) -> float:
    sought = {term for term in content(question).terms if _tells(term)}
    said = content("\n".join((passage.name, *(f"{chunk.context}\n{chunk.text}" for chunk in passage.chunks)))).terms
    return len(sought & said) / len(sought) if sought else 0.0


def _tells(term: str) -> bool:
    return len(term) >= TELLING_CHARS or term.isdigit() or bool(UNSPACED.match(term))
