"""The JSON of the API, as it comes: the shapes that replies must have. What a newer server adds is passed on."""

import json
from collections.abc import Mapping
from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar

Item = TypeVar("Item")


class TokenUsage(TypedDict):
    """`cache_read_tokens` are those of the question that the model knew already; `input_tokens` are without them."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: NotRequired[int]


class Citation(TypedDict):
    """What bears out an answer at its marker; `page` is None in documents without pages."""

    marker: int
    document_id: str
    name: str
    page: int | None
    quote: str
    score: float


class Retrieved(TypedDict):
    """Whether documents were consulted: used, empty, off or failed."""

    status: str
    passages: int


class ChatReply(TypedDict):
    conversation_id: str
    message: str
    usage: TokenUsage
    model: str
    stop_reason: NotRequired[str]
    citations: NotRequired[list[Citation]]
    retrieval: NotRequired[Retrieved]


class Accepted(TypedDict):
    """A question that is answered in the background."""

    conversation_id: str
    turn_id: str


class Created(TypedDict):
    conversation_id: str


class WireError(TypedDict):
    Code: str
    Message: str


class WireMessage(TypedDict):
    """A message; `state` and `error` say why a question has no answer."""

    role: Literal["user", "assistant"]
    content: str
    timestamp: str
    state: NotRequired[Literal["running", "failed"]]
    error: NotRequired[WireError]
    citations: NotRequired[list[Citation]]


class WireConversation(TypedDict):
    """A conversation with its messages, oldest first; `next_cursor` leads to older ones."""

    conversation_id: str
    messages: list[WireMessage]
    created_at: str
    updated_at: str
    next_cursor: str | None
    title: NotRequired[str]
    system_prompt: NotRequired[str | None]


class Match(TypedDict):
    """The first place where a conversation holds what was searched for."""

    message_id: str
    excerpt: str


class Listed(TypedDict):
    """A conversation in a list."""

    conversation_id: str
    title: str
    created_at: str
    updated_at: str
    match: NotRequired[Match]


class Page(TypedDict, Generic[Item]):
    """A part of a list; `next_cursor` leads to the next one."""

    items: list[Item]
    next_cursor: str | None


Listing = Page[Listed]


class Model(TypedDict):
    id: str
    name: str
    aliases: list[str]


class Models(TypedDict):
    items: list[Model]


class Parts(TypedDict):
    parts_done: int
    parts: int


class Failure(TypedDict):
    Code: str
    Message: str
    page: NotRequired[int | None]


class Document(TypedDict):
    """A document, and how far it has come; `same_as` is the id of another with the same bytes."""

    document_id: str
    name: str
    state: Literal["waiting", "reading", "embedding", "ready", "failed"]
    content_type: NotRequired[str]
    bytes: NotRequired[int]
    pages: NotRequired[int | None]
    chunks: NotRequired[int]
    characters: NotRequired[int]
    skipped_pages: NotRequired[list[int]]
    language: NotRequired[str | None]
    title: NotRequired[str | None]
    progress: NotRequired[Parts | None]
    error: NotRequired[Failure | None]
    same_as: NotRequired[str | None]
    created_at: NotRequired[str]
    updated_at: NotRequired[str]


class Place(TypedDict):
    """Where a file goes: `method` to `url`, as a form with these fields (POST) or under these headers (PUT)."""

    url: str
    method: str
    fields: NotRequired[dict[str, str] | None]
    headers: NotRequired[dict[str, str] | None]


class Upload(TypedDict):
    document_id: str
    upload: Place
    expires_at: str


class Passage(TypedDict):
    passage_id: str
    document_id: str
    name: str
    page: int | None
    text: str
    score: float


class Found(TypedDict):
    passages: list[Passage]


def parsed(content: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object; None for anything else."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def has_all(shape: type, body: Mapping[str, Any]) -> bool:
    """Tell whether an object has the members that a shape requires."""
    required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    return required <= body.keys()


def text_of(body: Mapping[str, Any], name: str) -> str:
    """Return a member that is a text; an empty one for anything else."""
    value = body.get(name)
    return value if isinstance(value, str) else ""


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of these was given: None stands for what was not."""
    return {name: value for name, value in values.items() if value is not None}
