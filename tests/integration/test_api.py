"""The API's three fixed routes and those added to them, on every kind of parts."""

import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from chalicelib.browse import Browser
from chalicelib.errors import ModelThrottled
from chalicelib.http import Fields
from pai.local.gateway import Gateway
from tests.integration.conftest import Api, served
from tests.standins.scripted import fails, says

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_chat_starts_a_conversation_and_goes_on_with_it(me: httpx.Client) -> None:
    first = me.post("/chat", json={"message": "Hello"})
    conversation_id = first.json()["conversation_id"]
    second = me.post("/chat", json={"message": "And?", "conversation_id": conversation_id, "user_id": "anna"})

    assert first.status_code == second.status_code == 200
    assert uuid.UUID(conversation_id).version == 4
    assert second.json() | {"message_id": "", "turn_id": ""} == {
        "conversation_id": conversation_id,
        "message": "Hello there.",
        "usage": {"input_tokens": 10, "output_tokens": 2},
        "model": "scripted",
        "message_id": "",
        "turn_id": "",
        "stop_reason": "end",
        "citations": [],
        "retrieval": {"status": "off", "passages": 0},
    }


def test_history_is_shown_oldest_first(me: httpx.Client) -> None:
    conversation_id = me.post("/chat", json={"message": "one"}).json()["conversation_id"]
    me.post("/chat", json={"message": "two", "conversation_id": conversation_id})

    shown = me.get(f"/conversations/{conversation_id}").json()

    assert [(m["role"], m["content"]) for m in shown["messages"]] == [
        ("user", "one"),
        ("assistant", "Hello there."),
        ("user", "two"),
        ("assistant", "Hello there."),
    ]
    assert all(TIME.fullmatch(m["timestamp"]) for m in shown["messages"])
    assert TIME.fullmatch(shown["created_at"])
    assert shown["updated_at"] >= shown["messages"][-1]["timestamp"] >= shown["created_at"]
    assert shown["next_cursor"] is None


def test_created_conversation_keeps_its_initial_message(me: httpx.Client, api: Api) -> None:
    created = me.post("/conversations", json={"user_id": "anna", "initial_message": "I live in Bonn."})
    conversation_id = created.json()["conversation_id"]
    me.post("/chat", json={"message": "Where do I live?", "conversation_id": conversation_id})

    assert created.status_code == 201
    assert created.json() == {"conversation_id": conversation_id, "message": "Conversation created successfully"}
    assert [said.text for said in api.llm.requests[-1].messages] == ["I live in Bonn.\n\nWhere do I live?"]


def test_conversation_without_a_body_can_be_created(me: httpx.Client) -> None:
    assert me.post("/conversations").status_code == 201
    assert me.post("/conversations", json={}).status_code == 201


def test_list_shows_the_last_active_first_in_pages(me: httpx.Client) -> None:
    ids = [me.post("/chat", json={"message": f"topic {n}"}).json()["conversation_id"] for n in range(5)]
    me.post("/chat", json={"message": "again", "conversation_id": ids[0]})

    first = me.get("/conversations", params={"limit": 3}).json()
    second = me.get("/conversations", params={"limit": 3, "cursor": first["next_cursor"]}).json()

    listed = [item["conversation_id"] for item in first["items"] + second["items"]]
    assert listed == [ids[0], ids[4], ids[3], ids[2], ids[1]]
    assert second["next_cursor"] is None
    assert first["items"][0]["title"] == "topic 0"


def test_user_id_filters_the_list(me: httpx.Client) -> None:
    for label in ("anna", "ben", "anna"):
        me.post("/chat", json={"message": "hi", "user_id": label})

    listed = me.get("/conversations", params={"user_id": "anna"}).json()["items"]

    assert [item["user_id"] for item in listed] == ["anna", "anna"]


def test_search_finds_titles_and_messages_whatever_their_case(me: httpx.Client) -> None:
    in_title = me.post("/chat", json={"message": "Giraffes, please"}).json()["conversation_id"]
    in_text = me.post("/chat", json={"message": "hello"}).json()["conversation_id"]
    me.post("/chat", json={"message": "the GIRAFFE at last", "conversation_id": in_text})
    me.post("/chat", json={"message": "nothing"})

    found = me.get("/conversations", params={"q": "giraffe"}).json()["items"]

    assert {item["conversation_id"] for item in found} == {in_title, in_text}
    assert "GIRAFFE" in found[0]["match"]["excerpt"]


