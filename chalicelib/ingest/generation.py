"""One generation of a document: the parts of its file read, split, embedded and stored, until readers see them.

The row says what is in the index already. A range ends when `settings.read_s` is over, and the next one goes on from there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from chalicelib.embedder import Embedder
from chalicelib.errors import DocumentWithoutText
from chalicelib.ingest.language import detect
from chalicelib.ingest.lease import Held
from chalicelib.ingest.schedule import Schedule
from chalicelib.ingest.split import CHUNK_TOKENS, part_text, split
from chalicelib.records import Chunk, Document, Part
from chalicelib.retriever import Indexing, Retriever
from chalicelib.settings import Settings

BATCH_CHUNKS = 128
"""How many chunks are embedded and stored at once: what a process holds in memory, and repeats when it was killed."""
LANGUAGE_CHARS = 4000


class Reading(Protocol):
    """A document that is being read: its parts in order. `pages` is None in formats without pages."""

    title: str
    pages: int | None
    parts: int

    def __iter__(self) -> Iterator[Part]: ...


class Reader(Protocol):
    """Opens a file for reading its parts from `first` on. Raises DocumentError."""

    def __call__(self, path: Path, name: str, content_type: str, *, first: int = 0) -> AbstractContextManager[Reading]: ...


@dataclass
class _Stretch:
    """Whole parts that have been read and split, on their way into the index."""

    parts: int = 0
    characters: int = 0
    skipped: list[int] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)

    def add(self, part: Part, chunks: list[Chunk]) -> None:
        self.parts += 1
        self.characters += len(part_text(part).strip())
        self.chunks += chunks
        if part.page is not None and not chunks:
            self.skipped.append(part.page)


class Generations:
    """Makes the generations of documents."""

    def __init__(
        self,
        embedder: Embedder,
        retriever: Retriever,
        schedule: Schedule,
        settings: Settings,
        now: Callable[[], float],
        reader: Reader,
    ) -> None:
        self._embedder = embedder
        self._retriever = retriever
        self._schedule = schedule
        self._settings = settings
        self._now = now
        self._reader = reader

    def work(self, held: Held, path: Path) -> None:
        """Read and index the file for one range. Raises Superseded, DocumentError, Unavailable."""
        until = self._now() + self._settings.read_s
        document = held.document
        with self._reader(path, document.name, document.content_type, first=document.parts_done) as found:
            begun = {} if document.parts_done else {"characters": 0, "skipped_pages": ()}
            held.keep(title=found.title, pages=found.pages, parts=found.parts, **begun)
            stretch = _Stretch()
            for part in found:
                stretch.add(part, self._split(held.document, part, len(stretch.chunks)))
                late = self._now() >= until and part.index + 1 < found.parts
                if late or len(stretch.chunks) >= BATCH_CHUNKS:
                    self._index(held, stretch)
                    stretch = _Stretch()
                elif held.half_over:
                    held.keep()
                if late:
                    self._pause(held)
                    return
        self._finish(held, stretch)

    def _split(self, document: Document, part: Part, pending: int) -> list[Chunk]:
        return split(
            part,
            title=document.title or PurePosixPath(document.name).stem,
            first_ordinal=document.chunks + pending,
            target_tokens=min(self._embedder.longest_tokens, CHUNK_TOKENS),
        )

    def _index(self, held: Held, stretch: _Stretch) -> None:
        """Embed and store a stretch; then the row says so."""
        if stretch.chunks:
            self._store(held, stretch, last=False)
        held.keep(**_progress(held.document, stretch), attempts=0)

    def _pause(self, held: Held) -> None:
        """The range's time is over: let the next message go on."""
        held.end(state="reading")
        self._schedule.go_on(held.document)

    def _finish(self, held: Held, stretch: _Stretch) -> None:
        """Store the last stretch and make the generation the one that readers see."""
        document = held.document
        if not document.chunks and not stretch.chunks:
            raise DocumentWithoutText(_without_text(document))
        self._store(held, stretch, last=True)
        done = _progress(held.document, stretch) | {"parts_done": document.parts}
        held.end(**done, state="ready", live_generation=document.generation, attempts=0, failure_code="", failure="")

    def _store(self, held: Held, stretch: _Stretch, *, last: bool) -> None:
        language = held.document.language or detect(_beginning(stretch.chunks))
        held.keep(state="embedding", language=language)
        document = held.document
        indexing = Indexing(document.owner, document.id, document.generation, self._embedder.space, language)
        for batch in _batches(stretch.chunks):
            vectors = self._embedder.embed([f"{chunk.context}\n{chunk.text}" for chunk in batch], "passage")
            held.keep()  # so that nobody's generation goes live whose time is over
            self._retriever.replace(indexing, batch, vectors, last=last and (not batch or batch[-1] is stretch.chunks[-1]))


def _progress(document: Document, stretch: _Stretch) -> dict[str, Any]:
    """Return what a stretch that is in the index adds to the row."""
    return {
        "parts_done": document.parts_done + stretch.parts,
        "chunks": document.chunks + len(stretch.chunks),
        "characters": document.characters + stretch.characters,
        "skipped_pages": (*document.skipped_pages, *stretch.skipped),
    }


def _batches(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    """Yield chunks as many at a time as are embedded together; one empty batch when there are none."""
    for start in range(0, max(len(chunks), 1), BATCH_CHUNKS):
        yield chunks[start : start + BATCH_CHUNKS]


def _beginning(chunks: list[Chunk]) -> str:
    return " ".join(chunk.text for chunk in chunks[:8])[:LANGUAGE_CHARS]


def _without_text(document: Document) -> str:
    if document.pages:
        return (
            "There is no text on any page: it is probably scanned. Run OCR on it (for example ocrmypdf), or install tesseract."
        )
    return "There is no text in it."
