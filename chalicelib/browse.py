"""Looking through what was said: lists, search, one conversation in pages, export."""

import json
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from chalicelib import wire
from chalicelib.conversations import Conversations
from chalicelib.errors import BadRequest, SealBroken
from chalicelib.http import Fields, Reply
from chalicelib.records import Conversation, Message

PAGE_BYTES = 4_000_000
"""What one reply holds of a conversation, as JSON in a JSON string: so Lambda counts it, and its replies end at 6 MB."""
SEARCH_S = 8.0
"""How long one page of a search looks on before it returns what it has: everything is sealed, so it must read it all."""


class _OutOfTime(Exception):
    """A search stopped within a conversation, behind this message."""

    def __init__(self, message_id: str) -> None:
        super().__init__(message_id)
        self.message_id = message_id


class Browser:
    """Reads conversations for people: pages that fit, newest first where that is what they look for."""

    def __init__(self, conversations: Conversations, now: Callable[[], float] = time.time, search_s: float = SEARCH_S) -> None:
        self._conversations = conversations
        self._now = now
        self._search_s = search_s

    def list(self, owner: str, parameters: Fields) -> Reply:
        """Return a page of the owner's conversations, last active first; of one `user_id`, or that hold `q`, where asked."""
        limit = parameters.whole("limit", least=1, most=100) or 50
        label = parameters.text("user_id", longest=wire.LABEL_CHARS, default="")
        sought = parameters.text("q", longest=200, default="").casefold()
        place = wire.place(parameters.text("cursor", longest=400, default=""))
        before, within, after = (*place.split(" "), "", "")[:3]  # the last two when a search stopped in a conversation
        items: list[wire.Json] = []
        until = time.monotonic() + self._search_s
        for at, header in self._conversations.latest(owner, before):
            try:
                wanted = not label or header.user_id == label
                found = self._found(header, sought, after if header.id == within else "", until) if wanted else None
            except _OutOfTime as stop:
                return Reply({"items": items, "next_cursor": wire.cursor(f"{before} {header.id} {stop.message_id}")})
            before = at
            if found is not None:
                items.append(found)
            if len(items) == limit or time.monotonic() > until:
                return Reply({"items": items, "next_cursor": wire.cursor(at)})
        return Reply({"items": items, "next_cursor": None})

    def show(self, owner: str, conversation_id: str, parameters: Fields) -> Reply:
        """Return the active path, oldest first: the newest messages that fit, and a cursor for the older ones."""
        limit = parameters.whole("limit", least=1, most=100)
        before = wire.place(parameters.text("cursor", longest=400, default=""))
        header = self._conversations.header(owner, conversation_id)
        newest, cut = _page(self._conversations.newest_first(header, before), limit)
        cursor = wire.cursor(newest[-1].id) if cut else None
        leaf_id = newest[0].id if newest and not before else self._leaf_id(header)
        now_ms = int(self._now() * 1000)
        return Reply(wire.conversation(header, newest[::-1], cursor, now_ms, leaf_id=leaf_id, beyond=before))

    def export(self, owner: str, conversation_id: str, parameters: Fields) -> Reply:
        """Return everything, all branches, oldest first, as JSON or Markdown; what does not fit follows under the cursor."""
        form = parameters.choice("format", ("json", "markdown"))
        after = wire.place(parameters.text("cursor", longest=400, default=""))
        header = self._conversations.header(owner, conversation_id)
        messages, beyond = _page(self._conversations.oldest_first(header, after), None)
        cursor = wire.cursor(messages[-1].id) if beyond else None
        if form == "markdown":
            headers = {"X-Next-Cursor": cursor} if cursor else {}
            text = wire.markdown(header, messages, first_page=not after)
            return Reply(text, headers=headers, content_type="text/markdown; charset=utf-8")
        now_ms, leaf_id = int(self._now() * 1000), self._leaf_id(header)
        return Reply(wire.conversation(header, messages, cursor, now_ms, leaf_id=leaf_id, beyond=beyond))

    def change(self, owner: str, conversation_id: str, fields: Fields) -> Reply:
        """Rename a conversation, or make the path to another of its messages the active one."""
        title = fields.text("title", longest=wire.TITLE_CHARS, default="").strip()
        leaf_id = fields.text("leaf_id", longest=wire.ID_CHARS, default="")
        if not title and not leaf_id:
            raise BadRequest("title", "or leaf_id must be given")
        header = self._conversations.header(owner, conversation_id)
        if leaf_id:
            header = self._conversations.switch(header, leaf_id)
        return Reply(wire.summary(self._conversations.rename(header, title) if title else header))

    def _leaf_id(self, header: Conversation) -> str:
        """Return the id of the last message of the active path; empty without messages."""
        return next((message.id for message in self._conversations.newest_first(header)), "")

    def _found(self, header: Conversation, sought: str, after: str, until: float) -> wire.Json | None:
        """Return the list's entry when title or messages hold what is sought, with the first place it was found in."""
        entry = wire.summary(header)
        if sought in header.title.casefold():
            return entry
        try:
            for message in self._conversations.oldest_first(header, after):
                at = message.content.casefold().find(sought)
                if at >= 0:
                    excerpt = _excerpt(message.content, at, len(sought))
                    return entry | {"match": {"message_id": message.id, "excerpt": excerpt}}
                if time.monotonic() > until:
                    raise _OutOfTime(message.id)
        except SealBroken:
            return None  # one conversation that was tampered with does not end the search of the others
        return None


def _excerpt(text: str, at: int, length: int) -> str:
    """Return what surrounds a match; `at` and `length` count in the casefolded text, which may be longer: ß is ss there."""
    ends = list(accumulate(len(character.casefold()) for character in text))
    return text[max(bisect(ends, at) - 60, 0) : bisect(ends, at + length - 1) + 61]


def _page(messages: Iterator[Message], limit: int | None) -> tuple[Sequence[Message], str]:
    """Return the messages that fit a reply, at least one if there is any, and the id of the first that does not, if any."""
    page: list[Message] = []
    room = PAGE_BYTES
    for message in messages:
        room -= len(_json(_json(wire.message_json(message))).encode())
        if page and (room < 0 or len(page) == limit):
            return page, message.id
        page.append(message)
    return page, ""


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False)
