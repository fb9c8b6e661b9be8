"""The JSON of docs/api.md ↔ records. Pure: requests are checked here, replies get their form here."""

import json
import re
import uuid
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.chat.questions import Again, Answered, Ask
from chalicelib.conversations import Deleted, title_of
from chalicelib.errors import BadRequest, TurnLost
from chalicelib.http import Fields, Reply, Request
from chalicelib.records import Citation, Conversation, Message, ModelInfo, RetrievalOptions, TurnOptions, Usage

MESSAGE_CHARS = 100_000
MESSAGE_BYTES = 300_000
TITLE_CHARS = 200
LABEL_CHARS = 256
ID_CHARS = 64
MOST_TOKENS = 200_000
MOST_PASSAGES = 20
MOST_DOCUMENTS = 100

Json = dict[str, Any]


def ask(request: Request) -> Ask:
    """Return what a request to /chat asks."""
    fields = request.fields
    return Ask(
        message=fields.required_text("message", longest=MESSAGE_CHARS, largest=MESSAGE_BYTES),
        conversation_id=fields.text("conversation_id", longest=ID_CHARS, default=""),
        user_id=fields.text("user_id", longest=LABEL_CHARS, default=""),
        system_prompt=fields.text("system_prompt", longest=MESSAGE_CHARS, largest=MESSAGE_BYTES, default=""),
        parent_id=fields.text("parent_id", longest=ID_CHARS, default=""),
        options=_options(fields),
        key_id=request.key_id,
        background=prefers_background(request),
    )


def _options(fields: Fields) -> TurnOptions:
    return TurnOptions(
        model=fields.text("model", longest=LABEL_CHARS, default="") or None,
        max_tokens=fields.whole("max_tokens", least=1, most=MOST_TOKENS),
        temperature=fields.number("temperature", least=0, most=1),
        retrieval=_retrieval(fields.members.get("retrieval")),
    )


def _retrieval(given: object) -> RetrievalOptions:
    """Return what a request asks of the documents; BadRequest names a member as `retrieval.top_k`."""
    if given is None:
        return RetrievalOptions()
    if not isinstance(given, dict):
        raise BadRequest("retrieval", 'must be an object: {"top_k", "documents", "off"}')
    members = Fields({f"retrieval.{name}": value for name, value in given.items()})
    off = False if given.get("off") is None else given["off"]
    if not isinstance(off, bool):
        raise BadRequest("retrieval.off", "must be true or false")
    top_k = members.whole("retrieval.top_k", least=1, most=MOST_PASSAGES) or RetrievalOptions.top_k
    return RetrievalOptions(top_k, document_ids("retrieval.documents", given.get("documents")), off, asked=True)


def document_ids(name: str, given: object) -> tuple[str, ...]:
    """Return a list of documents' ids, each once; BadRequest names the field."""
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(item, str) and 0 < len(item) <= ID_CHARS for item in given):
        raise BadRequest(name, "must be a list of document ids")
    if len(given) > MOST_DOCUMENTS:
        raise BadRequest(name, f"must name {MOST_DOCUMENTS} documents at most")
    return tuple(dict.fromkeys(given))


def new_conversation(request: Request) -> tuple[Conversation, str]:
    """Return the header that a request to /conversations describes, and its first message or nothing."""
    fields = request.fields
    note = fields.text("initial_message", longest=MESSAGE_CHARS, largest=MESSAGE_BYTES, default="")
    header = Conversation(
        id=str(uuid.uuid4()),
        owner=request.owner,
        title=title_of(note),
        user_id=fields.text("user_id", longest=LABEL_CHARS, default=""),
    )
    return header, note if note.strip() else ""


def idempotency_body(request: Request, conversation_id: str) -> str:
    """Return the part of a request that must be the same under the same Idempotency-Key, in one form whatever its spacing."""
    return json.dumps([request.route, conversation_id, request.fields.members], sort_keys=True)


def again(request: Request, conversation_id: str) -> Again:
    """Return what a request to answer again asks."""
    fields = request.fields
    return Again(
        conversation_id,
        fields.text("message_id", longest=ID_CHARS, default=""),
        _options(fields),
        key_id=request.key_id,
        background=prefers_background(request),
    )


def prefers_background(request: Request) -> bool:
    """Whether a request prefers to be answered by a worker: https://www.rfc-editor.org/rfc/rfc7240"""
    wishes = request.headers.get("prefer", "").split(",")
    return any(wish.partition(";")[0].strip().lower() == "respond-async" for wish in wishes)


def turn_ids(conversation_id: str, question: Message) -> dict[str, str]:
    return {"conversation_id": conversation_id, "turn_id": question.id, "message_id": question.answer_id}


def accepted(ids: Mapping[str, str], route: str) -> Reply:
    """Return the reply to a request that a worker answers. Location is relative: addresses may begin with a stage's name."""
    turn = f"turns/{ids['turn_id']}"
    location = turn if route.endswith("/regenerate") else f"conversations/{ids['conversation_id']}/{turn}"
    headers = {"Preference-Applied": "respond-async", "Location": location}
    return Reply({**ids, "state": "running"}, 202, headers, log={"turn_id": ids["turn_id"]})


def answered(turn: Answered) -> Reply:
    """Return the reply of /chat."""
    return Reply(answered_body(turn.conversation_id, turn.answer), log=log_of(turn.answer))


def answered_body(conversation_id: str, answer: Message) -> Json:
    return {
        "conversation_id": conversation_id,
        "message": answer.content,
        "usage": usage(answer.usage),
        "model": answer.model,
        "message_id": answer.id,
        "turn_id": answer.parent_id,
        "stop_reason": answer.stop_reason,
        **sources(answer),
    }


