"""PAI's HTTP API as methods. Replies are the wire's JSON as it came, so that what a newer server adds is passed on.

The key goes into one header and nowhere else: not into errors, not into a repr.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Self, TypedDict, TypeVar, cast
from urllib.parse import quote

import httpx

from pai.config import is_this_machine, normalise_address

CONNECT_S = 10.0
ANSWER_S = 180.0
"""How long an answer may take to come. The server ends its own by then; this is for networks that swallow packets."""
PATIENCE_S = 30.0
MOST_TRIES = 16
"""How long, and how often, one question is asked again while the server asks to wait."""
GATEWAY_PAUSE_S = 2.0
"""The pause after an answer of API Gateway's own that may be asked again: it names none."""
PAGE = 100
"""What the server lists at once, at most."""
ID_CHARS = 32
"""Text of at least this length is taken for a whole id."""
LIBRARY_S = 60.0
"""How long a request about documents is repeated while the database wakes, or somebody else works on the document."""

ExportFormat = Literal["json", "markdown"]
Shape = TypeVar("Shape")
Reply = TypeVar("Reply")


class TokenUsage(TypedDict):
    input_tokens: int
    output_tokens: int


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
    conversation_id: str
    title: str
    created_at: str
    updated_at: str
    match: NotRequired[Match]


class Listing(TypedDict):
    items: list[Listed]
    next_cursor: str | None


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


class Documents(TypedDict):
    items: list[Document]
    next_cursor: str | None


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

    def body(self) -> dict[str, Any]:
        return _given({name: value for name, value in vars(self).items() if name != "idempotency_key"})


