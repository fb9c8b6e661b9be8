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
class RetrievalOptions:
    """What one turn asks of the library. `documents` limits the search to these ids; empty is all that the owner has.

    `asked`: the request named retrieval itself, so that an answer without passages says that the documents don't have it.
    """

    top_k: int = 6
    documents: tuple[str, ...] = ()
    off: bool = False
    asked: bool = False


@dataclass(frozen=True)
class TurnOptions:
    """What one turn asks of the model. None is the deployment's default; `temperature` is 0 to 1."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    retrieval: RetrievalOptions = RetrievalOptions()


@dataclass(frozen=True)
class Citation:
    """What bears out the answer at its marker `[1]`: words that stand so in a stored chunk of the owner's.

    `page` is 1-based, None in formats without pages. `score` is the passage's, 0 to 1.
    """

    marker: int
    document_id: str
    passage_id: str
    name: str
    page: int | None
    quote: str
    score: float


@dataclass(frozen=True)
class Retrieval:
    """Whether documents were consulted: used, nothing fit (empty), not wanted (off), or they could not be (failed)."""

    status: Literal["used", "empty", "off", "failed"] = "off"
    passages: int = 0


@dataclass(frozen=True)
class Message:
    """One message of the tree. A user's message is a turn: it carries its state, its lease and the id its answer will have.

    `branch` is the id of the message that began this branch, empty on the first one. `state` is None on answers and on notes
    (messages that nobody was asked to answer); `running` also stands on a finished turn, whose answer then exists.
    `background` is 1 when a worker answers, with a log (chat.events), and not the request that asked.
    """

    id: str
    role: Role
    content: str
    created_at: str
    parent_id: str = ""
    branch: str = ""
    state: Literal["running", "failed"] | None = None
    lease_until_ms: int = 0
    background: int = 0
    answer_id: str = ""
    options: TurnOptions = TurnOptions()
    failure_code: str = ""
    failure: str = ""
    model: str = ""
    usage: Usage = Usage()
    stop_reason: str = ""
    citations: tuple[Citation, ...] = ()
    retrieval: Retrieval = Retrieval()


@dataclass(frozen=True)
class Span:
    """A stretch of one branch that the active path runs through: its messages up to and with `until`; all when empty."""

    branch: str
    until: str = ""


@dataclass(frozen=True)
class Conversation:
    """A conversation's header. `path` names the active branch first, then the stretches it grew from.

    Its first span is the active leaf: the newest message of that branch, or the one it stops at. `turns` counts answers, and
    `usage` their tokens.

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
    usage: Usage = Usage()
    path: tuple[Span, ...] = (Span(""),)
    wrapped_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Turn:
    """A question on its way to an answer: all that `run_turn` needs, whoever runs it.

    `history` is what came before the question, oldest first. `first`: the conversation was made for this turn, and its header
    already says so. `key_id` is the API key's that asked, whose budget it is.
    """

    conversation: Conversation
    question: Message
    history: tuple[Message, ...] = ()
    first: bool = False
    key_id: str = ""

    @property
    def who(self) -> Principal:
        return Principal(self.conversation.owner, self.key_id)


@dataclass(frozen=True)
class ModelInfo:
    """A model this deployment can use. `id` is what the backend calls it; `aliases` are the names a request may give."""

    id: str
    name: str
    context_tokens: int
    aliases: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


DocumentState = Literal["waiting", "reading", "embedding", "ready", "failed"]


@dataclass(frozen=True)
class Document:
    """A row of the registry: one file of an owner's, and how far its way into the index has come.

    `key` is the file's in the platform's files: `documents/<owner>/<id>.<suffix>`, which says nothing of the name.
    `parts_done` of `parts` have been indexed under `generation`, the one being built; readers see `live_generation`.
    `pages` is None in formats without pages; `skipped_pages` held no text. `same_as` is the id of a document with the same
    bytes, which answers for this one. `lease_until_ms` belongs to whoever works on it; `attempts` counts those who began since
    the last progress.
    """

    id: str
    owner: str
    name: str
    key: str
    content_type: str = ""
    size_bytes: int = 0
    state: DocumentState = "waiting"
    created_at: str = ""
    updated_at: str = ""
    title: str = ""
    language: str = ""
    pages: int | None = None
    chunks: int = 0
    characters: int = 0
    skipped_pages: tuple[int, ...] = ()
    parts: int = 0
    parts_done: int = 0
    generation: str = ""
    live_generation: str = ""
    same_as: str = ""
    fingerprint: str = ""
    sequencer: str = ""
    failure_code: str = ""
    failure: str = ""
    failure_page: int | None = None
    lease_until_ms: int = 0
    attempts: int = 0
    wrapped_key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Block:
    """A piece of a document's text, as its author set it off. `level` 1 to 6 is a heading, 0 is not."""

    text: str
    level: int = 0


@dataclass(frozen=True)
class Part:
    """What a document is read and indexed by: a page, slide, sheet or chapter, or a stretch of a format without pages.

    `index` counts from 0 without gaps. `page` is 1-based, None in formats without pages. `headings` is the path in force
    where the part begins, outermost first, so that each part can be split without those before it.
    """

    index: int
    page: int | None
    headings: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Chunk:
    """A stretch of one part, never of two: what is embedded, searched and quoted.

    Chunks do not overlap, and between them only white space is left out. `context` is the document's title and the heading
    path, one a line: it is embedded and searched with the text, and never quoted.
    `start` is the offset of `text` in its part's text, in characters. `ordinal` counts through the document, from 0.
    """

    ordinal: int
    part: int
    page: int | None
    context: str
    text: str
    start: int


@dataclass(frozen=True)
class Passage:
    """What a search found: one chunk, or neighbours joined, of one document.

    `id` is `<first ordinal>` or `<first>-<last>`. `chunks` are the stored chunks it is made of, in order. `score` is the fused
    score, 0 to 1. `similarity` is the best cosine of its chunks with the question, None if the vector leg did not find it;
    `bm25` likewise the best BM25 score. `name` is empty as it comes from a retriever: the registry knows it.
    """

    id: str
    document_id: str
    chunks: tuple[Chunk, ...]
    score: float
    similarity: float | None = None
    bm25: float | None = None
    name: str = ""

    @property
    def text(self) -> str:
        return "\n".join(chunk.text for chunk in self.chunks)

    @property
    def page(self) -> int | None:
        return self.chunks[0].page