def test_search_shows_the_place_it_found_among_letters_that_have_no_case(me: httpx.Client) -> None:
    conversation_id = me.post("/chat", json={"message": "hello"}).json()["conversation_id"]
    me.post("/chat", json={"message": f"{'ß' * 300} a Giraffe! {'ß' * 300}", "conversation_id": conversation_id})

    found = me.get("/conversations", params={"q": "giraffe"}).json()["items"]

    assert " a Giraffe! " in found[0]["match"]["excerpt"]
    assert len(found[0]["match"]["excerpt"]) == 60 + len("giraffe") + 60


def test_search_that_runs_out_of_time_goes_on_where_it_stopped(memory_api: Api) -> None:
    with memory_api.client("me") as me:
        for n in range(2):
            conversation_id = me.post("/chat", json={"message": f"topic {n}"}).json()["conversation_id"]
            me.post("/chat", json={"message": f"a giraffe {n}", "conversation_id": conversation_id})
    hasty = Browser(memory_api.parts.conversations, search_s=0)

    found, pages, cursor = [], 0, ""
    while cursor is not None:
        page = hasty.list("me", Fields({"q": "giraffe", "cursor": cursor})).body
        found += [item["match"]["excerpt"] for item in page["items"]]
        pages, cursor = pages + 1, page["next_cursor"]

    assert found == ["a giraffe 1", "a giraffe 0"]
    assert pages > 4


def test_rename_shows_in_the_list(me: httpx.Client) -> None:
    conversation_id = me.post("/chat", json={"message": "hi"}).json()["conversation_id"]

    changed = me.patch(f"/conversations/{conversation_id}", json={"title": "My trip 🏔"})

    assert changed.json()["title"] == "My trip 🏔"
    assert me.get("/conversations").json()["items"][0]["title"] == "My trip 🏔"


def test_editing_makes_a_branch_and_the_leaf_switches_back(me: httpx.Client) -> None:
    first = me.post("/chat", json={"message": "one"}).json()
    at = f"/conversations/{first['conversation_id']}"
    two = me.post("/chat", json={"message": "two", "conversation_id": first["conversation_id"]}).json()
    me.post("/chat", json={"message": "2", "conversation_id": first["conversation_id"], "parent_id": first["message_id"]})
    edited = me.get(at).json()

    me.patch(at, json={"leaf_id": two["message_id"]})
    back = me.get(at).json()
    exported = me.get(f"{at}/export").json()

    assert [m["content"] for m in edited["messages"]][2::2] == ["2"]
    assert [m["content"] for m in back["messages"]][2::2] == ["two"]
    assert back["messages"][2]["parent_id"] == first["message_id"]
    assert back["leaf_id"] == exported["leaf_id"] == two["message_id"]


def test_deleted_conversation_is_gone_and_the_receipt_says_what_was_deleted(me: httpx.Client, api: Api) -> None:
    conversation_id = me.post("/chat", json={"message": "hi"}).json()["conversation_id"]

    receipt = me.delete(f"/conversations/{conversation_id}")

    assert receipt.status_code == 200
    assert receipt.json()["messages"] == 2
    assert bool(receipt.json()["backups_until"]) == (api.parts.settings.stage == "dev")
    assert not api.parts.store.query(f"C#me#{conversation_id}").items
    assert me.get("/conversations").json()["items"] == []
    for method in ("GET", "DELETE"):
        gone = me.request(method, f"/conversations/{conversation_id}")
        assert (gone.status_code, gone.json()["Code"]) == (404, "ConversationNotFound")


