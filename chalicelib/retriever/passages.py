"""What a search found, chunk by chunk, as passages: neighbours of one document belong together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from chalicelib.records import Chunk, Passage

MOST = 200
"""Passages that one search gives at most."""
LONGEST = 4
"""Chunks of one passage: more would crowd out what else was found."""


@dataclass(frozen=True)
class Hit:
    """One chunk that was found. `score` is 0 to 1."""

    document_id: str
    chunk: Chunk
    score: float
    similarity: float | None
    bm25: float | None


def bounded(k: int) -> int:
    return max(1, min(k, MOST))


def joined(hits: Iterable[Hit], k: int) -> list[Passage]:
    """Return the best `k` passages of these hits, which come best first; each is as good as its best chunk."""
    runs: list[list[Hit]] = []
    for hit in hits:
        near = [run for run in runs if len(run) < LONGEST and _touches(run, hit)]
        if not near and len(runs) == k:
            continue
        first = near[0] if near else []
        if not near:
            runs.append(first)
        first.append(hit)
        for other in near[1:]:  # it closed the gap between two
            if len(first) + len(other) <= LONGEST:
                first += other
                runs.remove(other)
    return [_passage(run) for run in runs]


def _touches(run: Sequence[Hit], hit: Hit) -> bool:
    return any(other.document_id == hit.document_id and abs(other.chunk.ordinal - hit.chunk.ordinal) == 1 for other in run)


def _passage(run: Sequence[Hit]) -> Passage:
    chunks = tuple(sorted((hit.chunk for hit in run), key=lambda chunk: chunk.ordinal))
    first, last = chunks[0].ordinal, chunks[-1].ordinal
    best = Passage(
        id=str(first) if first == last else f"{first}-{last}",
        document_id=run[0].document_id,
        chunks=chunks,
        score=max(hit.score for hit in run),
    )
    return replace(best, similarity=_best(hit.similarity for hit in run), bm25=_best(hit.bm25 for hit in run))


def _best(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
