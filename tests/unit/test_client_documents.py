"""The library through the client: what is sent, and how long it is waited for."""

import json
from collections.abc import Callable

import httpx
import pytest

from pai.client import Client
from tests.unit.client_world import Server, client_of, refusal

DOCUMENT = {"document_id": "D1", "name": "lease.pdf", "state": "ready"}


def test_an_upload_is_announced_with_its_name_type_and_size() -> None:
    place = {"document_id": "D1", "upload": {"url": "https://bucket/", "method": "POST"}, "expires_at": "t"}
    server = Server([httpx.Response(201, json=place)])
    with client_of(server) as client:
        assert client.begin_upload("lease.pdf", "application/pdf", 12) == place
    body = json.loads(server.requests[0].content)
    assert body == {"filename": "lease.pdf", "content_type": "application/pdf", "bytes": 12}


def test_a_list_of_documents_goes_on_over_its_pages() -> None:
    pages = [{"items": [DOCUMENT] * 100, "next_cursor": "a"}, {"items": [DOCUMENT] * 5, "next_cursor": None}]
    server = Server([httpx.Response(200, json=page) for page in pages])
    with client_of(server) as client:
        assert len(client.documents(limit=150)["items"]) == 105
    assert [dict(request.url.params) for request in server.requests] == [{"limit": "100"}, {"limit": "50", "cursor": "a"}]


def test_an_id_of_a_document_can_not_lead_elsewhere() -> None:
    server = Server([httpx.Response(200, json=DOCUMENT)])
    with client_of(server) as client:
        client.document("../conversations")
    assert server.requests[0].url.raw_path == b"/documents/%2E%2E%2Fconversations"


@pytest.mark.parametrize(
    ("refused", "call"),
    [
        (
            refusal(503, retry_after="0", Code="LibraryWaking", Message="It wakes."),
            lambda client: client.search("pets", on_wait=lambda pause_s, error: None),
        ),
        (
            refusal(409, retry_after="0", Code="DocumentBusy", Message="It is read."),
            lambda client: client.delete_document("D1"),
        ),
    ],
)
def test_a_library_that_wakes_or_works_is_waited_for(refused: httpx.Response, call: Callable[[Client], object]) -> None:
    server = Server([refused, httpx.Response(200, json={"passages": []})])
    with client_of(server) as client:
        assert call(client) == {"passages": []}
    assert len(server.requests) == 2


def test_a_search_says_only_what_was_given() -> None:
    server = Server([httpx.Response(200, json={"passages": []})])
    with client_of(server) as client:
        client.search("pets")
        client.search("pets", top_k=3, documents=["D1"])
    assert [json.loads(request.content) for request in server.requests] == [
        {"query": "pets"},
        {"query": "pets", "top_k": 3, "documents": ["D1"]},
    ]
