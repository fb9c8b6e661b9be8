"""An answer followed over real HTTP: streamed or held, cut anywhere, over restarts of the server."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest

from pai.client import Client
from pai.client.errors import ClientError, TurnFailed
from pai.client.patience import PATIENCE_S, OnWait, pause_before_next
from pai.client.turns import Begun, Done, Event, Question, Regeneration, Restart, State, Text
from pai.client.wire import ChatReply
from tests.standins.turns import (
    ACCEPTED,
    CONVERSATION,
    TURN,
    Answer,
    Events,
    TurnsStandin,
    done,
    event,
    reply,
    text,
    turns_standin,
)

BEGUN = Begun(CONVERSATION, TURN)
HELD_ON = b"retry: 0\n"


@pytest.fixture
def server() -> Iterator[TurnsStandin]:
    with turns_standin() as standin:
        yield standin


@pytest.fixture
def client(server: TurnsStandin) -> Iterator[Client]:
    with Client(server.url, "pai_any_key") as client:
        yield client


def asked(client: Client, waits: list[str] | None = None) -> list[Event]:
    """Ask, and return all events; `waits` is told the codes of what was waited for."""
    noted = [] if waits is None else waits
    return list(client.stream(Question("Hi"), lambda pause_s, error: noted.append(error.code)))


def going_away(server: TurnsStandin, waits: list[str]) -> OnWait:
    """The server ends at the first pause, and is there again at the next; `waits` is told the codes of what was waited for."""

    def on_wait(pause_s: float, error: ClientError) -> None:
        waits.append(error.code)
        if len(waits) == 1:
            server.end()
        else:
            server.start()

    return on_wait


def answered(message: str) -> Done:
    return Done(cast(ChatReply, reply(message)))


def last_ids(server: TurnsStandin) -> list[str | None]:
    return [request.headers.get("Last-Event-ID") for request in server.requests("GET", "/events")]


def test_words_come_while_they_are_made(server: TurnsStandin, client: Client) -> None:
    gate = threading.Event()
    server.events = [
        Events([event("state", {"state": "waking"}, "0"), text("One ", "1"), gate, text("two."), done("One two.")])
    ]
    events = client.stream(Question("Hi"))
    assert [next(events) for _ in range(3)] == [BEGUN, State("waking"), Text("One ")]
    gate.set()
    assert list(events) == [Text("two."), answered("One two.")]


def test_a_turn_is_asked_for_and_followed_with_the_key(server: TurnsStandin, client: Client) -> None:
    asked(client)
    post, get = server.seen
    assert (post.path, post.headers["Prefer"], post.body) == ("/chat", "respond-async", {"message": "Hi"})
    assert post.headers["Idempotency-Key"]
    assert get.path == f"/conversations/{CONVERSATION}/turns/{TURN}/events"
    assert get.headers["Authorization"] == "Bearer pai_any_key"
    assert get.headers["Accept"] == "text/event-stream"


@pytest.mark.parametrize("status", [200, 201])
def test_an_answer_that_is_there_at_once_is_taken(server: TurnsStandin, client: Client, status: int) -> None:
    server.chats = [Answer(status, reply("Hello."))]
    assert asked(client) == [answered("Hello.")]
    assert not server.requests("GET", "/events")


def test_held_responses_are_asked_for_one_after_the_other_without_a_pause(server: TurnsStandin, client: Client) -> None:
    server.events = [
        Events([text("One ", "r-1"), text("two ", "r-2"), HELD_ON], held=True),
        Events([text("three.", "r-3"), HELD_ON], held=True),
        Events([done("One two three.")], held=True),
    ]
    waits: list[str] = []
    assert asked(client, waits)[1:] == [Text("One "), Text("two "), Text("three."), answered("One two three.")]
    assert last_ids(server) == [None, "r-2", "r-3"]
    assert waits == []


def test_a_held_response_may_have_nothing_but_signs_of_life(server: TurnsStandin, client: Client) -> None:
    server.events = [Events([text("One ", "1"), HELD_ON]), Events([b": still at work\n\n", HELD_ON]), Events([done("One")])]
    assert asked(client)[1:] == [Text("One "), answered("One")]
    assert last_ids(server) == [None, "1", "1"]


@pytest.mark.parametrize(
    "first",
    [
        Events([text("One ", "1"), text("two.", "2")[:-1]], then="cut"),
        Events([text("One ", "1"), text("two.", "2")[:-12]]),
        Events([text("One ", "1"), b"id: 2\n"], then="cut"),
    ],
)
def test_a_cut_anywhere_loses_nothing_and_repeats_nothing(server: TurnsStandin, client: Client, first: Events) -> None:
    server.events = [first, Events([text("two.", "2"), done("One two.")])]
    waits: list[str] = []
    assert asked(client, waits)[1:] == [Text("One "), State("running"), Text("two."), answered("One two.")]
    assert last_ids(server) == [None, "1"]
    assert waits == ["Interrupted"]


@pytest.mark.parametrize(
    ("retry_s", "took_s", "empty", "pause_s"),
    [(0, 0.1, False, 0), (0, 0.25, True, 0.75), (0, 20, True, 0), (2, 0.1, True, 2), (3600, 0, False, PATIENCE_S)],
)
def test_a_server_is_asked_again_when_it_says_and_not_without_end(
    retry_s: float, took_s: float, empty: bool, pause_s: float
) -> None:
    assert pause_before_next(retry_s, took_s, empty=empty) == pause_s


def test_an_id_comes_back_as_it_was_sent(server: TurnsStandin, client: Client) -> None:
    server.events = [Events([text("One", "a: b;c"), HELD_ON]), Events([done("One")])]
    asked(client)
    assert last_ids(server) == [None, "a: b;c"]


def test_a_server_that_starts_anew_is_waited_for(server: TurnsStandin, client: Client) -> None:
    server.events = [Events([text("One ", "1")], then="cut"), Events([text("two.", "2"), done("One two.")])]
    waits: list[str] = []
    events = list(client.stream(Question("Hi"), going_away(server, waits)))
    assert waits == ["Interrupted", "Unreachable"]
    assert events[1:] == [Text("One "), State("running"), Text("two."), answered("One two.")]


def test_a_question_is_asked_again_of_a_server_that_died_with_it(server: TurnsStandin, client: Client) -> None:
    server.chats = [Answer(drop=True), Answer()]
    waits: list[str] = []
    assert list(client.stream(Question("Hi"), going_away(server, waits)))[-1] == answered("Hello.")
    assert waits == ["Interrupted", "Unreachable"]
    first, second = server.requests("POST", "/chat")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_a_server_that_stays_busy_with_the_events_is_given_up(server: TurnsStandin, client: Client) -> None:
    server.events = [Answer(503, {"Code": "Busy", "Message": "Busy."}, {"Retry-After": "31"})]
    with pytest.raises(ClientError, match="Busy"):
        asked(client)


@pytest.mark.parametrize("status", [409, 429, 503])
def test_a_busy_server_is_asked_for_the_events_again_when_it_says(server: TurnsStandin, client: Client, status: int) -> None:
    busy = Answer(status, {"Code": "Busy", "Message": "Busy."}, {"Retry-After": "0"})
    server.events = [Events([text("One ", "1"), HELD_ON]), busy, busy, Events([done("One")])]
    waits: list[str] = []
    assert asked(client, waits)[1:] == [Text("One "), State("running"), answered("One")]
    assert waits == ["Busy", "Busy"]
    assert last_ids(server) == [None, "1", "1", "1"]


def test_a_refusal_to_show_events_is_told(server: TurnsStandin, client: Client) -> None:
    server.events = [Answer(404, {"Code": "ConversationNotFound", "Message": "Gone."})]
    with pytest.raises(ClientError, match="Gone") as caught:
        asked(client)
    assert caught.value.status == 404
    assert len(server.requests("GET", "/events")) == 1


def test_an_answer_that_begins_again_says_so(server: TurnsStandin, client: Client) -> None:
    server.events = [Events([text("One", "1-1"), event("restart", {}, "2-0"), text("Two", "2-1"), done("Two")])]
    assert asked(client)[1:] == [Text("One"), Restart(), Text("Two"), answered("Two")]


def test_a_turn_that_failed_says_why_and_where_the_question_is(server: TurnsStandin, client: Client) -> None:
    failed = event("failed", {"Code": "ModelQuotaSpent", "Message": "Used up."})
    server.events = [Events([text("One"), failed])]
    with pytest.raises(TurnFailed, match="Used up") as caught:
        asked(client)
    error = caught.value
    assert (error.code, error.status, error.details) == (
        "ModelQuotaSpent",
        503,
        {"conversation_id": CONVERSATION, "turn_id": TURN},
    )
    assert len(server.requests("POST", "/chat")) == 1


@pytest.mark.parametrize("code", ["SomethingNew", "Mapping", "annotations", ""])
def test_a_failure_of_a_kind_we_do_not_know_is_told_too(server: TurnsStandin, client: Client, code: str) -> None:
    server.events = [Events([event("failed", {"Code": code, "Message": "New."})])]
    with pytest.raises(TurnFailed, match="New") as caught:
        asked(client)
    assert caught.value.retry_after_s is None


def test_a_turn_that_failed_and_may_be_asked_again_is_the_same_question(server: TurnsStandin, client: Client) -> None:
    server.events = [
        Events([text("One"), event("failed", {"Code": "TurnRunning", "Message": "Busy."})]),
        Events([done("Two")]),
    ]
    waits: list[str] = []
    assert asked(client, waits)[1:] == [Text("One"), Restart(), BEGUN, answered("Two")]
    assert waits == ["TurnRunning"]
    first, second = server.requests("POST", "/chat")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_events_that_we_do_not_know_are_passed_over(server: TurnsStandin, client: Client) -> None:
    server.events = [Events([event("thought", {"text": "Hm."}, "1"), b"data: plain\n\n", done("Hello.")])]
    assert asked(client) == [BEGUN, answered("Hello.")]


@pytest.mark.parametrize("events", [Answer(200, {"ok": True}), Answer(204, {})])
def test_what_is_no_stream_of_events_is_not_taken_for_one(server: TurnsStandin, client: Client, events: Answer) -> None:
    server.events = [events]
    with pytest.raises(ClientError, match="not as PAI does"):
        asked(client)


@pytest.mark.parametrize("body", [{"ok": True}, {"conversation_id": CONVERSATION}])
def test_what_is_no_turn_is_not_followed(server: TurnsStandin, client: Client, body: dict[str, object]) -> None:
    server.chats = [Answer(202, body)]
    with pytest.raises(ClientError, match="not as PAI does"):
        asked(client)


def test_an_answer_that_lacks_its_members_is_no_answer(server: TurnsStandin, client: Client) -> None:
    server.events = [Events([event("done", {"message": "Hello."})])]
    with pytest.raises(ClientError):
        asked(client)


def test_leaving_early_closes_the_connection_and_the_next_question_works(server: TurnsStandin, client: Client) -> None:
    gate = threading.Event()
    server.events = [Events([text("One"), gate, done("One")]), Events([done("Two")])]
    events = client.stream(Question("Hi"))
    assert [next(events), next(events)] == [BEGUN, Text("One")]
    events.close()
    assert asked(client)[-1] == answered("Two")
    gate.set()


def test_a_turn_is_stopped_where_it_was_begun(server: TurnsStandin, client: Client) -> None:
    client.stop_turn(BEGUN)
    (request,) = server.seen
    assert (request.method, request.path) == ("DELETE", f"/conversations/{CONVERSATION}/turns/{TURN}")


def test_another_answer_is_asked_for_in_the_conversation(server: TurnsStandin, client: Client) -> None:
    events = list(client.stream(Regeneration("c/1", model="other")))
    assert events == [BEGUN, answered("Hello.")]
    request = server.seen[0]
    assert (request.path, request.body) == ("/conversations/c%2F1/regenerate", {"model": "other"})
    assert (request.headers["Prefer"], bool(request.headers["Idempotency-Key"])) == ("respond-async", True)


def test_the_usage_of_a_month_is_asked_for(server: TurnsStandin, client: Client) -> None:
    server.usage = {"month": "2026-01"}
    assert client.usage() == client.usage("2026-01") == {"month": "2026-01"}
    assert [request.path for request in server.seen] == ["/usage", "/usage?month=2026-01"]


def test_the_ids_of_a_turn_stay_names_in_its_path(server: TurnsStandin, client: Client) -> None:
    server.chats = [Answer(202, {**ACCEPTED, "turn_id": "../x"})]
    asked(client)
    assert server.seen[1].path == f"/conversations/{CONVERSATION}/turns/%2E%2E%2Fx/events"
