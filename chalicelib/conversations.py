"""Conversations over a store and a vault: append-only items, sealed, one partition each.

    pk = C#<owner>#<conversation_id>    the owner is part of the key: another owner's id leads nowhere
        sk = M#<ulid>                   messages, in the order they were asked
        sk = ~                          the header, after everything: one reverse query brings it and the newest messages

A turn adds its two messages and touches the header; it never rewrites what is there, so its cost does not grow.
Messages form a tree. Those of one branch share a branch id, and the header's path says which stretch of which branch is
active, so that a reader knows from a message alone whether to show it. Two turns asked at once stand in the same branch.
"""

import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from secrets import randbits
from typing import Any

from ulid import ULID

from chalicelib.clock import iso
from chalicelib.errors import ConversationNotFound, MessageNotFound, PaiError, SealBroken
from chalicelib.records import Citation, Conversation, Message, Retrieval, RetrievalOptions, Span, Turn, TurnOptions, Usage
from chalicelib.settings import Settings
from chalicelib.store import Item, Page, Store, Value, When
from chalicelib.vault import Box, Vault

HEADER = "~"
DAY_S = 86_400
TITLE_CHARS = 60
UNREADABLE = "(does not open with its key)"
LIVE = When("present", "key")
"""A header lives as long as it has its key: what deletion takes away first."""


@dataclass(frozen=True)
class Deleted:
    """The receipt of a deletion. `backups_until`: when the last point-in-time backup with it is gone; None without backups."""

    conversation_id: str
    messages: int
    deleted_at: str
    backups_until: str | None