def test_export_holds_all_branches_as_json_and_is_readable_as_markdown(me: httpx.Client) -> None:
    first = me.post("/chat", json={"message": "one", "system_prompt": "Be brief."}).json()
    conversation_id = first["conversation_id"]
    for message in ("two", "2"):
        body = {"message": message, "conversation_id": conversation_id, "parent_id": first["message_id"]}
        me.post("/chat", json=body)

    data = me.get(f"/conversations/{conversation_id}/export").json()
    text = me.get(f"/conversations/{conversation_id}/export", params={"format": "markdown"})

    assert {m["content"] for m in data["messages"]} == {"one", "two", "2", "Hello there."}
    assert text.headers["Content-Type"].startswith("text/markdown")
    assert "# one" in text.text
    assert "> Be brief." in text.text


def test_failed_answer_keeps_the_question_and_the_retry_does_not_repeat_it(me: httpx.Client, api: Api) -> None:
    api.llm.acts = [fails(ModelThrottled("Rate limit exceeded.")), says("Now.")]

    failed = me.post("/chat", json={"message": "one"})
    conversation_id = failed.json()["conversation_id"]
    kept = me.get(f"/conversations/{conversation_id}").json()["messages"]
    again = me.post("/chat", json={"message": "one", "conversation_id": conversation_id})

    assert (failed.status_code, failed.headers["Retry-After"]) == (503, "10")
    assert kept[0]["error"] == {"Code": "ModelThrottled", "Message": "Rate limit exceeded."}
    assert again.json()["message"] == "Now."
    messages = me.get(f"/conversations/{conversation_id}").json()["messages"]
    assert [(m["content"], "error" in m) for m in messages] == [("one", False), ("Now.", False)]


def test_page_between_a_question_and_its_answer_does_not_call_the_question_unanswered(me: httpx.Client) -> None:
    conversation_id = me.post("/chat", json={"message": "one"}).json()["conversation_id"]
    at = f"/conversations/{conversation_id}"

    answer = me.get(at, params={"limit": 1}).json()
    question = me.get(at, params={"limit": 1, "cursor": answer["next_cursor"]}).json()

    assert [message["content"] for message in question["messages"]] == ["one"]
    assert "state" not in question["messages"][0]
    assert question["leaf_id"] == answer["leaf_id"] == answer["messages"][0]["message_id"]


def test_fifty_turns_at_once_lose_nothing(me: httpx.Client, api: Api) -> None:
    conversation_id = me.post("/chat", json={"message": "start"}).json()["conversation_id"]

    def turn(n: int) -> int:
        return me.post("/chat", json={"message": f"question {n}", "conversation_id": conversation_id}).status_code

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(turn, range(50)))

    messages = me.get(f"/conversations/{conversation_id}").json()["messages"]
    assert statuses == [200] * 50
    assert {m["content"] for m in messages if m["role"] == "user"} == {"start", *(f"question {n}" for n in range(50))}
    assert sum(m["role"] == "assistant" for m in messages) == 51


def test_idempotency_key_asks_once(me: httpx.Client, api: Api) -> None:
    headers = {"Idempotency-Key": "abc"}

    first = me.post("/chat", json={"message": "one"}, headers=headers)
    second = me.post("/chat", content=b'{ "message" : "one" }', headers={**headers, "Content-Type": "application/json"})
    other = me.post("/chat", json={"message": "two"}, headers=headers)

    assert first.json() == second.json()
    assert len(api.llm.requests) == 1
    assert (other.status_code, other.json()["Code"]) == (422, "IdempotencyMismatch")


def test_models_lists_the_default_first(me: httpx.Client) -> None:
    listed = me.get("/models").json()

    assert listed["items"][0] | {"aliases": []} == {
        "id": "scripted",
        "name": "Scripted",
        "context_tokens": 8192,
        "aliases": [],
        "default": True,
    }


def test_health_needs_no_key_and_deep_health_touches_every_part(me: httpx.Client, api: Api) -> None:
    assert httpx.get(f"{api.url}/health").json()["status"] == "ok"
    assert httpx.get(f"{api.url}/health/deep").status_code == 401

    deep = me.get("/health/deep")

    assert deep.status_code == 200, deep.text
    assert deep.json()["status"] == "ok"
    assert set(deep.json()["parts"]) == {"store", "cipher", "keys", "llm"}


def test_deep_health_says_which_part_fails_and_when_to_ask_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(gateway, {"PAI_LLM": "nonsense"}, monkeypatch) as api, api.client("me") as me:
        deep = me.get("/health/deep")

    assert (deep.status_code, deep.headers["Retry-After"]) == (503, "5")
    assert [name for name, part in deep.json()["parts"].items() if not part["ok"]] == ["llm"]
    assert deep.json()["parts"]["llm"]["Code"] == "Misconfigured"


