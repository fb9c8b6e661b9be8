"""Looking through what was said: lists, search, one conversation in pages, export."""

import json
import time
from collections.abc import Callable, Iterator, Sequence

from chalicelib import wire
from chalicelib.conversations import Conversations
from chalicelib.errors import BadRequest, SealBroken
from chalicelib.http import Fields, Reply
from chalicelib.records import Conversation, Message

PAGE_BYTES = 4_000_000
"""What one reply holds of a conversation, as JSON. A Lambda's reply ends at 6 MB."""
SEARCH_S = 8.0
"""How long one page of a search looks on before it returns what it has: everything is sealed, so it must read it all."""


class Browser:
    """Reads conversations for people: pages that fit, newest first where that is what they look for."""

    def __init__(self, conversations: Conversations, now: Callable[[], float] = time.time) -> None:
        self._conversations = conversations
        self._now = now

    def list(self, owner: str, parameters: Fields) -> Reply:
        """Return a page of the owner's conversations, last active first; of one `user_id`, or that hold `q`, where asked."""
        limit = parameters.whole("limit", least=1, most=100) or 50
        label = parameters.text("user_id", longest=wire.LABEL_CHARS, default="")
        sought = parameters.text("q", longest=200, default="").casefold()
        before = wire.place(parameters.text("cursor", longest=400, default=""))
        items: list[wire.Json] = []
        until = time.monotonic() + SEARCH_S
        for at, header in self._conversations.latest(owner, before):
            found = None if label and header.user_id != label else self._found(header, sought)
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
        return Reply(wire.conversation(header, newest[::-1], cursor, int(self._now() * 1000)))

    def export(self, owner: str, conversation_id: str, parameters: Fields) -> Reply:
        """Return everything, all branches, oldest first, as JSON or Markdown; what does not fit follows under the cursor."""
        form = parameters.choice("format", ("json", "markdown"))
        after = wire.place(parameters.text("cursor", longest=400, default=""))
        header = self._conversations.header(owner, conversation_id)
        messages, cut = _page(self._conversations.oldest_first(header, after), None)
        cursor = wire.cursor(messages[-1].id) if cut else None
        if form == "markdown":
            headers = {"X-Next-Cursor": cursor} if cursor else {}
            text = wire.markdown(header, messages, first_page=not after)
            return Reply(text, headers=headers, content_type="text/markdown; charset=utf-8")
        return Reply(wire.conversation(header, messages, cursor, int(self._now() * 1000)))

    def _found(self, header: Conversation, sought: str) -> wire.Json | None:
        """Return the list's entry when title or messages hold what is sought, with the first place it was found in."""
        entry = wire.summary(header)
        if sought in header.title.casefold():
            return entry
        try:
            for message in self._conversations.oldest_first(header):
                at = message.content.casefold().find(sought)
                if at >= 0:
                    excerpt = message.content[max(at - 60, 0) : at + len(sought) + 60]
                    return entry | {"match": {"message_id": message.id, "excerpt": excerpt}}
        except SealBroken:
            return None  # one conversation that was tampered with does not end the search of the others
        return None


def _page(messages: Iterator[Message], limit: int | None) -> tuple[Sequence[Message], bool]:
    """Return the messages that fit a reply, at least one if there is any, and whether there are more."""
    page: list[Message] = []
    room = PAGE_BYTES
    for message in messages:
        room -= len(json.dumps(wire.message_json(message), ensure_ascii=False).encode())
        if page and (room < 0 or len(page) == limit):
            return page, True
        page.append(message)
    return page, False


def change(conversations: Conversations, owner: str, conversation_id: str, fields: Fields) -> Conversation:
    """Rename a conversation, or make the path to another message the active one."""
    title = fields.text("title", longest=wire.TITLE_CHARS, default="")
    leaf_id = fields.text("leaf_id", longest=wire.ID_CHARS, default="")
    if not title.strip() and not leaf_id:
        raise BadRequest("title", "or leaf_id must be given")
    header = conversations.header(owner, conversation_id)
    if leaf_id:
        header = conversations.switch(header, leaf_id)
    return conversations.rename(header, title.strip()) if title.strip() else header
