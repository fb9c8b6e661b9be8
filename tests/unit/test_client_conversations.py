"""Conversations through the client: lists and exports put together from their pages, ids, and routes."""

import json
from typing import Any

import httpx
import pytest

from tests.unit.client_world import Server, client_of, error_from

LISTED = {
    "conversation_id": "c1",
    "title": "t",
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:00.000Z",
}


def page(count: int, cursor: str | None, first: int = 0) -> httpx.Response:
    items = [LISTED | {"conversation_id": f"c{number}"} for number in range(first, first + count)]
    return httpx.Response(200, json={"items": items, "next_cursor": cursor})


def test_a_list_goes_on_through_empty_pages_until_it_has_enough() -> None:
    server = Server([page(100, "a"), page(0, "b"), page(20, "c", first=100)])
    with client_of(server) as client:
        listing = client.conversations(q="x", limit=120)
    assert [item["conversation_id"] for item in listing["items"]] == [f"c{number}" for number in range(120)]
    assert listing["next_cursor"] == "c"
    queries = [dict(request.url.params) for request in server.requests]
    assert queries == [
        {"q": "x", "limit": "100"},
        {"q": "x", "limit": "20", "cursor": "a"},
        {"q": "x", "limit": "20", "cursor": "b"},
    ]


@pytest.mark.parametrize(
    ("beginning", "code"), [("c9", None), ("c", "AmbiguousId"), ("z", "ConversationNotFound"), ("", "ConversationNotFound")]
)
def test_the_beginning_of_an_id_is_enough(beginning: str, code: str | None) -> None:
    server = Server([page(10, None)])
    if code is None:
        with client_of(server) as client:
            assert client.full_id(beginning) == "c9"
    else:
        assert error_from(server, lambda client: client.full_id(beginning)).code == code


def test_a_whole_id_is_taken_as_it_is() -> None:
    server = Server()
    with client_of(server) as client:
        assert client.full_id("3f0c9a52-54f3-4c62-9d2c-2f2f9a3f7a10") == "3f0c9a52-54f3-4c62-9d2c-2f2f9a3f7a10"
    assert not server.requests


def part(*contents: str, cursor: str | None) -> httpx.Response:
    messages = [{"role": "user", "content": content, "timestamp": "t"} for content in contents]
    return httpx.Response(200, json=LISTED | {"messages": messages, "next_cursor": cursor})


def contents_of(conversation: Any) -> list[str]:
    return [message["content"] for message in conversation["messages"]]


def test_a_long_conversation_is_put_together_from_its_pages() -> None:
    server = Server([part("three", "four", cursor="a"), part("one", "two", cursor=None)])
    with client_of(server) as client:
        whole = client.conversation("c1")
    assert contents_of(whole) == ["one", "two", "three", "four"]
    assert whole["next_cursor"] is None


def test_the_newest_messages_are_one_page() -> None:
    server = Server([part("three", "four", cursor="a")])
    with client_of(server) as client:
        assert contents_of(client.conversation("c1", newest=2)) == ["three", "four"]
    assert dict(server.requests[0].url.params) == {"limit": "2"}


def test_a_long_export_is_put_together_from_its_pages() -> None:
    server = Server([part("one", cursor="a"), part("two", cursor=None)])
    with client_of(server) as client:
        assert contents_of(json.loads(client.export_conversation("c1", "json"))) == ["one", "two"]
    assert dict(server.requests[1].url.params) == {"format": "json", "cursor": "a"}


def test_a_long_markdown_export_is_put_together_from_its_pages() -> None:
    server = Server([httpx.Response(200, text="one\n", headers={"X-Next-Cursor": "a"}), httpx.Response(200, text="two\n")])
    with client_of(server) as client:
        assert client.export_conversation("c1", "markdown") == "one\n\ntwo\n"


@pytest.mark.parametrize("conversation_id", ["..", "../keys", "a/b", "a?b", "a#b", "ä"])
def test_a_strange_id_stays_one_name_in_the_path(conversation_id: str) -> None:
    server = Server([part(cursor=None)])
    with client_of(server) as client:
        client.conversation(conversation_id)
    path = server.requests[0].url.raw_path.decode()
    assert path.startswith("/conversations/")
    assert path.count("/") == 2
    assert ".." not in path
