"""PAI's middle, over its in-memory parts and a scripted model."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from chalicelib.chat.idempotency import Claims
from chalicelib.chat.sources import Sources
from chalicelib.chat.turn import TurnEngine
from chalicelib.conversations import Conversations
from chalicelib.documents import Documents
from chalicelib.embedder import Embedder
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.library import Library
from chalicelib.platform import memory as memory_platform
from chalicelib.records import Chunk, Document
from chalicelib.retriever import Indexing, Retriever
from chalicelib.retriever.memory import MemoryRetriever
from chalicelib.settings import Settings
from chalicelib.store.memory import MemoryStore
from chalicelib.vault import Vault
from tests.standins.scripted import ScriptedLLM


@dataclass
class Clock:
    """A clock that tests set."""

    time: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class World:
    """One deployment in memory, with a clock of its own."""

    settings: Settings = field(default_factory=Settings)
    clock: Clock = field(default_factory=Clock)
    llm: ScriptedLLM = field(default_factory=ScriptedLLM)
    embedder: Embedder = field(default_factory=lambda: HashedEmbedder(256))
    retriever: Retriever = field(default_factory=MemoryRetriever)
    make_store: Callable[[Clock], MemoryStore] = MemoryStore

    def __post_init__(self) -> None:
        self.store = self.make_store(self.clock)
        self.vault = Vault(self.store, memory_platform.build(self.settings), self.settings)
        self.conversations = Conversations(self.store, self.vault, self.settings, self.clock)
        self.claims = Claims(self.store, self.vault, self.clock)
        self.documents = Documents(self.store, self.vault, self.settings, self.clock)
        self.library = Library(self.documents, lambda: self.embedder, lambda: self.retriever, self.clock)
        sources = Sources(self.library, self.settings)
        keeps_documents = self.settings.retriever != "none"
        self.turns = TurnEngine(
            self.conversations, self.claims, self.llm, self.settings, self.clock, sources if keeps_documents else None
        )

    def add(self, name: str, *texts: str, owner: str = "me") -> Document:
        """Put a document into the owner's library: a chunk and a page for each text."""
        chunks = [Chunk(n, n, n + 1, "", text, 0) for n, text in enumerate(texts)]
        document = self.documents.create(owner, name)
        vectors = self.embedder.embed([chunk.text for chunk in chunks], "passage")
        self.retriever.replace(Indexing(owner, document.id, "g1", self.embedder.space), chunks, vectors, last=True)
        ready = self.documents.change(document, state="ready", live_generation="g1")
        assert ready
        return ready


@pytest.fixture
def world() -> World:
    return World()
