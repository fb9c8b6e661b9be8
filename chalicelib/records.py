"""What PAI talks about, as frozen dataclasses. Times are ISO-8601 UTC with milliseconds and `Z`; `_ms` is Unix time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["user", "assistant"]


@dataclass(frozen=True)
class Principal:
    """Who is asking: the owner whose data this request may touch, and the API key it came with."""

    owner: str
    key_id: str


@dataclass(frozen=True)
class ApiKey:
    """One key of the ring. `sha256` is the hex digest of the token; the token itself is never stored."""

    id: str
    name: str
    owner: str
    sha256: str
    created_at: str
    expires_at: str | None = None
    disabled: bool = False


@dataclass(frozen=True)
class KeyRing:
    """All API keys of a deployment. `version` is what the backend needs to refuse a lost update; empty for no ring yet."""

    keys: tuple[ApiKey, ...] = ()
    version: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, as its model counted them. What a prompt cache had is not in `input_tokens` but beside it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True)
class TurnOptions:
    """What one turn asks of the model. None is the deployment's default; `temperature` is 0 to 1."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Message:
    """One message of the tree. A user's message is a turn: it carries its state, its lease and the id its answer will have.

    `branch` is the id of the message that began this branch, empty on the first one. `state` is None on answers and on notes
    (messages that nobody was asked to answer); `running` also stands on a finished turn, whose answer then exists.
    """

    id: str
    role: Role
    content: str
    created_at: str
    parent_id: str = ""
    branch: str = ""
    state: Literal["running", "failed"] | None = None
    lease_until_ms: int = 0
    answer_id: str = ""
    options: TurnOptions = TurnOptions()
    failure_code: str = ""
    failure: str = ""
    model: str = ""
    usage: Usage = Usage()
    stop_reason: str = ""


@dataclass(frozen=True)
class Span:
    """A stretch of one branch that the active path runs through: its messages up to and with `until`; all when empty."""

    branch: str
    until: str = ""


@dataclass(frozen=True)
class Conversation:
    """A conversation's header. `path` names the active branch first, then the stretches it grew from.

    Its first span is the active leaf: the newest message of that branch, or the one it stops at. `turns` counts answers.

    `wrapped_key` opens what the conversation holds, under its owner's key; it is not for showing.
    """

    id: str
    owner: str
    created_at: str = ""
    updated_at: str = ""
    title: str = ""
    system_prompt: str = ""
    user_id: str = ""
    turns: int = 0
    path: tuple[Span, ...] = (Span(""),)
    wrapped_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Turn:
    """A question on its way to an answer: all that `run_turn` needs, whoever runs it.

    `history` is what came before the question, oldest first. `first`: the conversation was made for this turn, and its header
    already says so.
    """

    conversation: Conversation
    question: Message
    history: tuple[Message, ...] = ()
    first: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """A model this deployment can use. `id` is what the backend calls it; `aliases` are the names a request may give."""

    id: str
    name: str
    context_tokens: int
    aliases: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
