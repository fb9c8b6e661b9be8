"""PAI's HTTP API as methods. Replies are the wire's JSON as it came, so that what a newer server adds is passed on.

The key goes into one header and nowhere else: not into errors, not into a repr.
"""

import json
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Self, TypedDict, TypeVar, cast
from urllib.parse import quote

import httpx

from chalicelib import errors
from pai.config import is_this_machine, normalise_address
from pai.sse import EventSource, Sent

CONNECT_S = 10.0
ANSWER_S = 180.0
"""How long an answer may take to come. The server ends its own by then; this is for networks that swallow packets."""
PATIENCE_S = 30.0
MOST_TRIES = 16
"""How long, and how often, one question is asked again while the server asks to wait."""
LOST_PAUSE_S = 1.0
"""The pause before a server is asked again that was there a moment ago."""
FOLLOWING = httpx.Timeout(60.0, connect=CONNECT_S)
"""How long a response with events may say nothing: the server gives a sign of life sooner, also one that holds responses."""
STOP_S = 1.5
"""How long telling the server to stop may take: somebody has pressed Ctrl-C."""
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

    @property
    def path(self) -> str:
        return "/chat"

    def body(self) -> dict[str, Any]:
        return _given({name: value for name, value in vars(self).items() if name != "idempotency_key"})


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
        return f"{_path(self.conversation_id)}/regenerate"

    def body(self) -> dict[str, Any]:
        return _given(
            {name: value for name, value in vars(self).items() if name not in {"conversation_id", "idempotency_key"}}
        )


Asked = Question | Regeneration


@dataclass(frozen=True)
class Begun:
    """The server has the question, and answers it also when nobody follows."""

    conversation_id: str
    turn_id: str

    @property
    def path(self) -> str:
        return f"{_path(self.conversation_id)}/turns/{_segment(self.turn_id)}"


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
BACK = State("running")
"""What a lost connection that is there again says: the pause is over, though nothing may have happened yet."""


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


