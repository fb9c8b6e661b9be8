"""PAI's ingestion over its in-memory parts, with a clock, a queue and a reader of plain text that tests can look into."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chalicelib.documents import Documents
from chalicelib.embedder import Purpose, Vector
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.ingest.arrival import Arrival
from chalicelib.ingest.index import Ingestion
from chalicelib.platform import memory as memory_platform
from chalicelib.records import Block, Document, Part
from chalicelib.retriever import Removed
from chalicelib.retriever.memory import MemoryRetriever
from chalicelib.settings import Settings
from chalicelib.store.memory import MemoryStore
from chalicelib.vault import Vault
from tests.unit import conftest

PAGES = [f"Page {number} speaks of {word}s and of nothing else." for number, word in enumerate(("cat", "dog", "owl"), 1)]
BOOK = "\f".join(PAGES)
"""A document of three pages."""


class Killed(BaseException):
    """The process is gone: nothing of it runs any more, not even a handler of errors."""


class Clock(conftest.Clock):
    def forward(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Script:
    """What goes wrong at a call, and when: `before[n]` is raised instead of the n-th call (from 1), `after[n]` behind it."""

    before: dict[int, BaseException] = field(default_factory=dict)
    after: dict[int, BaseException] = field(default_factory=dict)
    meanwhile: dict[int, Callable[[], object]] = field(default_factory=dict)
    calls: int = 0

    def begin(self) -> None:
        self.calls += 1
        if self.calls in self.meanwhile:
            self.meanwhile[self.calls]()
        if self.calls in self.before:
            raise self.before[self.calls]

    def end(self) -> None:
        if self.calls in self.after:
            raise self.after[self.calls]


class PlainReading:
    """Plain text, whose parts are pages with form feeds between, and whose paragraphs have an empty line between."""

    def __init__(self, title: str, pages: list[str], first: int, script: Script) -> None:
        self.title = title
        self.pages: int | None = len(pages)
        self.parts = len(pages)
        self._texts = pages
        self._first = first
        self._script = script

    def __iter__(self) -> Iterator[Part]:
        for index in range(self._first, self.parts):
            self._script.begin()
            paragraphs = [paragraph for paragraph in self._texts[index].split("\n\n") if paragraph.strip()]
            yield Part(index, index + 1, (), tuple(Block(paragraph) for paragraph in paragraphs))
            self._script.end()


class ScriptedEmbedder(HashedEmbedder):
    def __init__(self) -> None:
        super().__init__(64)
        self.script = Script()
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        self.script.begin()
        vectors = super().embed(texts, purpose)
        self.texts += texts
        self.script.end()
        return vectors


class ScriptedRetriever(MemoryRetriever):
    def __init__(self) -> None:
        super().__init__()
        self.script = Script()
        self.removing = Script()

    def remove(self, owner: str, document_id: str) -> Removed:
        self.removing.begin()
        return super().remove(owner, document_id)

    def replace(self, *arguments: Any, **named: Any) -> None:
        self.script.begin()
        super().replace(*arguments, **named)
        self.script.end()


class ListQueue:
    """A queue that keeps what it is told; a test delivers it."""

    one_at_a_time = False

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], int]] = []

    def send(self, body: str, *, delay_s: int = 0) -> None:
        self.sent.append((json.loads(body), delay_s))

    def retry_in(self, receipt: str, delay_s: int) -> None:
        raise AssertionError("ingestion knows nothing of receipts")

    def waiting(self) -> int:
        return len(self.sent)


@dataclass
class Library:
    """A deployment that takes documents, in memory."""

    settings: Settings = field(default_factory=Settings)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        platform = memory_platform.build(self.settings)
        self.store = MemoryStore(self.clock)
        self.vault = Vault(self.store, platform, self.settings)
        self.files = platform.files
        self.queue = ListQueue()
        self.documents = Documents(self.store, self.vault, self.settings, self.clock)
        self.embedder = ScriptedEmbedder()
        self.retriever = ScriptedRetriever()
        self.reading = Script()
        self.ingestion = self._ingestion(self.documents, self.queue)
        self._sequence = 0x10

    def with_queue(self, queue: ListQueue) -> Ingestion:
        """The same deployment, as another process reaches it."""
        return self._ingestion(self.documents, queue)

    def with_documents(self, documents: Documents) -> Ingestion:
        return self._ingestion(documents, self.queue)

    def _ingestion(self, documents: Documents, queue: ListQueue) -> Ingestion:
        return Ingestion(documents, self.files, queue, self.embedder, self.retriever, self.settings, self.clock, self.read)

    @contextmanager
    def read(self, path: Path, name: str, content_type: str, *, first: int = 0) -> Iterator[PlainReading]:
        yield PlainReading(Path(name).stem, path.read_text().split("\f"), first, self.reading)

    def upload(self, text: str, name: str = "notes.txt", owner: str = "me") -> tuple[Document, Arrival]:
        """Do what a person does: announce a file, and send it; return its row and the news of it."""
        document = self.documents.create(owner, name, content_type="text/plain", size_bytes=len(text.encode()))
        return document, self.put(document.key, text)

    def put(self, key: str, text: str) -> Arrival:
        """Put a file, and return the news that S3 would send."""
        self.files.put(key, io.BytesIO(text.encode()), content_type="text/plain")
        return self.news(key, len(text.encode()))

    def news(self, key: str, size_bytes: int = 0) -> Arrival:
        self._sequence += 1
        return Arrival(key, size_bytes, f"{self._sequence:X}")

    def deliver(self) -> None:
        """Deliver what is in the queue, as often as there is anything, each after its delay."""
        while self.queue.sent:
            message, delay_s = self.queue.sent.pop(0)
            self.clock.forward(delay_s)
            self.ingestion.resume(message["owner"], message["document_id"], message["generation"])

    def finish(self, news: Arrival) -> None:
        """Let news arrive, and everything that follows from it."""
        self.ingestion.arrived(news)
        self.deliver()

    def texts(self, document: Document) -> list[str]:
        """What readers see of a document in the index."""
        return [chunk.text for chunk in self.retriever.chunks(document.owner, document.id)]

    def now(self, document: Document) -> Document:
        """The document as people see it now."""
        return self.documents.get(document.owner, document.id)


def kill(library: Library, arrival: Arrival) -> None:
    """Let news of a file arrive, and the process that reads it be killed on the way."""
    with pytest.raises(Killed):
        library.ingestion.arrived(arrival)
