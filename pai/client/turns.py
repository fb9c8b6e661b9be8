"""A turn: what is asked, and what happens until the answer is there."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pai.client.paths import conversation_path, turn_path
from pai.client.wire import ChatReply, given


@dataclass(frozen=True)
class Question:
    """What POST /chat asks. Asked again with the same `idempotency_key` it is still one question with one answer."""

    message: str
    conversation_id: str | None = None
    system_prompt: str | None = None
    user_id: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    parent_id: str | None = None
    retrieval: Mapping[str, Any] | None = None
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def path(self) -> str:
        return "/chat"

    def body(self) -> dict[str, Any]:
        return given({name: value for name, value in vars(self).items() if name != "idempotency_key"})


@dataclass(frozen=True)
class Regeneration:
    """Asks for another answer to the last question of a conversation. What is None is as it was in the question."""

    conversation_id: str
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    retrieval: Mapping[str, Any] | None = None
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def path(self) -> str:
        return f"{conversation_path(self.conversation_id)}/regenerate"

    def body(self) -> dict[str, Any]:
        return given({name: value for name, value in vars(self).items() if name not in {"conversation_id", "idempotency_key"}})


Asked = Question | Regeneration


@dataclass(frozen=True)
class Begun:
    """The server has the question, and answers it also when nobody follows."""

    conversation_id: str
    turn_id: str

    @property
    def path(self) -> str:
        return turn_path(self.conversation_id, self.turn_id)


@dataclass(frozen=True)
class State:
    """What the server is about: "running", or "waking" while the documents' database wakes."""

    state: str


@dataclass(frozen=True)
class Text:
    """The next words."""

    text: str


@dataclass(frozen=True)
class Restart:
    """The answer begins anew: the words so far do not count."""


@dataclass(frozen=True)
class Done:
    """The answer as it is kept, which may differ from the words so far: it has the marks of its citations."""

    reply: ChatReply


Event = Begun | State | Text | Restart | Done
