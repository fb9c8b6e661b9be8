"""PAI's middle, over its in-memory parts and a scripted model."""

from dataclasses import dataclass, field

import pytest

from chalicelib.chat.idempotency import Claims
from chalicelib.chat.turn import TurnEngine
from chalicelib.conversations import Conversations
from chalicelib.platform import memory as memory_platform
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

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.vault = Vault(self.store, memory_platform.build(self.settings), self.settings)
        self.conversations = Conversations(self.store, self.vault, self.settings, self.clock)
        self.claims = Claims(self.store, self.vault, self.clock)
        self.turns = TurnEngine(self.conversations, self.claims, self.llm, self.settings, self.clock)


@pytest.fixture
def world() -> World:
    return World()
