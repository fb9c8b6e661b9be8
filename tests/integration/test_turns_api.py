"""Turns that last, over HTTP, on each kind of parts: asked for in the background, followed, stopped, answered again."""

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from chalicelib.errors import ModelThrottled, PaiError
from chalicelib.llm import Event, Request, Text
from tests.integration.conftest import Api
from tests.standins.scripted import fails, says

ASYNC = {"Prefer": "respond-async"}
Sse = tuple[str, Any]


def begun(client: httpx.Client, message: str = "one", **headers: str) -> httpx.Response:
    reply = client.post("/chat", json={"message": message}, headers={**ASYNC, **headers})
    assert reply.status_code == 202, reply.text
    return reply


def turn_path(ids: dict[str, str]) -> str:
    return f"/conversations/{ids['conversation_id']}/turns/{ids['turn_id']}"


def follow(client: httpx.Client, ids: dict[str, str], last: str = "") -> Iterator[Sse]:
    """Yield the events of a turn as they come."""
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"{turn_path(ids)}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def said(events: Iterable[Sse]) -> str:
    return "".join(data["text"] for name, data in events if name == "text")


class Steps:
    """A model that says its next word when the test lets it."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.steps = threading.Semaphore(0)

    def __call__(self, request: Request) -> Iterable[Event | PaiError]:
        for word in self._words:
            assert self.steps.acquire(timeout=20)
            yield Text(word)
        assert self.steps.acquire(timeout=20)
        yield from says("!")(request)

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.steps.release()


def test_words_appear_while_the_model_still_speaks(api: Api, me: httpx.Client) -> None:
    model = Steps("one ", "two ")
    api.llm.acts = [model]
    ids = begun(me).json()
    events = follow(me, ids)

    assert next(events) == ("state", {"state": "running"})
    model.step()
    assert next(events) == ("text", {"text": "one "})
    model.step()
    assert next(events) == ("text", {"text": "two "})
    model.step()
    rest = list(events)

    assert said(rest) == "!"
    assert rest[-1][0] == "done"
    assert rest[-1][1]["message"] == "one two !"


def test_turn_is_where_the_reply_says(me: httpx.Client) -> None:
    reply = begun(me)
    path = httpx.URL(str(reply.request.url)).join(reply.headers["Location"]).path

    assert reply.headers["Preference-Applied"] == "respond-async"
    assert path == turn_path(reply.json())
    assert list(follow(me, reply.json()))[-1][0] == "done"
    again = me.post(f"/conversations/{reply.json()['conversation_id']}/regenerate", headers=ASYNC)
    assert httpx.URL(str(again.request.url)).join(again.headers["Location"]).path == turn_path(again.json())


def test_answer_of_a_turn_is_in_its_conversation(me: httpx.Client) -> None:
    ids = begun(me).json()
    [*_, (_, done)] = follow(me, ids)

    shown = me.get(f"/conversations/{ids['conversation_id']}").json()

    assert [message["content"] for message in shown["messages"]] == ["one", "Hello there."]
    assert shown["messages"][1]["message_id"] == ids["message_id"] == done["message_id"]
    assert shown["usage"] == {"input_tokens": 10, "output_tokens": 2}


def test_follower_who_lost_the_connection_goes_on_where_he_was(api: Api, me: httpx.Client) -> None:
    model = Steps("one ", "two ", "three ")
    api.llm.acts = [model]
    ids = begun(me).json()
    model.step()
    with me.stream("GET", f"{turn_path(ids)}/events") as response:
        last = next(line for line in response.iter_lines() if line.startswith("id: ") and line.endswith("-1"))
    model.step(3)

    events = list(follow(me, ids, last.removeprefix("id: ")))

    assert events[-1][1]["message"] == "one two three !"
    assert said(events) in ("two three !", "")  # the answer alone, if it was there already


def test_failure_of_the_model_reaches_the_follower(api: Api, me: httpx.Client) -> None:
    api.llm.acts = [fails(ModelThrottled("Later."), after=["Hel"])]
    ids = begun(me).json()

    events = list(follow(me, ids))

    assert events[-1] == ("failed", {"Code": "ModelThrottled", "Message": "Later."})
    assert me.get(turn_path(ids)).json()["error"]["Code"] == "ModelThrottled"


def test_turn_is_stopped_with_what_it_has(api: Api, me: httpx.Client) -> None:
    model = Steps("one ", "two ", "three ")
    api.llm.acts = [model]
    ids = begun(me).json()
    events = follow(me, ids)
    model.step()
    assert next(events)[0] == "state"
    assert next(events) == ("text", {"text": "one "})

    stopped = me.delete(turn_path(ids))
    model.step()
    [*_, (name, done)] = events

    assert (stopped.status_code, stopped.json()["state"]) == (202, "running")
    assert (name, done["message"], done["stop_reason"]) == ("done", "one two ", "stopped")
    assert me.delete(turn_path(ids)).status_code == 200
    assert api.llm.closed == 1


def test_many_follow_many_turns_at_once(api: Api, me: httpx.Client) -> None:
    api.llm.acts = [says(*(f"{number} " for number in range(20)))]

    def one(number: int) -> str:
        ids = begun(me, f"question {number}").json()
        return str(list(follow(me, ids))[-1][1]["message"])

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))

    assert answers == ["".join(f"{number} " for number in range(20))] * 20


def test_same_key_is_the_same_turn(api: Api, me: httpx.Client) -> None:
    model = Steps()
    api.llm.acts = [model]
    first = begun(me, **{"Idempotency-Key": "k"}).json()

    second = begun(me, **{"Idempotency-Key": "k"}).json()
    held = me.post("/chat", json={"message": "one"}, headers={"Idempotency-Key": "k"})
    other = me.post("/chat", json={"message": "two"}, headers={**ASYNC, "Idempotency-Key": "k"})
    model.step()
    list(follow(me, first))
    third = me.post("/chat", json={"message": "one"}, headers={**ASYNC, "Idempotency-Key": "k"})

    assert second == first
    assert (held.status_code, other.status_code) == (409, 422)
    assert int(held.headers["Retry-After"]) > 0
    assert (third.status_code, third.json()["turn_id"]) == (200, first["turn_id"])
    assert len(api.llm.requests) == 1


def test_nobody_else_sees_stops_or_follows_a_turn(api: Api, me: httpx.Client) -> None:
    ids = begun(me).json()
    list(follow(me, ids))

    with api.client("you") as you:
        answers = [you.get(turn_path(ids)), you.delete(turn_path(ids)), you.get(f"{turn_path(ids)}/events")]
        answers.append(you.post(f"/conversations/{ids['conversation_id']}/regenerate"))

    assert [answer.status_code for answer in answers] == [404] * 4


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Last-Event-ID": "x"}, 400), ({"Last-Event-ID": "1-2-3"}, 400)],
)
def test_bad_event_id_is_a_bad_request(me: httpx.Client, headers: dict[str, str], status: int) -> None:
    ids = begun(me).json()

    reply = me.get(f"{turn_path(ids)}/events", headers=headers)

    assert (reply.status_code, reply.json()["field"]) == (status, "Last-Event-ID")


@pytest.mark.parametrize("body", [{"message_id": 7}, {"temperature": 3}, {"message_id": "x" * 65}, {"retrieval": []}])
def test_bad_wish_for_another_answer_is_refused(me: httpx.Client, body: dict[str, Any]) -> None:
    cid = me.post("/chat", json={"message": "one"}).json()["conversation_id"]

    assert me.post(f"/conversations/{cid}/regenerate", json=body).status_code in (400, 413)


def test_question_is_answered_again_with_other_wishes(api: Api, me: httpx.Client) -> None:
    cid = me.post("/chat", json={"message": "one", "max_tokens": 7}).json()["conversation_id"]
    api.llm.acts = [says("Another.")]

    again = me.post(f"/conversations/{cid}/regenerate", json={"temperature": 0.5}).json()
    shown = me.get(f"/conversations/{cid}").json()["messages"]

    assert again["message"] == "Another."
    assert [message["content"] for message in shown] == ["one", "Another."]
    assert (api.llm.requests[-1].max_tokens, api.llm.requests[-1].temperature) == (7, 0.5)


def test_what_was_said_in_a_turn_is_stored_sealed(api: Api, me: httpx.Client) -> None:
    model = Steps("Archimedes")
    api.llm.acts = [model]
    ids = begun(me).json()
    events = follow(me, ids)
    model.step()
    assert [next(events)[0], next(events)[0]] == ["state", "text"]

    page = api.parts.store.query(f"E#me#{ids['conversation_id']}#{ids['turn_id']}")

    model.step()
    assert list(events)[-1][0] == "done"
    assert len(page.items) >= 2
    assert "Archimedes" not in str(page.items)
    assert all("expires_at" in item for item in page.items)