class TurnFailed(ClientError):
    """The server took the question, and could not answer it."""


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

    def stream(self, asked: Asked, on_wait: OnWait | None = None) -> Generator[Event]:
        """Ask, and yield what happens up to `Done`. Close the iterator to leave early: the server goes on.

        It asks again for as long as the server says when to. A connection that breaks off, or a server that starts anew, is
        taken up where it was. `on_wait(seconds, error)` is called before each pause. Raises TurnFailed with the server's
        reason when there will be no answer.
        """
        tries, waited_s = 0, 0.0
        while True:
            first = patiently(lambda: self._begin(asked), on_wait)
            yield first
            if isinstance(first, Done):
                return
            tries += 1
            try:
                yield from self._follow(first, on_wait)
                return
            except TurnFailed as error:
                waited_s += _wait(error, on_wait, tries, waited_s)
            yield Restart()

    def _begin(self, asked: Asked) -> Begun | Done:
        """Ask. A server that has the answer already, or does not answer in the background, gives it here."""
        headers = {"Idempotency-Key": asked.idempotency_key, "Prefer": "respond-async"}
        response = self._send("POST", asked.path, json=asked.body(), headers=headers)
        if response.status_code != httpx.codes.ACCEPTED:
            return Done(self._shaped(ChatReply, response))
        accepted = self._shaped(Accepted, response)
        return Begun(accepted["conversation_id"], accepted["turn_id"])

    def _follow(self, begun: Begun, on_wait: OnWait | None) -> Generator[Event]:
        """Yield a turn's events, from as many responses as that takes."""
        source, lost_at = EventSource(), 0.0
        while True:
            try:
                with closing(self._sent(begun, source)) as response:
                    for sent in response:
                        event = self._event(sent, begun) if sent else BACK if lost_at else None
                        lost_at = 0.0 if sent else lost_at
                        if event is not None:
                            yield event
                        if isinstance(event, Done):
                            return
            except TurnFailed:
                raise
            except ClientError as error:
                lost_at = lost_at or time.monotonic()
                _wait(_coming_back(error), on_wait, waited_s=time.monotonic() - lost_at)

    def _sent(self, begun: Begun, source: EventSource) -> Generator[Sent | None]:
        """Yield what one response has of a turn's events, first of all None. It returns when it is time to ask again."""
        asked_at, empty = time.monotonic(), True
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}  # what is packed comes late
        if source.last_id:
            headers["Last-Event-ID"] = source.last_id
        request = self._http.build_request(
            "GET", f"{begun.path}/events", headers=httpx.Headers(headers, encoding="utf-8"), timeout=FOLLOWING
        )
        with self._explained(), closing(self._http.send(request, stream=True)) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise self._not_pai(response)
            yield None
            for sent in source.read(response.iter_bytes()):
                empty = False
                yield sent
        if source.retry_s is None:
            raise self._broken_off()
        time.sleep(pause_before_next(source.retry_s, time.monotonic() - asked_at, empty=empty))

    def _event(self, sent: Sent, begun: Begun) -> Event | None:
        """Return what an event means; None for one that we do not know. Raises TurnFailed."""
        data = _parsed(sent.data) or {}
        match sent.kind:
            case "state":
                return State(_text(data, "state"))
            case "text":
                return Text(_text(data, "text"))
            case "restart":
                return Restart()
            case "done" if _has_all(ChatReply, data):
                return Done(cast(ChatReply, data))
            case "done" | "failed":
                raise _failed(data, begun)
        return None

    def stop_turn(self, begun: Begun) -> None:
        """Have the server end an answer where it is, and keep what it has."""
        self._send("DELETE", begun.path, timeout=STOP_S)

    def usage(self, month: str | None = None) -> dict[str, Any]:
        """Return what was used in a month, such as 2026-01, or in this one: tokens, and dollars where the price is known."""
        return self._json(dict, "GET", "/usage", params=_given({"month": month}))

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
        return self._shaped(shape, self._send(method, path, **options))

    def _shaped(self, shape: type[Shape], response: httpx.Response) -> Shape:
        body = _object(response)
        if body is None or not _has_all(shape, body):
            raise self._not_pai(response)
        return cast(Shape, body)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._explained():
            response = self._http.request(method, path, **options)
        if not response.is_success:
            raise error_of(response)
        return response

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what goes wrong with a connection as a ClientError."""
        try:
            yield
        except ValueError:
            sentence = "What was given can't be sent as JSON: a number that is none, or text with half a character in it."
            raise ClientError("BadRequest", sentence, status=400) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ClientError("Unreachable", _unreachable(self.address, error)) from None
        except httpx.TimeoutException:
            raise ClientError("TimedOut", f"{self.address} took the request, but no answer came in time.") from None
        except httpx.RequestError:  # not as the cause: some of these quote the header with the key
            raise self._broken_off() from None

    def _broken_off(self) -> ClientError:
        return ClientError("Interrupted", f"The connection to {self.address} broke off.", retry_after_s=LOST_PAUSE_S)

    def _not_pai(self, response: httpx.Response) -> ClientError:
        kind = response.headers.get("Content-Type", "no type")
        return ClientError(
            "NotPai",
            f"{self.address} answers, but not as PAI does ({kind}). Check the address with `pai use`.",
            status=response.status_code,
        )


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


def _failed(data: Mapping[str, Any], begun: Begun) -> TurnFailed:
    """Return what a turn that failed says. Whether asking again helps is known from its code: the event does not say it."""
    code = _text(data, "Code")
    known = getattr(errors, code, None)
    kind = known if isinstance(known, type) and issubclass(known, errors.PaiError) else None
    return TurnFailed(
        code or "TurnFailed",
        _text(data, "Message") or "There is no answer, and the server did not say why.",
        status=kind.status if kind else None,
        retry_after_s=kind.retry_after_s if kind else None,
        details={"conversation_id": begun.conversation_id, "turn_id": begun.turn_id},
    )


def patiently(call: Callable[[], Reply], on_wait: OnWait | None = None, patience_s: float = PATIENCE_S) -> Reply:
    """Return what a call returns, repeated for as long as its errors say when to. A server that goes away is waited for."""
    tries, waited_s = 0, 0.0
    while True:
        tries += 1
        try:
            return call()
        except ClientError as error:
            restarting = tries > 1 and error.code == "Unreachable"
            waited_s += _wait(_coming_back(error) if restarting else error, on_wait, tries, waited_s, patience_s)


def _wait(
    error: ClientError, on_wait: OnWait | None, tries: int = 1, waited_s: float = 0, patience_s: float = PATIENCE_S
) -> float:
    """Wait until the request may be made again, and return for how many seconds that was; raise the error to give up."""
    pause_s = pause_before_retry(error, tries, waited_s, patience_s)
    if pause_s is None:
        raise error
    if on_wait:
        on_wait(pause_s, error)
    time.sleep(pause_s)
    return pause_s


def pause_before_next(retry_s: float, took_s: float, *, empty: bool) -> float:
    """Return how long to wait after a response with events that took so long, when the server asks for `retry_s`.

    One that has nothing to say is asked once a second at most, whatever it wishes.
    """
    least_s = LOST_PAUSE_S - took_s if empty else 0.0
    return min(max(retry_s, least_s, 0.0), PATIENCE_S)


def _coming_back(error: ClientError) -> ClientError:
    """Return the error of a server that was there a moment ago: if nothing came from it, it may be asked again."""
    if error.status is not None or error.retry_after_s is not None:
        return error
    return ClientError(error.code, error.message, retry_after_s=LOST_PAUSE_S)


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
    return _parsed(response.content)


def _parsed(content: str | bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _has_all(shape: type, body: Mapping[str, Any]) -> bool:
    """Tell whether an object has the members that a shape requires."""
    required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    return required <= body.keys()


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
