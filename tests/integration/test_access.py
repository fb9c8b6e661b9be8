"""Who gets in, what they can reach, and what bad input meets."""

import json
import logging
from collections.abc import Iterator

import httpx
import pytest

from chalicelib import logs
from chalicelib.errors import ModelUnreachable
from pai.local.gateway import Gateway
from tests.integration.conftest import Api, served
from tests.standins.scripted import fails

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def alone(memory_api: Api) -> Iterator[httpx.Client]:
    with memory_api.client("me") as client:
        yield client


def test_request_without_a_key_is_401(api: Api) -> None:
    refused = httpx.post(f"{api.url}/chat", json={"message": "hi"})

    assert (refused.status_code, refused.json()["Code"]) == (401, "Unauthorized")
    assert refused.json()["RequestId"]


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic abc", "nonsense", "Bearer a b", "Bearer \x7f"])
def test_malformed_or_unknown_key_is_403(memory_api: Api, header: str) -> None:
    refused = httpx.post(f"{memory_api.url}/chat", json={"message": "hi"}, headers={"Authorization": header})

    assert (refused.status_code, refused.json()["Code"]) == (403, "Forbidden")


def test_disabled_and_expired_keys_are_403(api: Api) -> None:
    statuses = []
    for end in (api.disable, api.let_expire):
        key_id, token = api.key("me")
        headers = {"Authorization": f"Bearer {token}"}
        before = httpx.get(f"{api.url}/conversations", headers=headers).status_code
        end(key_id)
        after = httpx.get(f"{api.url}/conversations", headers=headers)
        statuses.append((before, after.status_code))

    assert statuses == [(200, 403), (200, 403)]


def test_defect_while_a_key_is_checked_refuses_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(gateway, {"PAI_PLATFORM": "tests.standins.scripted"}, monkeypatch) as api:
        refused = httpx.get(f"{api.url}/conversations", headers={"Authorization": "Bearer some-key"})

    assert (refused.status_code, refused.json()["Code"]) == (403, "Forbidden")


def test_new_key_works_at_once(api: Api) -> None:
    with api.client("first") as first, api.client("second") as second:
        assert first.get("/conversations").status_code == second.get("/conversations").status_code == 200


def test_two_owners_cannot_reach_each_others_conversations(api: Api) -> None:
    with api.client("anna") as anna, api.client("ben") as ben:
        theirs = anna.post("/chat", json={"message": "mine", "user_id": "ben"}).json()
        at = f"/conversations/{theirs['conversation_id']}"

        replies = [
            ben.get(at),
            ben.delete(at),
            ben.patch(at, json={"title": "stolen"}),
            ben.get(f"{at}/export"),
            ben.post("/chat", json={"message": "hi", "conversation_id": theirs["conversation_id"], "user_id": "anna"}),
        ]

        assert {(reply.status_code, reply.json()["Code"]) for reply in replies} == {(404, "ConversationNotFound")}
        assert ben.get("/conversations", params={"user_id": "anna"}).json()["items"] == []
        assert ben.get("/conversations", params={"q": "mine"}).json()["items"] == []
        assert len(anna.get(at).json()["messages"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, "body"),
        (b"[]", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"{}", 400, "message"),
        (b'{"message": 5}', 400, "message"),
        (b'{"message": ""}', 400, "message"),
        (b'{"message": " \\n"}', 400, "message"),
        (b'{"message": null}', 400, "message"),
        (b'{"message": "\\ud800"}', 400, "message"),
        (b'{"message": "hi", "conversation_id": 7}', 400, "conversation_id"),
        (b'{"message": "hi", "user_id": ["x"]}', 400, "user_id"),
        (b'{"message": "hi", "system_prompt": {}}', 400, "system_prompt"),
        (b'{"message": "hi", "max_tokens": 0}', 400, "max_tokens"),
        (b'{"message": "hi", "max_tokens": "5"}', 400, "max_tokens"),
        (b'{"message": "hi", "temperature": 2}', 400, "temperature"),
        (b'{"message": "hi", "temperature": NaN}', 400, "temperature"),
        (b'{"message": "hi", "temperature": true}', 400, "temperature"),
        (json.dumps({"message": "x" * 100_001}).encode(), 413, "message"),
        (json.dumps({"message": "é" * 100_000, "system_prompt": "é" * 100_000}).encode(), 413, "body"),
        (json.dumps({"message": "字" * 99_999 + "😀" * 3}, ensure_ascii=False).encode(), 413, "message"),
    ],
)
def test_bad_input_names_the_field(alone: httpx.Client, body: bytes, status: int, field: str) -> None:
    refused = alone.post("/chat", content=body, headers={"Content-Type": "application/json"})

    assert (refused.status_code, refused.json()["field"]) == (status, field)
    assert field in refused.json()["Message"]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"])
