"""A retriever in memory: exact cosine and BM25 over everything an owner has. For trials and tests."""

import math
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chalicelib.embedder import Space, Vector
from chalicelib.errors import EmbedderChanged
from chalicelib.records import Chunk, Passage
from chalicelib.retriever import Indexed, Indexing, Query, Removed, Retriever
from chalicelib.settings import Settings

WORD = re.compile(r"\w+")
K1, B = 1.2, 0.75


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
        self._check(indexing.space)
        with self._lock:
            shelf = self._shelves.setdefault((indexing.owner, indexing.document_id), _Shelf())
            entries = shelf.generations.setdefault(indexing.generation, {})
            for chunk, vector in zip(chunks, vectors, strict=True):
                entries[chunk.ordinal] = _Entry(chunk, vector, Counter(_words(f"{chunk.context} {chunk.text}")))
            if last:
                shelf.generations = {indexing.generation: entries}
                shelf.live = indexing.generation

    def remove(self, owner: str, document_id: str) -> Removed:
        with self._lock:
            shelf = self._shelves.pop((owner, document_id), _Shelf())
        entries = [entry for generation in shelf.generations.values() for entry in generation.values()]
        return Removed(len(entries), sum(len(entry.words) for entry in entries))

    def search(self, query: Query) -> Sequence[Passage]:
        self._check(query.space)
        entries = [
            (document_id, entry)
            for (owner, document_id), shelf in self._shelves.items()
            if owner == query.owner and (not query.documents or document_id in query.documents)
            for entry in shelf.entries.values()
        ]
        cosines = [sum(map(float.__mul__, entry.vector, query.vector)) for _, entry in entries]
        scores = _bm25([entry.words for _, entry in entries], _words(query.text))
        top = max(scores, default=0.0) or 1.0
        passages = [
            Passage(
                str(entry.chunk.ordinal),
                document_id,
                (entry.chunk,),
                (max(cosine, 0.0) + score / top) / 2,
                cosine,
                score or None,
            )
            for (document_id, entry), cosine, score in zip(entries, cosines, scores, strict=True)
        ]
        return sorted(passages, key=lambda passage: -passage.score)[: query.k]

    def chunks(self, owner: str, document_id: str, first: int = 0, last: int | None = None) -> Sequence[Chunk]:
        entries = self._shelves.get((owner, document_id), _Shelf()).entries
        return [
            entries[ordinal].chunk for ordinal in sorted(entries) if first <= ordinal and (last is None or ordinal <= last)
        ]

    def inventory(self) -> Iterator[Indexed]:
        for (owner, document_id), shelf in list(self._shelves.items()):
            unfinished = sum(len(entries) for generation, entries in shelf.generations.items() if generation != shelf.live)
            yield Indexed(owner, document_id, shelf.live, len(shelf.entries), unfinished)

    def _check(self, space: Space) -> None:
        if self._space is None:
            self._space = space
        if space != self._space:
            raise EmbedderChanged("The documents were indexed with another embedder. Index them anew: pai docs reindex.")


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _bm25(texts: Sequence[Counter[str]], query: Sequence[str]) -> list[float]:
    """Return each text's BM25 score, as Lucene computes it."""
    lengths = [sum(words.values()) for words in texts]
    average = sum(lengths) / len(lengths) if lengths else 1.0
    weights = {}
    for word in {*query}:
        having = sum(word in words for words in texts)
        weights[word] = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
    return [
        sum(
            weights[word] * words[word] / (words[word] + K1 * (1 - B + B * length / average))
            for word in query
            if word in words
        )
        for words, length in zip(texts, lengths, strict=True)
    ]
