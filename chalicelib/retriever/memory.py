"""A retriever in memory: exact cosine and BM25 over everything an owner has. For trials and tests.

Words are not stemmed here; scores are made as the function `pai.search` of `pgvector` makes them.
"""

import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.embedder import Space, Vector
from chalicelib.errors import EmbedderChanged
from chalicelib.records import Chunk, Passage
from chalicelib.retriever import Indexed, Indexing, Query, Removed, Retriever
from chalicelib.retriever.passages import Hit, bounded, joined
from chalicelib.retriever.words import words
from chalicelib.settings import Settings

K1, B = 1.2, 0.75
VECTOR_SHARE = 0.7
FEEDBACK, FEEDBACK_CHUNKS = 0.35, 2


def build(settings: Settings) -> Retriever:
    return MemoryRetriever()


@dataclass(frozen=True)
class _Entry:
    chunk: Chunk
    vector: "Vector[float]"
    words: Counter[str]


@dataclass
class _Shelf:
    """One document: generation → ordinal → entry, and which generation is live."""

    generations: dict[str, dict[int, _Entry]] = field(default_factory=dict)
    live: str = ""

    @property
    def entries(self) -> dict[int, _Entry]:
        return self.generations.get(self.live, {})


class MemoryRetriever:
    def __init__(self) -> None:
        self._shelves: dict[tuple[str, str], _Shelf] = {}
        self._space: Space | None = None
        self._lock = threading.Lock()

    def replace(self, indexing: Indexing, chunks: Sequence[Chunk], vectors: "Sequence[Vector[float]]", *, last: bool) -> None:
        with self._lock:
            self._check(indexing.space, vectors)
            self._space = indexing.space
            shelf = self._shelves.setdefault((indexing.owner, indexing.document_id), _Shelf())
            entries = shelf.generations.setdefault(indexing.generation, {})
            for chunk, vector in zip(chunks, vectors, strict=True):
                entries[chunk.ordinal] = _Entry(chunk, vector, Counter(words(f"{chunk.context}\n{chunk.text}").split()))
            if last:
                shelf.generations = {indexing.generation: entries}
                shelf.live = indexing.generation

    def remove(self, owner: str, document_id: str) -> Removed:
        with self._lock:
            shelf = self._shelves.pop((owner, document_id), _Shelf())
        entries = [entry for generation in shelf.generations.values() for entry in generation.values()]
        return Removed(len(entries), sum(len(entry.words) for entry in entries))

    def search(self, query: Query) -> Sequence[Passage]:
        with self._lock:
            self._check(query.space, [query.vector])
            entries = self._live(query.owner, query.documents)
        if not entries:
            return []
        texts = [entry.words for _, entry in entries]
        bm25 = _bm25(texts, Counter(words(query.text).split()))
        top = max(bm25) or 1.0
        vectors = [entry.vector for _, entry in entries]
        similarities = [_dot(vector, query.vector) for vector in vectors]
        of_words = [(1 - VECTOR_SHARE) * score / top for score in bm25]
        moved = _fed_back(query.vector, vectors, [VECTOR_SHARE * s + w for s, w in zip(similarities, of_words, strict=True)])
        scores = [w + VECTOR_SHARE * max(_dot(v, moved), 0.0) for v, w in zip(vectors, of_words, strict=True)]
        hits = [
            Hit(document_id, entry.chunk, score, similarity, words_score or None)
            for (document_id, entry), score, similarity, words_score in zip(entries, scores, similarities, bm25, strict=True)
        ]
        return joined(sorted(hits, key=lambda hit: -hit.score), bounded(query.k))

    def chunks(self, owner: str, document_id: str, first: int = 0, last: int | None = None) -> Sequence[Chunk]:
        entries = self._shelves.get((owner, document_id), _Shelf()).entries
        return [
            entries[ordinal].chunk for ordinal in sorted(entries) if first <= ordinal and (last is None or ordinal <= last)
        ]

    def inventory(self) -> Iterator[Indexed]:
        for (owner, document_id), shelf in sorted(self._shelves.items()):
            unfinished = sum(len(entries) for generation, entries in shelf.generations.items() if generation != shelf.live)
            yield Indexed(owner, document_id, shelf.live, len(shelf.entries), unfinished)

    def _live(self, owner: str, documents: Sequence[str]) -> list[tuple[str, _Entry]]:
        return [
            (document_id, entry)
            for (its_owner, document_id), shelf in self._shelves.items()
            if its_owner == owner and (not documents or document_id in documents)
            for entry in shelf.entries.values()
        ]

    def reset(self, space: Space) -> None:
        with self._lock:
            self._shelves.clear()
            self._space = space

    def _check(self, space: Space, vectors: "Sequence[Vector[float]]") -> None:
        if space != (self._space or space) or any(len(vector) != space.dimensions for vector in vectors):
            raise EmbedderChanged("The documents were indexed with another embedder. Index them anew: pai docs reindex.")


def _dot(a: "Sequence[float]", b: "Sequence[float]") -> float:
    return sum(map(float.__mul__, a, b))


def _fed_back(vector: "Vector[float]", vectors: "Sequence[Vector[float]]", scores: Sequence[float]) -> list[float]:
    """Return a question's vector moved towards those of the best chunks: Rocchio's feedback, of unit length."""
    best = sorted(range(len(vectors)), key=lambda index: -scores[index])[:FEEDBACK_CHUNKS]
    middle = [sum(values) / len(best) for values in zip(*(vectors[index] for index in best), strict=True)]
    moved = [(1 - FEEDBACK) * own + FEEDBACK * other for own, other in zip(vector, middle, strict=True)]
    length = math.hypot(*moved) or 1.0
    return [value / length for value in moved]


def _bm25(texts: Sequence[Mapping[str, int]], query: Mapping[str, int]) -> list[float]:
    """Return each text's BM25 score, as Lucene computes it; a word asked twice counts twice."""
    lengths = [sum(text.values()) for text in texts]
    average = sum(lengths) / len(lengths) or 1.0
    weights = {}
    for word, times in query.items():
        having = sum(word in text for text in texts)
        weights[word] = times * math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
    return [
        sum(
            weight * text[word] / (text[word] + K1 * (1 - B + B * length / average))
            for word, weight in weights.items()
            if word in text
        )
        for text, length in zip(texts, lengths, strict=True)
    ]