def test_sealed_values_swapped_in_the_store_do_not_open(me: httpx.Client, api: Api) -> None:
    ids = [me.post("/chat", json={"message": f"secret {n}"}).json()["conversation_id"] for n in range(2)]
    store = api.parts.store
    pages = [[dict(item) for item in store.query(f"C#me#{conversation_id}").items] for conversation_id in ids]
    pages[0][0]["content"], pages[1][0]["content"] = pages[1][0]["content"], pages[0][0]["content"]
    for page in pages:
        store.put(page[0])

    shown = [me.get(f"/conversations/{conversation_id}") for conversation_id in ids]

    assert [(reply.status_code, reply.json()["Code"]) for reply in shown] == [(500, "SealBroken")] * 2
    assert "secret" not in shown[0].text
    assert me.delete(f"/conversations/{ids[0]}").status_code == 200


def test_swapped_titles_do_not_open_and_the_list_goes_on(me: httpx.Client, api: Api) -> None:
    ids = [me.post("/chat", json={"message": f"topic {n}"}).json()["conversation_id"] for n in range(3)]
    headers = [dict(api.parts.store.get(f"C#me#{conversation_id}", "~") or {}) for conversation_id in ids]
    api.parts.store.put({**headers[0], "title": headers[1]["title"]})

    titles = [item["title"] for item in me.get("/conversations").json()["items"]]

    assert titles == ["topic 2", "topic 1", "(does not open with its key)"]


@pytest.mark.parametrize(
    "text", ["日本語 ❤️‍🔥", "\u0000\u0001", "a\r\nb", "\u202eright to left", "é" * 5000, "\\u0041 \\", "{}"]
)
def test_any_unicode_comes_back_as_it_was_said(me: httpx.Client, text: str) -> None:
    conversation_id = me.post("/chat", json={"message": text}).json()["conversation_id"]

    assert me.get(f"/conversations/{conversation_id}").json()["messages"][0]["content"] == text


def test_long_conversation_comes_in_pages_of_four_megabytes(me: httpx.Client) -> None:
    large = "x" * 99_000
    conversation_id = me.post("/chat", json={"message": "first"}).json()["conversation_id"]
    for n in range(45):
        me.post("/chat", json={"message": f"{n} {large}", "conversation_id": conversation_id})

    at = f"/conversations/{conversation_id}"
    newest = me.get(at)
    older = me.get(at, params={"cursor": newest.json()["next_cursor"]}).json()

    contents = [m["content"] for m in older["messages"] + newest.json()["messages"] if m["role"] == "user"]
    assert len(newest.content) < 4_200_000
    assert [content.split()[0] for content in contents] == ["first", *map(str, range(45))]
    assert older["next_cursor"] is None


def test_page_full_of_quotes_fits_the_reply_of_a_function(memory_api: Api) -> None:
    with memory_api.client("me") as me:
        conversation_id = me.post("/chat", json={"message": "first"}).json()["conversation_id"]
        for _ in range(25):
            me.post("/chat", json={"message": '"' * 99_000, "conversation_id": conversation_id})

        page = me.get(f"/conversations/{conversation_id}")

    assert len(json.dumps({"body": page.text})) < 6_000_000


def test_long_conversation_is_exported_in_pages_that_join(memory_api: Api) -> None:
    with memory_api.client("me") as me:
        conversation_id = me.post("/chat", json={"message": "first"}).json()["conversation_id"]
        for n in range(45):
            me.post("/chat", json={"message": f"{n} {'x' * 99_000}", "conversation_id": conversation_id})
        at, parameters = f"/conversations/{conversation_id}/export", {"format": "markdown"}

        page = me.get(at, params=parameters)
        rest = me.get(at, params={**parameters, "cursor": page.headers["X-Next-Cursor"]})

    text = page.text + rest.text
    assert text.count("# first") == 1
    assert text.count("## You") == text.count("## PAI") == 46
    assert "X-Next-Cursor" not in rest.headers