def log_of(answer: Message) -> Json:
    """Return what the log says of an answer."""
    about = {"model": answer.model, "stop_reason": answer.stop_reason, "retrieval": answer.retrieval.status}
    return {**about, **usage(answer.usage)}


def turn(conversation_id: str, question: Message, answer: Message | None, said: str = "") -> Json:
    """Return a turn as it is: done, failed, or running and having said so much."""
    ids = turn_ids(conversation_id, question)
    if answer:
        return {**ids, "state": "done", **answered_body(conversation_id, answer)}
    if question.state == "failed":
        return {**ids, "state": "failed", "message": said, "error": failure(question)}
    return {**ids, "state": "running", "message": said}


def event(name: str, data: Mapping[str, Any], event_id: str = "") -> str:
    """Return a server-sent event: https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    id_line = f"id: {event_id}\n" if event_id else ""
    return f"{id_line}event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def sources(answer: Message) -> Json:
    """Return what an answer rests on."""
    return {"citations": [vars(citation) for citation in answer.citations], "retrieval": vars(answer.retrieval)}


def usage(counted: Usage) -> Json:
    """Return token counts; those of the prompt cache only where the model has one."""
    counts = vars(counted)
    return {name: count for name, count in counts.items() if count or name in ("input_tokens", "output_tokens")}


def created(conversation: Conversation) -> Reply:
    return Reply({"conversation_id": conversation.id, "message": "Conversation created successfully"}, status=201)


def summary(conversation: Conversation) -> Json:
    """Return a conversation as lists show it."""
    return {
        "conversation_id": conversation.id,
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        **({"user_id": conversation.user_id} if conversation.user_id else {}),
    }


def conversation(
    header: Conversation,
    messages: Sequence[Message],
    next_cursor: str | None,
    now_ms: int,
    *,
    leaf_id: str,
    beyond: str,
) -> Json:
    """Return a conversation with these messages, oldest first. `beyond` is the id of the message that follows them, if any."""
    newest = messages[-1].created_at if messages else ""
    return {
        **summary(header),
        "updated_at": max(header.updated_at, newest),
        "system_prompt": header.system_prompt or None,
        "leaf_id": leaf_id or None,
        "messages": message_list(messages, beyond, now_ms),
        "usage": usage(header.usage),
        "next_cursor": next_cursor,
    }


def message_list(messages: Sequence[Message], beyond: str, now_ms: int) -> list[Json]:
    present = {beyond, *(message.id for message in messages)}
    return [message_json(message, answered=message.answer_id in present, now_ms=now_ms) for message in messages]


def message_json(message: Message, *, answered: bool = True, now_ms: int = 0) -> Json:
    """Return a message. A question without an answer says why: it is running, or it failed and can be asked again."""
    body: Json = {
        "role": message.role,
        "content": message.content,
        "timestamp": message.created_at,
        "message_id": message.id,
        "parent_id": message.parent_id or None,
    }
    if message.role == "assistant":
        about = {"model": message.model, "stop_reason": message.stop_reason, "usage": usage(message.usage)}
        return body | about | sources(message)
    if message.state is None or answered:
        return body
    if message.state == "running" and message.lease_until_ms >= now_ms:
        return body | {"state": "running"}
    return body | {"state": "failed", "error": failure(message)}


def failure(question: Message) -> Json:
    """Return why a question has no answer; one that says nothing of it was left by a runner that died."""
    lost = TurnLost()
    return {"Code": question.failure_code or lost.code, "Message": question.failure or lost.message}


def receipt(deleted: Deleted) -> Reply:
    """Return what was deleted, and when the last backup that still has it ends."""
    return Reply(
        {
            "conversation_id": deleted.conversation_id,
            "deleted": True,
            "messages": deleted.messages,
            "deleted_at": deleted.deleted_at,
            "backups_until": deleted.backups_until,
        }
    )


def models(infos: Iterable[ModelInfo]) -> Reply:
    """Return what this deployment can use; the default comes first."""
    items = [
        {
            "id": info.id,
            "name": info.name,
            "context_tokens": info.context_tokens,
            "aliases": list(info.aliases),
            "default": place == 0,
            **info.details,
        }
        for place, info in enumerate(infos)
    ]
    return Reply({"items": items, "next_cursor": None})


def markdown(header: Conversation, messages: Iterable[Message], *, first_page: bool) -> str:
    """Return a conversation as a document that people read; its further pages are joined to the first."""
    parts = _heading(header) if first_page else []
    for message in messages:
        who = "You" if message.role == "user" else f"PAI ({message.model})"
        parts.append(f"## {who} · {message.created_at}\n\n{message.content}")
        parts += [_cited(citation) for citation in message.citations]
    return "\n\n".join(parts) + "\n"


def _cited(citation: Citation) -> str:
    page = "" if citation.page is None else f", page {citation.page}"
    return f"> [{citation.marker}] {_plain(citation.name)}{page}: “{_plain(citation.quote)}”"


def _plain(text: str) -> str:
    """Return a text on one line that Markdown takes as it stands: a document is written by anybody, and may hold an image."""
    return re.sub(r"([\\`*_\[\]<>!#|&])", r"\\\1", " ".join(text.split()))


def _heading(header: Conversation) -> list[str]:
    parts = [f"# {header.title or 'Conversation'}", f"*{header.created_at} · {header.id}*"]
    if header.system_prompt:
        parts.append(f"> {header.system_prompt}".replace("\n", "\n> "))
    return parts


def cursor(place: str) -> str:
    """Return an opaque cursor for a place in a list."""
    return urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place(cursor: str) -> str:
    """Return the place that a cursor stands for; BadRequest for one we never gave."""
    try:
        return b64decode(cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise BadRequest("cursor", "is not one that this list gave; leave it out to start at the beginning") from None