class ClientError(Exception):
    """A request that did not end well. `status` is HTTP's, None when no answer came.

    `retry_after_s` is there where asking again may help.
    `details` are the further members of the error body, such as the `conversation_id` that the question is kept in.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.details = details or {}


OnWait = Callable[[float, ClientError], object]


class Client:
    """One deployment of PAI, as one key may use it. Close it, or use it in a `with` statement."""

    def __init__(self, address: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.address = normalise_address(address)
        local = is_this_machine(self.address)
        self._http = httpx.Client(
            base_url=self.address,
            headers={"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            verify=self.address.startswith("https:"),  # reading certificates takes 50 ms that http does not need
            trust_env=not local,  # a proxy has no way back to this machine, and no business with the key
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def chat(self, question: Question, on_wait: OnWait | None = None) -> ChatReply:
        """Ask, and ask again for as long as the server says when to; a lost connection is taken up the same way.

        `on_wait(seconds, error)` is called before each pause.
        """
        headers = {"Idempotency-Key": question.idempotency_key}
        return patiently(lambda: self._json(ChatReply, "POST", "/chat", json=question.body(), headers=headers), on_wait)

    def create_conversation(self, *, user_id: str | None = None, initial_message: str | None = None) -> Created:
        body = _given({"user_id": user_id, "initial_message": initial_message})
        return self._json(Created, "POST", "/conversations", json=body)

    def conversations(
        self, *, q: str | None = None, user_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Listing:
        """Return up to `limit` conversations, latest first; `q` searches titles and messages.

        It takes as many requests as needed: a page of the wire may be empty with more to come, when looking took too long.
        """
        found: list[Listed] = []
        while True:
            query = _given({"q": q, "user_id": user_id, "limit": min(limit - len(found), PAGE), "cursor": cursor})
            page = self._json(Listing, "GET", "/conversations", params=query)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or len(found) >= limit:
                return {"items": found, "next_cursor": cursor}

    def full_id(self, beginning: str) -> str:
        """Return the id that begins so, among the newest 1,000 conversations; a whole id is returned as it is."""
        if len(beginning) >= ID_CHARS:
            return beginning
        listed = self.conversations(limit=1000)["items"]
        ids = [item["conversation_id"] for item in listed if beginning and item["conversation_id"].startswith(beginning)]
        if not ids:
            raise ClientError("ConversationNotFound", f"No conversation's id begins with {beginning!r}.", status=404)
        if len(ids) > 1:
            raise ClientError("AmbiguousId", f"{len(ids)} ids begin with {beginning!r}. Give more of it.", status=400)
        return ids[0]

    def conversation(self, conversation_id: str, *, newest: int | None = None) -> WireConversation:
        """Return a conversation with its `newest` messages (at most 100), or with all, in as many requests as that takes."""
        whole = self._conversation_page(conversation_id, {"limit": newest} if newest else {})
        while whole["next_cursor"] is not None and newest is None:
            older = self._conversation_page(conversation_id, {"cursor": whole["next_cursor"]})
            whole["messages"] = older["messages"] + whole["messages"]
            whole["next_cursor"] = older["next_cursor"]
        return whole

    def _conversation_page(self, conversation_id: str, query: Mapping[str, Any]) -> WireConversation:
        return self._json(WireConversation, "GET", _path(conversation_id), params=query)

    def change_conversation(self, conversation_id: str, **changes: str) -> dict[str, Any]:
        """Change what PATCH takes: `title`, or `leaf_id` for another branch."""
        return self._json(dict, "PATCH", _path(conversation_id), json=changes)

    def delete_conversation(self, conversation_id: str) -> dict[str, Any]:
        """Delete for good; return the receipt."""
        return self._json(dict, "DELETE", _path(conversation_id))

    def export_conversation(self, conversation_id: str, format: ExportFormat) -> str:
        """Return everything of a conversation, all branches, as one text, in as many requests as that takes."""
        path = f"{_path(conversation_id)}/export"
        return self._export_json(path) if format == "json" else self._export_markdown(path)

    def _export_json(self, path: str) -> str:
        whole = self._json(WireConversation, "GET", path, params={"format": "json"})
        while whole["next_cursor"] is not None:
            query = {"format": "json", "cursor": whole["next_cursor"]}
            newer = self._json(WireConversation, "GET", path, params=query)
            whole["messages"] += newer["messages"]
            whole["next_cursor"] = newer["next_cursor"]
        return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"

    def _export_markdown(self, path: str) -> str:
        page = self._send("GET", path, params={"format": "markdown"})
        text = page.text
        while cursor := page.headers.get("X-Next-Cursor"):
            page = self._send("GET", path, params={"format": "markdown", "cursor": cursor})
            text += f"\n{page.text}"
        return text

    def begin_upload(self, filename: str, content_type: str, size_bytes: int) -> Upload:
        """Announce a file; the reply says where to send it."""
        body = {"filename": filename, "content_type": content_type, "bytes": size_bytes}
        return self._json(Upload, "POST", "/upload", json=body)

    def documents(self, *, limit: int = PAGE, cursor: str | None = None) -> Documents:
        """Return up to `limit` documents, newest first, in as many requests as needed."""
        found: list[Document] = []
        while True:
            query = _given({"limit": min(limit - len(found), PAGE), "cursor": cursor})
            page = self._json(Documents, "GET", "/documents", params=query)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or len(found) >= limit:
                return {"items": found, "next_cursor": cursor}

    def document(self, document_id: str) -> Document:
        return self._json(Document, "GET", _document_path(document_id))

    def delete_document(self, document_id: str, on_wait: OnWait | None = None) -> dict[str, Any]:
        """Delete for good; return the receipt. Waits for a moment while the document is being read."""
        return patiently(lambda: self._json(dict, "DELETE", _document_path(document_id)), on_wait, LIBRARY_S)

    def retry_document(self, document_id: str) -> Document:
        """Have a document that failed read again."""
        return self._json(Document, "POST", f"{_document_path(document_id)}/retry")

    def search(
        self, query: str, *, top_k: int | None = None, documents: Sequence[str] = (), on_wait: OnWait | None = None
    ) -> Found:
        """Return the passages that fit best. Waits while the database wakes."""
        body = _given({"query": query, "top_k": top_k, "documents": list(documents) or None})
        return patiently(lambda: self._json(Found, "POST", "/search", json=body), on_wait, LIBRARY_S)

    def health(self) -> dict[str, Any]:
        return self._json(dict, "GET", "/health")

    def health_deep(self) -> dict[str, Any]:
        """Return what each part says of itself, also when one of them fails."""
        try:
            return self._json(dict, "GET", "/health/deep")
        except ClientError as error:
            if "parts" in error.details:
                return dict(error.details)
            raise

    def models(self) -> list[Model]:
        """Return the models that a question may name, the default first."""
        return self._json(Models, "GET", "/models")["items"]

    def _json(self, shape: type[Shape], method: str, path: str, **options: Any) -> Shape:
        """Send a request and return its JSON object, which must have what `shape` requires."""
        response = self._send(method, path, **options)
        required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
        reply = _object(response)
        if reply is None or not required <= reply.keys():
            kind = response.headers.get("Content-Type", "no type")
            raise ClientError(
                "NotPai",
                f"{self.address} answers, but not as PAI does ({kind}). Check the address with `pai use`.",
                status=response.status_code,
            )
        return cast(Shape, reply)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except ValueError:
            sentence = "What was given can't be sent as JSON: a number that is none, or text with half a character in it."
            raise ClientError("BadRequest", sentence, status=400) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ClientError("Unreachable", _unreachable(self.address, error)) from None
        except httpx.TimeoutException:
            raise ClientError("TimedOut", f"{self.address} took the request, but no answer came in time.") from None
        except httpx.RequestError:  # not as the cause: some of these quote the header with the key
            raise ClientError("Interrupted", f"The connection to {self.address} broke off.", retry_after_s=1) from None
        if not response.is_success:
            raise error_of(response)
        return response


def error_of(response: httpx.Response) -> ClientError:
    """Return what a refusal says, in PAI's shape or in one of API Gateway's own (`message`, or only a status)."""
    body = _object(response) or {}
    code, message = _text(body, "Code"), _text(body, "Message") or _text(body, "message")
    if not code and message == "Missing Authentication Token":  # API Gateway's words for a path that it does not know
        code, message = "RouteNotFound", "There is no PAI at this address. Does its end, such as /api, lack?"
    return ClientError(
        code or response.headers.get("x-amzn-ErrorType", "") or f"Http{response.status_code}",
        message or _wordless(response),
        status=response.status_code,
        retry_after_s=_retry_after_s(response, named=bool(code)),
        request_id=_text(body, "RequestId") or response.headers.get("x-amzn-RequestId", ""),
        details={name: value for name, value in body.items() if name not in {"Code", "Message", "message", "RequestId"}},
    )


def patiently(call: Callable[[], Reply], on_wait: OnWait | None = None, patience_s: float = PATIENCE_S) -> Reply:
    """Return what a call returns, repeated for as long as its errors say when to."""
    tries, waited_s = 0, 0.0
    while True:
        tries += 1
        try:
            return call()
        except ClientError as error:
            pause_s = pause_before_retry(error, tries, waited_s, patience_s)
            if pause_s is None:
                raise
            if on_wait:
                on_wait(pause_s, error)
        time.sleep(pause_s)
        waited_s += pause_s


def pause_before_retry(error: ClientError, tries: int, waited_s: float, patience_s: float = PATIENCE_S) -> float | None:
    """Return how long to wait before the request is made again, or None when to give up."""
    pause_s = error.retry_after_s
    if pause_s is None or tries >= MOST_TRIES or waited_s + pause_s > patience_s:
        return None
    return pause_s


def _retry_after_s(response: httpx.Response, *, named: bool) -> float | None:
    """Read Retry-After, in seconds; a gateway's refusal, which has no code of ours, may be asked again without one."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    return GATEWAY_PAUSE_S if response.status_code in {429, 502, 503, 504} and not named else None


def _wordless(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"This address leads on to {response.headers['Location']}. Give that one to `pai use`."
    return f"The server refused with status {response.status_code} and said nothing more."


def _unreachable(address: str, error: httpx.TransportError) -> str:
    if is_this_machine(address) and address.startswith("http:"):
        return f"Nothing answers at {address}. Start it with `make run` or `pai run`."
    return f"Nothing answers at {address} ({error}). Check the address with `pai use`, and the network."


def _object(response: httpx.Response) -> dict[str, Any] | None:
    """Return the body when it is a JSON object."""
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _path(conversation_id: str) -> str:
    return f"/conversations/{_segment(conversation_id)}"


def _document_path(document_id: str) -> str:
    return f"/documents/{_segment(document_id)}"


def _segment(name: str) -> str:
    return quote(name, safe="").replace(".", "%2E")  # so that ".." stays a name


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
