"""Conversations: listed and searched, read, changed, exported and deleted."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pai.client.connection import Connection
from pai.client.errors import ClientError
from pai.client.paths import conversation_path
from pai.client.wire import Created, Listing, WireConversation, given

ID_CHARS = 32
"""Text of at least this length is taken for a whole id."""

ExportFormat = Literal["json", "markdown"]


class Conversations(Connection):
    def create_conversation(self, *, user_id: str | None = None, initial_message: str | None = None) -> Created:
        body = given({"user_id": user_id, "initial_message": initial_message})
        return self._json(Created, "POST", "/conversations", json=body)

    def conversations(
        self, *, q: str | None = None, user_id: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Listing:
        """Return up to `limit` conversations, latest first; `q` searches titles and messages."""
        return self._list("/conversations", limit, cursor, q=q, user_id=user_id)

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
        path = conversation_path(conversation_id)
        whole = self._page(path, {"limit": newest} if newest else {})
        while whole["next_cursor"] is not None and newest is None:
            older = self._page(path, {"cursor": whole["next_cursor"]})
            whole["messages"] = older["messages"] + whole["messages"]
            whole["next_cursor"] = older["next_cursor"]
        return whole

    def change_conversation(self, conversation_id: str, **changes: str) -> dict[str, Any]:
        """Change what PATCH takes: `title`, or `leaf_id` for another branch."""
        return self._json(dict, "PATCH", conversation_path(conversation_id), json=changes)

    def delete_conversation(self, conversation_id: str) -> dict[str, Any]:
        """Delete for good; return the receipt."""
        return self._json(dict, "DELETE", conversation_path(conversation_id))

    def export_conversation(self, conversation_id: str, format: ExportFormat) -> str:
        """Return everything of a conversation, all branches, as one text, in as many requests as that takes."""
        path = f"{conversation_path(conversation_id)}/export"
        return self._export_json(path) if format == "json" else self._export_markdown(path)

    def _export_json(self, path: str) -> str:
        whole = self._page(path, {"format": "json"})
        while whole["next_cursor"] is not None:
            newer = self._page(path, {"format": "json", "cursor": whole["next_cursor"]})
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

    def _page(self, path: str, query: Mapping[str, Any]) -> WireConversation:
        return self._json(WireConversation, "GET", path, params=query)
