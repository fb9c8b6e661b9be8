"""PAI's middle, over its in-memory parts and a scripted model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib.chat.idempotency import Claim, Claims
from chalicelib.chat.questions import Again, Answered, Ask, Questions
from chalicelib.chat.recorder import Pace
from chalicelib.chat.runs import Runs
from chalicelib.chat.sources import Sources
from chalicelib.chat.turn import Sink, TurnEngine
from chalicelib.conversations import Conversations
from chalicelib.documents import Documents
from chalicelib.embedder import Embedder
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.errors import JobsUnavailable
from chalicelib.following import Following
from chalicelib.library import Library
from chalicelib.metering import Meter
from chalicelib.platform import memory as memory_platform
from chalicelib.platform.limits import encode_job
from chalicelib.records import Chunk, Document
from chalicelib.retriever import Indexing, Retriever
from chalicelib.retriever.memory import MemoryRetriever
from chalicelib.settings import Settings
from chalicelib.store.memory import MemoryStore
from chalicelib.turns import WORKER, Turns
from chalicelib.vault import Vault
from tests.standins.scripted import ScriptedLLM


@dataclass
class Clock:
    """A clock that tests set."""

    time: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class Watch:
    """Monotonic time that passes only by sleeping, and what happens meanwhile."""

    time: float = 0.0
    meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.meanwhile()


PROMPT = Pace(batch_s=0.0, later_batch_s=0.0, sign_s=0.01, stop_s=0.005, last_words_s=0.2)
"""A recorder that stores each word as soon as it can, so that no test waits."""


class HeldJobs:
    """Jobs that wait until a test does them."""

    def __init__(self) -> None:
        self.payloads: list[dict[str, Any]] = []
        self.down = False

    def start(self, name: str, payload: Mapping[str, object]) -> None:
        if self.down:
            raise JobsUnavailable("No jobs today.")
        assert name == WORKER
        self.payloads.append(json.loads(encode_job(payload)))


@dataclass
class World:
    """One deployment in memory, with a clock of its own."""

    settings: Settings = field(default_factory=Settings)
    clock: Clock = field(default_factory=Clock)
    llm: ScriptedLLM = field(default_factory=ScriptedLLM)
    embedder: Embedder = field(default_factory=lambda: HashedEmbedder(256))
    retriever: Retriever = field(default_factory=MemoryRetriever)
    make_store: Callable[[Clock], MemoryStore] = MemoryStore
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self.store = self.make_store(self.clock)
        self.vault = Vault(self.store, memory_platform.build(self.settings), self.settings)
        self.conversations = Conversations(self.store, self.vault, self.settings, self.clock)
        self.claims = Claims(self.store, self.vault, self.clock)
        self.documents = Documents(self.store, self.vault, self.settings, self.clock)
        self.library = Library(self.documents, lambda: self.embedder, lambda: self.retriever, self.clock)
        sources = Sources(self.library, self.settings)
        keeps_documents = self.settings.retriever != "none"
        self.runs = Runs(self.store, self.vault, self.clock, PROMPT)
        self.questions = Questions(self.conversations, self.claims, self.runs, self.settings, self.clock)
        self.meter = Meter(self.llm, self.store, self.settings, self.clock)
        self.engine = TurnEngine(
            self.conversations,
            self.meter,
            self.settings,
            self.clock,
            sources if keeps_documents else None,
        )

        self.jobs = HeldJobs()
        self.turns = Turns(
            self.questions, self.engine, self.conversations, self.claims, self.runs, lambda: self.jobs, self.meter.check
        )
        self.following = Following(self.questions, self.conversations, self.runs, self.watch.monotonic, self.watch.sleep)

    def ask(self, owner: str, ask: Ask | Again, sink: Sink, wish: Claim | None = None) -> Answered:
        """Have a request answered."""
        turn = self.questions.prepare(owner, ask, wish)
        return turn if isinstance(turn, Answered) else Answered(turn.conversation.id, self.engine.run_turn(turn, sink))

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