def test_body_is_read_as_json_whatever_it_is_called(alone: httpx.Client, kind: str) -> None:
    assert alone.post("/chat", content=b'{"message": "hi"}', headers={"Content-Type": kind}).status_code == 200


def test_two_megabytes_are_refused(alone: httpx.Client) -> None:
    refused = alone.post("/chat", json={"message": "x" * 2_000_000})

    assert (refused.status_code, refused.json()["Code"]) == (413, "TooLarge")


def test_longest_message_is_taken(alone: httpx.Client) -> None:
    assert alone.post("/chat", json={"message": "字" * 100_000}).status_code == 200


@pytest.mark.parametrize(
    "conversation_id", [NOBODY, "x", "~", "%2e%2e", "C%23me%23", "🎉", "a" * 200, "%00", "a%0Ab", "*", "a:b"]
)
def test_unknown_ids_are_404(alone: httpx.Client, conversation_id: str) -> None:
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"title": "x"})):
        reply = alone.request(method, f"/conversations/{conversation_id}", json=body)
        assert (reply.status_code, reply.json()["Code"]) == (404, "ConversationNotFound")


def test_change_of_nothing_is_refused(alone: httpx.Client) -> None:
    conversation_id = alone.post("/chat", json={"message": "hi"}).json()["conversation_id"]

    for body in ({}, {"title": ""}, {"title": " "}, {"title": "x" * 201}, {"title": 5}):
        assert alone.patch(f"/conversations/{conversation_id}", json=body).status_code in (400, 413)
    assert alone.patch(f"/conversations/{conversation_id}", json={"leaf_id": "x"}).status_code == 404


@pytest.mark.parametrize("parameters", [{"limit": "0"}, {"limit": "x"}, {"limit": "101"}, {"cursor": "%%%"}, {"cursor": "é"}])
def test_bad_paging_is_refused(alone: httpx.Client, parameters: dict[str, str]) -> None:
    assert alone.get("/conversations", params=parameters).status_code == 400


def test_unknown_routes_and_methods_have_the_one_error_shape(alone: httpx.Client) -> None:
    replies = [alone.get("/nowhere"), alone.put("/chat", json={}), alone.get("/conversations/x/nowhere")]

    assert [(reply.status_code, sorted(reply.json())) for reply in replies] == [
        (404, ["Code", "Message", "RequestId"]),
        (405, ["Code", "Message", "RequestId"]),
        (404, ["Code", "Message", "RequestId"]),
    ]


def test_browser_may_ask_from_another_origin(memory_api: Api) -> None:
    allowed = httpx.options(f"{memory_api.url}/chat")

    assert allowed.headers["Access-Control-Allow-Origin"] == "*"
    assert "Idempotency-Key" in allowed.headers["Access-Control-Allow-Headers"]


def test_browser_may_read_why_it_was_refused(memory_api: Api) -> None:
    refused = [httpx.get(f"{memory_api.url}/models"), httpx.get(f"{memory_api.url}/nowhere")]

    assert [reply.headers["Access-Control-Allow-Origin"] for reply in refused] == ["*", "*"]


def test_no_log_line_holds_content_keys_or_tokens(api: Api) -> None:
    """A full run, good and bad, with its log searched for everything that was said."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(logs.log.handlers[0].format(record))

    keep = Keep()
    logging.getLogger().addHandler(keep)
    logs.log.addHandler(keep)
    try:
        _, token = api.key("me")
        with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {token}"}) as client:
            conversation_id = client.post("/chat", json={"message": "xylophone", "system_prompt": "zebra"}).json()[
                "conversation_id"
            ]
            at = f"/conversations/{conversation_id}"
            client.patch(at, json={"title": "quokka"})
            for path in (at, f"{at}/export", "/conversations?q=xylophone", "/models", "/health/deep", "/xylophone"):
                client.get(path)
            api.llm.acts = [fails(ModelUnreachable("Down."))]
            client.post("/chat", json={"message": "xylophone", "conversation_id": conversation_id})
            client.post("/chat", json={"message": ["xylophone"]})
            client.delete(at)
            client.get("/models", headers={"Authorization": "Bearer sesame-sesame-sesame"})
    finally:
        logs.log.removeHandler(keep)
        logging.getLogger().removeHandler(keep)

    text = "\n".join(written)
    assert len(written) >= 11
    for secret in ("xylophone", "zebra", "quokka", "Hello there", token, "sesame"):
        assert secret not in text