class Conversations:
    """The repository of conversations. Every method takes the owner first, and finds nothing of anybody else's."""

    def __init__(self, store: Store, vault: Vault, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._vault = vault
        self._retention_s = settings.retention_days * DAY_S
        self._backup_s = settings.backup_days * DAY_S
        self._now = now

    # Writing

    def create(self, conversation: Conversation) -> Conversation:
        """Store a new header and return it with its key and times."""
        pk = partition(conversation.owner, conversation.id)
        box, wrapped = self._vault.new_box(conversation.owner, pk)
        now = iso(self._now())
        conversation = replace(conversation, wrapped_key=wrapped, created_at=now, updated_at=now)
        texts = {"title": conversation.title, "system_prompt": conversation.system_prompt}
        labels = _given({"user_id": conversation.user_id})
        item = {"pk": pk, "sk": HEADER, "key": wrapped, "created_at": now, **labels, **_sealed_texts(box, texts)}
        self._store.put({**item, **self._activity(conversation)}, [When("absent", "pk")])
        return conversation

    def add(self, conversation: Conversation, message: Message) -> bool:
        """Append a message; False when one with its id is there already."""
        item = _message_item(self._box(conversation), message)
        return self._store.put({**item, **self._expiry()}, [When("absent", "pk")])

    def restart(self, conversation: Conversation, question: Message, again: Message) -> bool:
        """Take up a question that failed or whose lease ran out, as it is in `again`; False when somebody was quicker."""
        run: dict[str, Value] = {"state": "running", "lease_until_ms": again.lease_until_ms, "background": again.background}
        changed = self._store.update(
            partition(conversation.owner, conversation.id),
            f"M#{question.id}",
            set={**run, "numbers": "{}", **_numbers(again)},
            remove=("failure_code", "failure"),
            when=[When("equals", "lease_until_ms", question.lease_until_ms)],
        )
        return changed is not None

    def fail(self, conversation: Conversation, question: Message, error: PaiError) -> None:
        """Keep with the question why it has no answer, so that it can be answered again."""
        pk, sk = partition(conversation.owner, conversation.id), f"M#{question.id}"
        self._store.update(
            pk,
            sk,
            set={"state": "failed", "failure_code": error.code, "failure": error.message},
            when=[When("present", "role"), When("equals", "lease_until_ms", question.lease_until_ms)],
        )
        if not self._touch(conversation, self._activity(conversation)):
            self._store.delete([(pk, sk)])

    def finish(self, turn: Turn, answer: Message) -> bool:
        """Append the answer and move the header on; False when another run of this turn has already answered.

        Raises ConversationNotFound, leaving nothing behind, when the conversation was deleted in the meantime.
        """
        conversation = turn.conversation
        if not self.add(conversation, answer):
            return False
        # A new header already stands where it belongs in the index: moving it there costs two writes.
        moved = {} if turn.first else self._activity(conversation)
        if not self._touch(conversation, moved, {"turns": 1, **vars(answer.usage)}):
            pk = partition(conversation.owner, conversation.id)
            self._store.delete([(pk, f"M#{answer.id}"), (pk, f"M#{turn.question.id}")])
            raise ConversationNotFound
        return True

    def rename(self, conversation: Conversation, title: str) -> Conversation:
        """Give the conversation this title; its place in the list stays."""
        return self.describe(conversation, title=title)

    def retitle(self, conversation: Conversation, title: str) -> bool:
        """Give the conversation this title if it still has the one that `conversation` says; False when it has not."""
        item = self._store.get(partition(conversation.owner, conversation.id), HEADER)
        box = self._box(conversation)
        if item is None or "key" not in item or _opened(box, item, "title") != conversation.title:
            return False
        unchanged = When("equals", "title", item["title"]) if "title" in item else When("absent", "title")
        changed = self._store.update(box.pk, HEADER, set=_sealed_texts(box, {"title": title}), when=[LIVE, unchanged])
        return changed is not None

    def describe(self, conversation: Conversation, *, title: str = "", system_prompt: str = "") -> Conversation:
        """Give the conversation this title and this system prompt; an empty one stays as it was."""
        given = {"title": title, "system_prompt": system_prompt}
        texts = {name: text for name, text in given.items() if text and text != getattr(conversation, name)}
        if texts and not self._touch(conversation, _sealed_texts(self._box(conversation), texts)):
            raise ConversationNotFound
        return replace(
            conversation, title=title or conversation.title, system_prompt=system_prompt or conversation.system_prompt
        )

    def switch(self, conversation: Conversation, leaf_id: str) -> Conversation:
        """Make the path that ends with this message, or with its answer, the active one. MessageNotFound."""
        try:
            path = self.path_to(conversation, answer_id(leaf_id))  # of an answer, it is the answer's own id
        except MessageNotFound:
            path = self.path_to(conversation, leaf_id)
        return self.take_path(replace(conversation, path=path))

    def branched(self, conversation: Conversation, parent_id: str, first_id: str) -> Conversation:
        """Return the conversation on a new branch: it grows from this message (none: it has no past), begins with `first_id`.

        Nothing is stored: `take_path` makes it the active one, when its first question is there. MessageNotFound.
        """
        past = self.path_to(conversation, parent_id) if parent_id else ()
        return replace(conversation, path=(Span(first_id), *past))

    def take_path(self, conversation: Conversation) -> Conversation:
        """Make this path the active one. Raises ConversationNotFound."""
        if not self._touch(conversation, {"path": _encoded(conversation.path)}):
            raise ConversationNotFound
        return conversation

    def _touch(self, conversation: Conversation, changed: Item, counts: Mapping[str, int] | None = None) -> bool:
        """Change a header that is alive; `counts` are added to it."""
        pk = partition(conversation.owner, conversation.id)
        return self._store.update(pk, HEADER, set=changed, add=counts, when=[LIVE]) is not None

    def delete(self, owner: str, conversation_id: str) -> Deleted:
        """Delete for good: the key first, which ends reading, then messages, then the header; a crash leaves it repeatable."""
        pk, now = partition(owner, conversation_id), self._now()
        shredded = self._store.update(
            pk,
            HEADER,
            set={"deleted_at": iso(now)},
            remove=("key", "title", "system_prompt", "list_pk", "list_sk"),
            when=[When("present", "created_at")],
        )
        if shredded is None:
            raise ConversationNotFound
        messages = self._delete_messages(pk)
        self._store.delete([(pk, HEADER)])
        backups_until = iso(now + self._backup_s) if self._backup_s else None
        return Deleted(conversation_id, messages, iso(now), backups_until)

    def forget(self, owner: str, conversation_id: str, message_id: str) -> None:
        """Delete a message that came into a conversation while it was deleted."""
        self._store.delete([(partition(owner, conversation_id), f"M#{message_id}")])

    def _delete_messages(self, pk: str) -> int:
        """Delete every message of a partition; return how many there were."""
        messages, cursor = 0, None
        while True:
            page = self._store.query(pk, last="M#~", limit=250, cursor=cursor)
            self._store.delete([(pk, str(item["sk"])) for item in page.items])
            messages += len(page.items)
            cursor = page.cursor
            if cursor is None:
                return messages

    # Reading

    def open(
        self, owner: str, conversation_id: str, newest: int, enough_chars: float = math.inf
    ) -> tuple[Conversation, Sequence[Message]]:
        """Return the header and the `newest` messages of the active path, oldest first. One query in the plain case.

        They are fewer when those that are newest have `enough_chars` together: the rest is not even opened.
        """
        page, conversation = self._head(owner, conversation_id, newest)
        messages: list[Message] = []
        for message in islice(self._messages(conversation, page, newest), newest):
            messages.append(message)
            enough_chars -= len(message.content)
            if enough_chars <= 0:
                break
        return conversation, messages[::-1]

    def newest_first(self, conversation: Conversation, before: str = "") -> Iterator[Message]:
        """Yield the messages of the active path that are older than the id `before`, newest first, read as needed."""
        pk = partition(conversation.owner, conversation.id)
        page = self._store.query(pk, last=f"M#{before or '~'}", newest_first=True)
        return (message for message in self._messages(conversation, page, 100) if message.id != before)

    def oldest_first(self, conversation: Conversation, after: str = "") -> Iterator[Message]:
        """Yield the messages of all branches with ids greater than `after`, oldest first, read as needed."""
        pk, box, cursor = partition(conversation.owner, conversation.id), self._box(conversation), None
        while True:
            page = self._store.query(pk, first=f"M#{after}", last="M#~", cursor=cursor)
            yield from (_message(box, item) for item in page.items if item["sk"] != f"M#{after}")
            cursor = page.cursor
            if cursor is None:
                return

    def header(self, owner: str, conversation_id: str) -> Conversation:
        return self._head(owner, conversation_id, 0)[1]

    def message(self, conversation: Conversation, message_id: str) -> Message:
        """Return one message, of any branch; MessageNotFound."""
        item = self._store.get(partition(conversation.owner, conversation.id), f"M#{message_id}")
        if item is None:
            raise MessageNotFound
        return _message(self._box(conversation), item)

    def exchange(self, owner: str, conversation_id: str, question_id: str) -> tuple[Conversation, Message, Message | None]:
        """Return a question with its conversation's header, and its answer if there is one: in one query for the newest."""
        page, conversation = self._head(owner, conversation_id, 2)
        newest = {item["sk"]: item for item in page.items}
        box, sk = self._box(conversation), f"M#{question_id}"
        if sk not in newest:
            question = self.message(conversation, question_id)
            answer = self._store.get(box.pk, f"M#{question.answer_id}") if question.answer_id else None
        else:  # an answer stands right behind its question
            question = _message(box, newest[sk])
            answer = newest.get(f"M#{question.answer_id}")
        if not question.answer_id:
            raise MessageNotFound
        return conversation, question, _message(box, answer) if answer else None

    def latest(self, owner: str, before: str = "") -> Iterator[tuple[str, Conversation]]:
        """Yield the owner's conversations, last active first, each with its place in the list; from behind the place `before`.

        These headers hold no system prompt, leaf or path: the index does not carry them.
        """
        cursor = None
        while True:
            page = self._store.query(_list(owner), index=True, last=before, newest_first=True, cursor=cursor)
            for item in page.items:
                if item["list_sk"] != before and "key" in item:
                    yield str(item["list_sk"]), self._listed(owner, item)
            cursor = page.cursor
            if cursor is None:
                return

    def path_to(self, conversation: Conversation, message_id: str) -> tuple[Span, ...]:
        """Return the path that ends with this message, of whatever branch. MessageNotFound."""
        message = self.message(conversation, message_id)
        spans = [Span(message.branch, message.id)]
        while message.branch:
            try:
                message = self.message(conversation, self._branch_start(conversation, message.branch).parent_id)
            except MessageNotFound:  # what the branch grew from has expired
                break
            spans.append(Span(message.branch, message.id))
        return tuple(spans)

    def _branch_start(self, conversation: Conversation, branch: str) -> Message:
        """Return the oldest message of a branch: the one it is called after, unless that expired or was never stored."""
        try:
            return self.message(conversation, branch)
        except MessageNotFound:
            later = self.oldest_first(conversation, after=branch)
            start = next((message for message in later if message.branch == branch), None)
        if start is None:
            raise MessageNotFound
        return start

    def _head(self, owner: str, conversation_id: str, newest: int) -> tuple[Page, Conversation]:
        pk = partition(owner, conversation_id)
        page = self._store.query(pk, newest_first=True, limit=newest + 1)
        if not page.items or page.items[0]["sk"] != HEADER or "key" not in page.items[0]:
            raise ConversationNotFound
        header, *messages = page.items
        return Page(messages, page.cursor), self._opened_header(owner, header)

    def _opened_header(self, owner: str, item: Item) -> Conversation:
        box = self._vault.open_box(owner, str(item["pk"]), _bytes(item["key"]))
        spans = json.loads(str(item.get("path", '[["", ""]]')))
        return Conversation(
            id=str(item["pk"]).rpartition("#")[2],  # in one form, however it was written by who asks
            owner=owner,
            created_at=str(item["created_at"]),
            updated_at=str(item["updated_at"]),
            title=_opened(box, item, "title"),
            system_prompt=_opened(box, item, "system_prompt"),
            user_id=str(item.get("user_id", "")),
            turns=int(item.get("turns", 0)),
            usage=Usage(*(int(item.get(name, 0)) for name in Usage.__match_args__)),
            path=tuple(Span(branch, until) for branch, until in spans),
            wrapped_key=_bytes(item["key"]),
        )

    def _listed(self, owner: str, item: Item) -> Conversation:
        conversation_id = str(item["pk"]).rpartition("#")[2]
        try:
            return self._opened_header(owner, item)
        except SealBroken:  # the list must go on, and the conversation can still be deleted
            return Conversation(
                conversation_id,
                owner,
                created_at=str(item["created_at"]),
                updated_at=str(item["updated_at"]),
                title=UNREADABLE,
                user_id=str(item.get("user_id", "")),
            )

    def _messages(self, conversation: Conversation, page: Page, limit: int) -> Iterator[Message]:
        """Yield the messages of the active path, newest first from this page on, leaping over stretches of other branches."""
        pk, box = partition(conversation.owner, conversation.id), self._box(conversation)
        while True:
            yield from (_message(box, item) for item in page.items if _on_path(conversation.path, item))
            if page.cursor is None or _is_before_all(conversation.path, page.items):
                return
            leap = _leap(conversation.path, str(page.items[-1]["sk"]) if page.items else "")
            page = self._store.query(
                pk, newest_first=True, limit=max(limit, 25), last=leap, cursor=None if leap else page.cursor
            )

    def _box(self, conversation: Conversation) -> Box:
        return self._vault.open_box(
            conversation.owner, partition(conversation.owner, conversation.id), conversation.wrapped_key
        )

    def _place(self, conversation: Conversation) -> dict[str, Value]:
        """The header's place in the list, by its last activity: what each turn moves."""
        now = iso(self._now())
        return {"updated_at": now, "list_pk": _list(conversation.owner), "list_sk": f"{now}#{conversation.id}"}

    def _activity(self, conversation: Conversation) -> dict[str, Value]:
        """What a turn that ends, well or not, changes of the header."""
        return {**self._place(conversation), **self._expiry()}

    def _expiry(self) -> dict[str, Value]:
        return {"expires_at": int(self._now()) + self._retention_s} if self._retention_s else {}


@lru_cache(maxsize=64)
def partition(owner: str, conversation_id: str) -> str:
    """Return the partition key; ids that can't be one lead to ConversationNotFound without a look-up."""
    try:
        return f"C#{owner}#{uuid.UUID(conversation_id)}"
    except ValueError:
        raise ConversationNotFound from None


def new_message_id(now: float, after: str = "") -> str:
    """Return a ULID of this time (Unix seconds), greater than `after` even if the clock was set back since then.

    It is even, which leaves the next number for the answer. (ULID() counts up by one within a millisecond.)
    """
    fresh = ULID.from_int(int(now * 1000) << 80 | randbits(79) << 1)
    if str(fresh) > after:
        return str(fresh)
    return _text((int(_ulid(after)) + 2 + randbits(60)) & ~1)


def answer_id(question_id: str) -> str:
    """Return the id of the question's first answer: the next one, so that the pair stays together in every list."""
    return str(ULID.from_int(int(_ulid(question_id)) | 1))


def title_of(text: str) -> str:
    """Return a first title: the message's first line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= TITLE_CHARS:
        return line
    return line[:TITLE_CHARS].rsplit(" ", 1)[0] + "…"


def _on_path(path: Sequence[Span], item: Item) -> bool:
    """Whether a message's item stands on the active path."""
    branch, message_id = item.get("branch", ""), str(item["sk"])[2:]
    return any(span.branch == branch and (not span.until or message_id <= span.until) for span in path)


def _is_before_all(path: Sequence[Span], items: Sequence[Item]) -> bool:
    """Whether a branch without a past began behind the oldest of these: then nothing of the path comes before them."""
    return bool(path[-1].branch and items) and str(items[-1]["sk"]) <= f"M#{path[-1].branch}"


def _leap(path: Sequence[Span], oldest: str) -> str:
    """Return the sort key to go on from, when everything between it and `oldest` belongs to other branches; else empty."""
    span = next((span for span in path if f"M#{span.branch}" < oldest), None)
    return f"M#{span.until}" if span and span.until and f"M#{span.until}" < oldest else ""


def _ulid(text: str) -> ULID:
    try:
        return ULID.from_str(text)
    except ValueError:
        raise MessageNotFound from None


def _text(number: int) -> str:
    try:
        return str(ULID.from_int(number))
    except OverflowError:  # the largest ids there can be have no successor, and stand for no message of ours
        raise MessageNotFound from None


def _list(owner: str) -> str:
    return f"L#{owner}"


def _encoded(path: Sequence[Span]) -> str:
    return json.dumps([[span.branch, span.until] for span in path], separators=(",", ":"))


def _sealed_texts(box: Box, texts: Mapping[str, str]) -> dict[str, Value]:
    return {name: box.seal(HEADER, name, text) for name, text in texts.items() if text}


def _opened(box: Box, item: Item, name: str) -> str:
    return box.open(HEADER, name, _bytes(item[name])) if name in item else ""


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


PLAIN = ("role", "created_at", "parent_id", "branch", "state", "lease_until_ms", "background", "answer_id")
PLAIN_RESULT = ("failure_code", "failure", "model", "stop_reason")
"""Attributes of a message that are stored as they are; the empty ones are left out."""


def _message_item(box: Box, message: Message) -> dict[str, Value]:
    sk = f"M#{message.id}"
    plain = {name: getattr(message, name) for name in PLAIN + PLAIN_RESULT}
    item = {"pk": box.pk, "sk": sk, **_given(plain), "content": box.seal(sk, "content", message.content)}
    if message.retrieval != Retrieval():
        item["sources"] = box.seal(sk, "sources", _sources(message))
    return {**item, **_numbers(message)}


def _numbers(message: Message) -> dict[str, Value]:
    """Return what a message counts, and asks of model and library, as one attribute."""
    numbers = {**_given(vars(message.usage)), **_asked(message.options)}
    return {"numbers": json.dumps(numbers, separators=(",", ":"))} if numbers else {}


def _message(box: Box, item: Item) -> Message:
    sk = str(item["sk"])
    known: dict[str, Any] = {name: item[name] for name in PLAIN + PLAIN_RESULT if name in item}
    if "numbers" in item:
        numbers = json.loads(str(item["numbers"]))
        known["options"] = _options(numbers)
        known["usage"] = Usage(**{name: numbers[name] for name in Usage.__match_args__ if name in numbers})
    if "sources" in item:
        sources = json.loads(box.open(sk, "sources", _bytes(item["sources"])))
        known["retrieval"] = Retrieval(**sources["retrieval"])
        known["citations"] = tuple(Citation(**citation) for citation in sources["citations"])
    return Message(id=sk[2:], content=box.open(sk, "content", _bytes(item["content"])), **known)


def _asked(options: TurnOptions) -> dict[str, Any]:
    """Return what a question asks of model and library, without what is as always."""
    asked = {name: value for name, value in vars(options).items() if name != "retrieval" and value is not None}
    return asked if options.retrieval == RetrievalOptions() else {**asked, "retrieval": asdict(options.retrieval)}


def _options(numbers: Mapping[str, Any]) -> TurnOptions:
    given = {name: numbers[name] for name in TurnOptions.__match_args__ if name in numbers}
    if "retrieval" in given:
        retrieval = given["retrieval"]
        given["retrieval"] = RetrievalOptions(**{**retrieval, "documents": tuple(retrieval["documents"])})
    return TurnOptions(**given)


def _sources(message: Message) -> str:
    """Return what an answer rests on, as it is sealed: quotes and names are content."""
    sources = {"retrieval": asdict(message.retrieval), "citations": [asdict(citation) for citation in message.citations]}
    return json.dumps(sources, ensure_ascii=False, separators=(",", ":"))


def _given(values: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value}
