"""The retriever's contract: an index of chunks, searched for the passages that fit a question.

Everything is under an owner, and nothing finds what is another's. A document is indexed in stretches under a generation of
its own; readers see the one before until the last stretch has come, then the new one: never half, never both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.embedder import Space, Vector
from chalicelib.records import Chunk, Passage


@dataclass(frozen=True)
class Indexing:
    """Which document is being indexed, and how. `language` is an ISO 639-1 code, or empty when it is not known."""

    owner: str
    document_id: str
    generation: str
    space: Space
    language: str = ""


@dataclass(frozen=True)
class Query:
    """What to search for: the words and their vector, both of the same question. `documents` limits; empty is all."""

    owner: str
    text: str
    vector: "Vector[float]"
    space: Space
    k: int = 6
    documents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Removed:
    """What was there and is gone, verified by looking again."""

    chunks: int
    postings: int


@dataclass(frozen=True)
class Indexed:
    """A document as the index knows it. `chunks` are those of the live generation; `unfinished` those of others."""

    owner: str
    document_id: str
    generation: str
    chunks: int
    unfinished: int


class Retriever(Protocol):
    """Raises `LibraryUnavailable` (`LibraryWaking` when it will answer soon), or `EmbedderChanged` for a foreign `space`."""

    def replace(self, indexing: Indexing, chunks: Sequence[Chunk], vectors: "Sequence[Vector[float]]", *, last: bool) -> None:
        """Store a stretch of a document; chunks that are there under this generation with these ordinals are replaced.

        With `last`, the generation goes live in one step and every other one of the document is removed.
        """
        ...

    def remove(self, owner: str, document_id: str) -> Removed:
        """Remove a document, all generations. One that is not there is no error."""
        ...

    def search(self, query: Query) -> Sequence[Passage]:
        """Return the `k` best passages, best first; neighbouring chunks that both belong are one passage."""
        ...

    def chunks(self, owner: str, document_id: str, first: int = 0, last: int | None = None) -> Sequence[Chunk]:
        """Return live chunks by ordinal, both ends included."""
        ...

    def inventory(self) -> Iterator[Indexed]:
        """Yield every document of every owner in the index: for finding strays, and for health checks."""
        ...

    def reset(self, space: Space) -> None:
        """Empty the index, for vectors of another space."""
        ...
