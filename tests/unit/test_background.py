"""Turns in the background: a worker answers, others follow, and whatever dies in between, nothing is lost."""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Signal
from typing import Any

import pytest

from chalicelib.chat.events import Place, TurnEvent
from chalicelib.chat.questions import START_S, Ask
from chalicelib.chat.runs import SILENCE_S
from chalicelib.errors import (
    BadRequest,
    BudgetSpent,
    ConversationNotFound,
    IdempotencyMismatch,
    InternalError,
    JobsUnavailable,
    MessageNotFound,
    ModelThrottled,
    NothingToAnswer,
    PaiError,
    StoreUnavailable,
    TurnRunning,
)
from chalicelib.http import Request, streaming
from chalicelib.llm import Event, Text
from chalicelib.llm import Request as ModelRequest
from chalicelib.metering.report import report
from chalicelib.records import Conversation, Message, Principal
from chalicelib.settings import Settings
from chalicelib.store import Item, When
from chalicelib.store.memory import MemoryStore
from tests.standins.scripted import fails, says
from tests.unit.conftest import World

ASYNC: Any = {"prefer": "respond-async, wait=10"}


@pytest.fixture
def world() -> World:
    return World(Settings(titles=0))


def request(body: Mapping[str, Any] | None = None, owner: str = "me", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("r1", "POST /chat", owner, "k1", json.dumps(body or {}).encode(), named)


def begun(world: World, message: str = "one", conversation_id: str = "", **headers: str) -> dict[str, str]:
    """Ask for an answer in the background; return the ids of the turn."""
    body = {"message": message, **({"conversation_id": conversation_id} if conversation_id else {})}
    reply = world.turns.ask(request(body, **ASYNC, **headers))
    assert reply.status == 202, reply.body
    ids: dict[str, str] = reply.body
    return ids


def work(world: World) -> bool:
    """Do the job that was started last."""
    world.turns.work(world.jobs.payloads[-1])
    return True


def place_of(turn: dict[str, str]) -> tuple[str, str]:
    return turn["conversation_id"], turn["turn_id"]


def follow(
    world: World, turn: dict[str, str], last: str = "", owner: str = "me", streams: bool = True
) -> list[tuple[str, Any]]:
    """Follow a turn to the end of the response; return the names and data of its events, comments left out."""
    return [(name, data) for name, data, _ in events_of(followed(world, turn, last, owner, streams))]


def followed(world: World, turn: dict[str, str], last: str = "", owner: str = "me", streams: bool = True) -> str:
    asked = request(owner=owner, last_event_id=last)
    if not streams:
        return world.following.events(asked, *place_of(turn)).text
    with streaming():
        return "".join(world.following.events(asked, *place_of(turn)).body)


def events_of(text: str) -> list[tuple[str, Any, str]]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if "event: " in block]
    return [(block["event"], json.loads(block["data"]), block.get("id", "")) for block in blocks]


def said(events: Iterable[tuple[str, Any]]) -> str:
    return "".join(data["text"] for name, data in events if name == "text")


def state(world: World, turn: dict[str, str]) -> Any:
    return world.following.show("me", *place_of(turn)).body


def question(world: World, turn: dict[str, str]) -> tuple[Conversation, Message]:
    conversation, stored, _ = world.conversations.exchange("me", *place_of(turn))
    return conversation, stored


def test_question_is_kept_before_anybody_answers_it(world: World) -> None:
    turn = begun(world)

    assert state(world, turn) == {**turn, "state": "running", "message": ""}
    assert not world.llm.requests


def test_payload_of_a_job_holds_nothing_that_was_said(world: World) -> None:
    begun(world, "my secret")

    assert "secret" not in json.dumps(world.jobs.payloads)


def test_answer_of_a_worker_is_the_answer_of_chat(world: World) -> None:
    turn = begun(world)
    work(world)

    shown = state(world, turn)

    assert shown["state"] == "done"
    assert shown.items() >= {"message": "Hello there.", "model": "scripted", "stop_reason": "end"}.items()
    assert world.turns.ask(request({"message": "two"})).body.keys() < shown.keys()


def test_follower_of_a_turn_gets_its_words_and_then_the_answer(world: World) -> None:
    turn = begun(world)
    world.watch.meanwhile = lambda: world.llm.requests or work(world)

    events = follow(world, turn)

    assert events[0] == ("state", {"state": "running"})
    assert said(events) == "Hello there."
    assert events[-1][0] == "done"
    assert events[-1][1] == {name: value for name, value in state(world, turn).items() if name != "state"}


def test_follower_who_comes_late_gets_the_answer(world: World) -> None:
    turn = begun(world)
    work(world)

    assert [name for name, _ in follow(world, turn)] == ["done"]


def test_follower_goes_on_behind_the_last_event_that_he_had(world: World) -> None:
    turn = begun(world)
    _, run = _half_way(world, turn, "one ", "two ", "three")

    [*_, (_, first, place)] = events_of(followed(world, turn, str(Place(run, 1)), streams=False))

    assert first == {"text": "three"}
    assert place == str(Place(run, 3))


def test_held_request_ends_after_a_batch_and_the_next_one_goes_on(world: World) -> None:
    turn = begun(world)
    world.watch.meanwhile = lambda: world.llm.requests or _half_way(world, turn, "one ")

    text = followed(world, turn, streams=False)

    assert [name for name, _, _ in events_of(text)] == ["state", "text"]
    assert text.endswith("retry: 0\n\n")


def test_held_request_without_news_ends_in_time(world: World) -> None:
    turn = begun(world)

    assert followed(world, turn, streams=False) == "retry: 0\n\n"
    assert world.watch.time < 25


def test_silent_stream_gives_signs_of_life(world: World) -> None:
    turn = begun(world)
    world.watch.meanwhile = lambda: world.watch.time > 25 and not world.llm.requests and work(world)

    assert followed(world, turn).count(": still at work") == 2


@pytest.mark.parametrize("last", ["nonsense", "1-2-3", "-1", "1-", "٣-١", "9" * 40 + "-1"])
def test_event_id_that_was_never_given_is_refused(world: World, last: str) -> None:
    turn = begun(world)

    with pytest.raises(BadRequest, match="Last-Event-ID"):
        followed(world, turn, last)


def test_two_workers_for_one_run_ask_the_model_once(world: World) -> None:
    turn = begun(world)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, world) for _ in range(8)]:
            done.result()

    assert len(world.llm.requests) == 1
    assert state(world, turn)["state"] == "done"


def test_job_that_comes_again_after_the_answer_does_nothing(world: World) -> None:
    begun(world)
    work(world)
    work(world)

    assert len(world.llm.requests) == 1


def test_job_of_a_conversation_that_was_deleted_does_nothing(world: World) -> None:
    turn = begun(world)
    world.conversations.delete("me", turn["conversation_id"])

    work(world)

    assert not world.llm.requests


def test_question_on_a_branch_that_is_no_longer_active_is_answered_all_the_same(world: World) -> None:
    first = begun(world)
    work(world)
    second = begun(world, "two", first["conversation_id"])
    world.conversations.switch(question(world, first)[0], first["turn_id"])
    third = begun(world, "three", first["conversation_id"])

    world.turns.work(world.jobs.payloads[-2])
    world.turns.work(world.jobs.payloads[-1])

    assert [state(world, turn)["state"] for turn in (first, second, third)] == ["done"] * 3
    assert [said.text for said in world.llm.requests[1].messages] == ["one", "Hello there.", "two"]
    assert [said.text for said in world.llm.requests[2].messages] == ["one", "Hello there.", "three"]


# What dies


def test_worker_that_never_comes_ends_the_turn_with_a_reason(world: World) -> None:
    turn = begun(world)
    world.clock.time += START_S + 1

    events = follow(world, turn)

    assert [(name, data["Code"]) for name, data in events] == [("failed", "TurnLost")]
    assert state(world, turn)["error"]["Code"] == "TurnLost"


def test_worker_that_comes_after_it_was_given_up_does_nothing(world: World) -> None:
    turn = begun(world)
    world.clock.time += START_S + 1
    follow(world, turn)

    work(world)

    assert not world.llm.requests


def test_worker_that_dies_in_the_middle_ends_the_turn_with_a_reason_after_what_it_said(world: World) -> None:
    turn = begun(world)
    _half_way(world, turn, "one ", "two ")
    world.clock.time += SILENCE_S + 1

    events = follow(world, turn)

    assert said(events) == "one two "
    assert events[-1] == ("failed", {"Code": "TurnLost", "Message": state(world, turn)["error"]["Message"]})
    assert state(world, turn)["message"] == "one two "


def test_worker_that_lives_is_not_given_up(world: World) -> None:
    turn = begun(world)
    log, run = _half_way(world, turn, "one ")
    world.clock.time += SILENCE_S + 1
    log.give_sign(run)

    assert state(world, turn)["state"] == "running"


def test_turn_that_was_given_up_can_be_answered_again_and_a_follower_begins_anew(world: World) -> None:
    turn = begun(world)
    _, run = _half_way(world, turn, "one ", "two ")
    world.clock.time += SILENCE_S + 1
    follow(world, turn)

    again = world.turns.regenerate(request(**ASYNC), turn["conversation_id"]).body
    world.watch.meanwhile = lambda: len(world.llm.requests) == 1 or work(world)
    events = follow(world, turn, str(Place(run, 2)))

    assert again == {**turn, "state": "running"}
    assert events[0] == ("restart", {})
    assert said(events[1:]) == "Hello there."
    assert events[-1][0] == "done"


def test_follower_is_told_when_the_turn_is_taken_up_by_another_run(world: World) -> None:
    turn = begun(world)
    _half_way(world, turn, "one ")

    def take_up() -> None:
        world.clock.time += SILENCE_S + 1
        world.turns.regenerate(request(**ASYNC), turn["conversation_id"])

    steps: list[Callable[[], object]] = [lambda: work(world), take_up]
    world.watch.meanwhile = lambda: steps and world.watch.time > 3 * (3 - len(steps)) and steps.pop()()

    names = [name for name, _ in follow(world, turn)]

    assert names[-1] == "done"
    assert "restart" in names


def test_late_answer_of_a_worker_that_was_given_up_is_kept(world: World) -> None:
    turn = begun(world)

    def give_up(_: ModelRequest) -> Iterable[Event | PaiError]:
        yield Text("Hel")
        conversation, stored = question(world, turn)
        world.conversations.fail(conversation, stored, StoreUnavailable("Given up by somebody."))
        yield from says("lo")(_)

    world.llm.acts = [give_up]
    work(world)

    assert state(world, turn)["message"] == "Hello"


def test_who_is_the_only_process_left_knows_that_what_ran_before_is_dead(world: World) -> None:
    turn = begun(world)
    _half_way(world, turn, "one ")
    waiting = world.questions.begin("me", Ask("two"))
    world.clock.time += 1

    world.runs.begin_alone()

    assert state(world, turn)["error"]["Code"] == "TurnLost"
    again = world.turns.ask(request({"message": "two", "conversation_id": waiting.conversation.id})).body
    assert again["turn_id"] == waiting.question.id


def test_clock_that_jumps_ahead_does_not_end_a_worker_of_this_process(world: World) -> None:
    turn = begun(world)

    def jump(_: ModelRequest) -> Iterable[Event | PaiError]:
        yield Text("one ")
        world.clock.time += 3600
        assert state(world, turn)["state"] == "running"
        yield from says("two")(_)

    world.llm.acts = [jump]
    work(world)

    assert state(world, turn)["message"] == "one two"


def test_clock_that_is_set_back_does_not_keep_a_dead_worker_alive(world: World) -> None:
    turn = begun(world)
    _half_way(world, turn, "one ")
    world.clock.time -= 3600

    assert state(world, turn)["error"]["Code"] == "TurnLost"


def test_words_are_not_lost_when_the_store_fails_for_a_moment() -> None:
    class Store(MemoryStore):
        failures = 0

        def put(self, item: Item, when: Iterable[When] = ()) -> bool:
            if item.get("kind") == "text" and self.failures < 3:
                self.failures += 1
                raise StoreUnavailable("Down for a moment.")
            return super().put(item, when)

    world = World(Settings(titles=0), make_store=Store)
    turn = begun(world)
    run = question(world, turn)[1].lease_until_ms
    work(world)

    log = world.runs.log(question(world, turn)[0], turn["turn_id"])
    assert "".join(event.data["text"] for event in log.after(Place(run)) if event.kind == "text") == "Hello there."


def test_follower_of_a_store_that_fails_is_told_to_come_again() -> None:
    class Store(MemoryStore):
        down = False

        def query(self, pk: str, **bounds: Any) -> Any:
            if self.down and pk.startswith("E#"):
                raise StoreUnavailable("Down.")
            return super().query(pk, **bounds)

    world = World(Settings(titles=0), make_store=Store)
    turn = begun(world)
    Store.down = True

    assert followed(world, turn) == "retry: 2000\n\n"


def test_follower_of_a_conversation_that_is_deleted_is_told(world: World) -> None:
    turn = begun(world)
    world.watch.meanwhile = lambda: world.watch.time < 0.2 and world.conversations.delete("me", turn["conversation_id"])

    [*_, ended] = follow(world, turn)

    assert (ended[0], ended[1]["Code"]) == ("failed", "ConversationNotFound")
    with pytest.raises(ConversationNotFound):
        follow(world, turn)


def test_character_in_two_halves_reaches_followers_whole(world: World) -> None:
    world.llm.acts = [says("a\ud83d", "\ude00b")]
    turn = begun(world)
    run = question(world, turn)[1].lease_until_ms
    work(world)

    events = world.runs.log(question(world, turn)[0], turn["turn_id"]).after(Place(run))

    assert "".join(event.data["text"] for event in events if event.kind == "text") == "a😀b"
    assert state(world, turn)["message"] == "a😀b"


def test_follower_who_is_cut_off_right_after_a_restart_goes_on_there(world: World) -> None:
    turn = begun(world)
    _, run = _half_way(world, turn, "one ")
    world.clock.time += SILENCE_S + 1
    world.turns.regenerate(request(**ASYNC), turn["conversation_id"])

    [(name, _, place), *_] = events_of(followed(world, turn, str(Place(run, 1)), streams=False))
    work(world)
    events = follow(world, turn, place)

    assert name == "restart"
    assert "restart" not in [name for name, _ in events]
    assert events[-1][0] == "done"


class Flaky(MemoryStore):
    """A store that does what it is told, and then says that it did not, or does not do it at all, as a test wants."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.fails: Callable[[Item], bool] = lambda item: False
        self.loses: Callable[[Item], bool] = lambda item: False

    def put(self, item: Item, when: Iterable[When] = ()) -> bool:
        if self.fails(item):
            raise StoreUnavailable("Not stored.")
        stored = super().put(item, when)
        if self.loses(item):
            raise StoreUnavailable("Stored, and nobody knows.")
        return stored

    def update(self, pk: str, sk: str, **change: Any) -> Item | None:
        if self.fails({"pk": pk, "sk": sk, **(change.get("set") or {})}):
            raise StoreUnavailable("Not stored.")
        return super().update(pk, sk, **change)


def flaky() -> tuple[World, Flaky]:
    world = World(Settings(titles=0), make_store=Flaky)
    assert isinstance(world.store, Flaky)
    return world, world.store


@pytest.mark.parametrize("lost", ["answer", "header"])
def test_answer_that_is_stored_is_the_answer_whatever_fails_behind_it(lost: str) -> None:
    world, store = flaky()
    turn = begun(world)
    if lost == "answer":
        store.loses = lambda item: item.get("role") == "assistant"
    else:
        store.fails = lambda item: item["sk"] == "~" and str(item["pk"]).startswith("C#")

    work(world)
    store.loses = store.fails = lambda item: False

    assert state(world, turn)["state"] == "done"
    assert follow(world, turn)[-1][0] == "done"


def test_event_that_was_stored_though_the_store_said_it_was_not_costs_no_words() -> None:
    world, store = flaky()
    turn = begun(world)
    run = question(world, turn)[1].lease_until_ms
    losses = iter([True, True])
    store.loses = lambda item: item.get("kind") == "text" and next(losses, False)
    world.llm.acts = [says("a ", "b ", "c ", "d ")]

    work(world)

    events = world.runs.log(question(world, turn)[0], turn["turn_id"]).after(Place(run))
    assert said([(event.kind, event.data) for event in events]) == "a b c d "


def test_words_that_no_single_event_can_hold_come_in_several(world: World) -> None:
    world.llm.acts = [says("\x01" * 99_000, "end")]
    turn = begun(world)
    run = question(world, turn)[1].lease_until_ms

    work(world)

    events = world.runs.log(question(world, turn)[0], turn["turn_id"]).after(Place(run))
    assert said([(event.kind, event.data) for event in events]) == "\x01" * 99_000 + "end"


def test_turn_whose_failure_could_not_be_stored_has_ended_all_the_same() -> None:
    world, store = flaky()
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]
    turn = begun(world)
    store.fails = lambda item: item.get("state") == "failed"
    work(world)
    store.fails = lambda item: False

    again = world.turns.ask(request({"message": "one", "conversation_id": turn["conversation_id"]})).body

    assert (again["turn_id"], again["message"]) == (turn["turn_id"], "Now.")


def test_clock_that_ran_ahead_and_was_put_right_does_not_lose_the_next_try(world: World) -> None:
    world.clock.time += 86_400
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]
    turn = begun(world)
    work(world)
    world.clock.time -= 86_400

    world.turns.regenerate(request(**ASYNC), turn["conversation_id"])
    running = state(world, turn)["state"]
    work(world)

    assert running == "running"
    assert state(world, turn)["message"] == "Now."


def test_first_question_of_a_conversation_that_was_opened_before_moves_it_in_the_list(world: World) -> None:
    conversation = world.questions.open_conversation(Conversation("00000000-0000-4000-8000-000000000001", "me"), "")
    world.clock.time += 3600
    begun(world, "one", conversation.id)

    work(world)

    assert world.conversations.header("me", conversation.id).updated_at > conversation.created_at


def test_conversation_is_the_same_however_its_id_is_written(world: World) -> None:
    turn = begun(world)
    _half_way(world, turn, "one ")

    shown = state(world, {**turn, "conversation_id": turn["conversation_id"].upper()})

    assert (shown["state"], shown["message"], shown["conversation_id"]) == ("running", "one ", turn["conversation_id"])


def test_question_that_comes_while_its_conversation_is_deleted_is_deleted_too(world: World) -> None:
    turn = begun(world)
    pk = f"C#me#{turn['conversation_id']}"
    question_item = world.store.get(pk, f"M#{turn['turn_id']}")
    world.conversations.delete("me", turn["conversation_id"])
    assert question_item
    world.store.put(question_item)

    work(world)

    assert not world.store.query(pk).items


def test_defect_of_a_worker_says_nothing_of_what_was_said(world: World) -> None:
    def mistake(_: ModelRequest) -> Iterable[Event | PaiError]:
        raise ValueError("my secret words")

    world.llm.acts = [mistake]
    turn = begun(world)

    with pytest.raises(InternalError) as error:
        work(world)

    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    assert state(world, turn)["error"]["Code"] == "InternalError"


def test_conversation_whose_first_question_could_not_be_stored_is_not_left_behind() -> None:
    world, store = flaky()
    store.fails = lambda item: item.get("role") == "user"
    with pytest.raises(StoreUnavailable):
        begun(world)
    store.fails = lambda item: False

    assert [*world.conversations.latest("me")] == []


# Stopping


def test_turn_that_is_stopped_before_a_worker_came_is_never_asked(world: World) -> None:
    turn = begun(world)

    stopped = world.following.stop("me", *place_of(turn))
    work(world)

    assert stopped.body["error"]["Code"] == state(world, turn)["error"]["Code"] == "TurnStopped"
    assert not world.llm.requests


def test_stopped_turn_keeps_what_was_said(world: World) -> None:
    turn = begun(world)

    def stop_after_one(_: ModelRequest) -> Iterable[Event | PaiError]:
        assert world.following.stop("me", *place_of(turn)).status == 202
        yield Text("one ")
        yield Text("two ")

    world.llm.acts = [stop_after_one]
    work(world)

    assert state(world, turn).items() >= {"state": "done", "message": "one ", "stop_reason": "stopped"}.items()
    assert state(world, turn)["usage"]["output_tokens"] > 0


def test_turn_is_stopped_by_another_process_through_the_store(world: World) -> None:
    turn = begun(world)
    seen = Signal()

    def go_on_until_stopped(_: ModelRequest) -> Iterable[Event | PaiError]:
        conversation, stored = question(world, turn)
        world.runs.log(conversation, turn["turn_id"]).ask_to_stop(stored.lease_until_ms)
        recorder = world.runs.here(conversation, stored)
        while not seen.wait(0.002):
            yield Text("on ")
            if recorder and recorder.stopped:
                seen.set()

    world.llm.acts = [go_on_until_stopped]
    work(world)

    assert state(world, turn)["stop_reason"] == "stopped"


def test_turn_that_is_stopped_before_a_word_can_be_asked_again(world: World) -> None:
    turn = begun(world)

    def stop_at_once(_: ModelRequest) -> Iterable[Event | PaiError]:
        world.following.stop("me", *place_of(turn))
        yield Text("")

    world.llm.acts = [stop_at_once, says("Now.")]
    work(world)
    stopped = state(world, turn)
    world.turns.ask(request({"message": "one", "conversation_id": turn["conversation_id"]}))

    assert stopped["error"]["Code"] == "TurnStopped"
    assert state(world, turn)["message"] == "Now."


def test_stopping_what_has_ended_changes_nothing(world: World) -> None:
    turn = begun(world)
    work(world)

    reply = world.following.stop("me", *place_of(turn))

    assert (reply.status, reply.body["state"], reply.body["message"]) == (200, "done", "Hello there.")


@pytest.mark.parametrize("act", ["show", "stop"])
def test_turn_of_somebody_else_is_not_there(world: World, act: str) -> None:
    turn = begun(world)

    with pytest.raises(ConversationNotFound):
        getattr(world.following, act)("you", *place_of(turn))
    with pytest.raises(ConversationNotFound):
        follow(world, turn, owner="you")


@pytest.mark.parametrize("turn_id", ["nonsense", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "", "~"])
def test_turn_that_never_was_is_not_there(world: World, turn_id: str) -> None:
    turn = begun(world)

    with pytest.raises(MessageNotFound):
        world.following.show("me", turn["conversation_id"], turn_id)


def test_note_is_no_turn(world: World) -> None:
    conversation = world.questions.open_conversation(Conversation("00000000-0000-4000-8000-000000000001", "me"), "A note.")
    [note] = world.conversations.open("me", conversation.id, 5)[1]

    with pytest.raises(MessageNotFound):
        world.following.show("me", conversation.id, note.id)


# Asked again


def test_same_key_is_the_same_turn_while_it_runs_and_its_answer_afterwards(world: World) -> None:
    first = begun(world, idempotency_key="k")

    while_running = world.turns.ask(request({"message": "one"}, **ASYNC, idempotency_key="k"))
    work(world)
    afterwards = world.turns.ask(request({"message": "one"}, **ASYNC, idempotency_key="k"))

    assert (while_running.status, while_running.body) == (202, first)
    assert (afterwards.status, afterwards.body["message"]) == (200, "Hello there.")
    assert len(world.llm.requests) == 1


def test_same_key_without_the_preference_waits_its_turn(world: World) -> None:
    begun(world, idempotency_key="k")

    with pytest.raises(TurnRunning) as running:
        world.turns.ask(request({"message": "one"}, idempotency_key="k"))

    assert running.value.retry_after_s


def test_same_key_for_another_question_is_refused(world: World) -> None:
    begun(world, idempotency_key="k")

    with pytest.raises(IdempotencyMismatch):
        begun(world, "two", idempotency_key="k")


def test_same_key_takes_up_what_a_dead_worker_left(world: World) -> None:
    first = begun(world, idempotency_key="k")
    _half_way(world, first, "one ")
    world.clock.time += SILENCE_S + 1

    again = begun(world, idempotency_key="k")
    work(world)

    assert again == first
    assert state(world, first)["message"] == "Hello there."


def test_answer_to_a_key_is_given_again_though_the_budget_is_spent_by_now() -> None:
    world = World(Settings(titles=0, budget="day-tokens=1200"))
    body = {"message": "one"}
    first = world.turns.ask(request(body, idempotency_key="k")).body
    with pytest.raises(BudgetSpent):
        world.turns.ask(request({"message": "two", "max_tokens": 5000}))
    with pytest.raises(BudgetSpent):
        world.turns.ask(request({"message": "three", "max_tokens": 1190}))

    assert world.turns.ask(request(body, idempotency_key="k")).body == first


def test_claim_of_a_clock_that_ran_ahead_does_not_hold_the_key(world: World) -> None:
    world.clock.time += 3600
    first = begun(world, idempotency_key="k")
    world.conversations.delete("me", first["conversation_id"])
    world.clock.time -= 3600

    assert begun(world, idempotency_key="k")["conversation_id"] != first["conversation_id"]


def test_question_is_kept_when_no_worker_can_be_called(world: World) -> None:
    world.jobs.down = True

    with pytest.raises(JobsUnavailable) as error:
        begun(world)

    details = error.value.details
    assert state(world, {**details})["error"]["Code"] == "JobsUnavailable"
    reply = world.turns.ask(request({"message": "one", "conversation_id": details["conversation_id"]}))
    assert reply.body["turn_id"] == details["turn_id"]


def test_failure_reaches_the_follower_and_the_next_run_starts_clean(world: World) -> None:
    world.llm.acts = [fails(ModelThrottled("Later."), after=["Hel"]), says("Hello.")]
    turn = begun(world)
    work(world)

    events = follow(world, turn)
    world.turns.regenerate(request(), turn["conversation_id"])

    assert said(events) == "Hel"
    assert events[-1] == ("failed", {"Code": "ModelThrottled", "Message": "Later."})
    assert state(world, turn)["message"] == "Hello."


# Regenerating


def texts(world: World, conversation_id: str) -> list[str]:
    return [message.content for message in world.conversations.open("me", conversation_id, 100)[1]]


def test_regenerating_answers_the_last_question_again_on_a_branch_of_its_own(world: World) -> None:
    world.llm.acts = [says("A1"), says("A2"), says("A2 again")]
    cid = world.turns.ask(request({"message": "Q1"})).body["conversation_id"]
    before = world.turns.ask(request({"message": "Q2", "conversation_id": cid, "max_tokens": 7})).body

    again = world.turns.regenerate(request({"temperature": 0.5}), cid).body

    assert again["message"] == "A2 again"
    assert texts(world, cid) == ["Q1", "A1", "Q2", "A2 again"]
    assert [said.text for said in world.llm.requests[-1].messages] == ["Q1", "A1", "Q2"]
    assert (world.llm.requests[-1].max_tokens, world.llm.requests[-1].temperature) == (7, 0.5)
    world.conversations.switch(world.conversations.header("me", cid), before["message_id"])
    assert texts(world, cid) == ["Q1", "A1", "Q2", "A2"]


def test_regenerating_the_first_answer_leaves_its_past_empty(world: World) -> None:
    world.llm.acts = [says("A1"), says("A1 again"), says("A2")]
    cid = world.turns.ask(request({"message": "Q1"})).body["conversation_id"]

    world.turns.regenerate(request(), cid)
    world.turns.ask(request({"message": "Q2", "conversation_id": cid}))

    assert texts(world, cid) == ["Q1", "A1 again", "Q2", "A2"]
    assert [said.text for said in world.llm.requests[1].messages] == ["Q1"]
    assert [said.text for said in world.llm.requests[2].messages] == ["Q1", "A1 again", "Q2"]


@pytest.mark.parametrize("name", ["turn_id", "message_id"])
def test_regenerating_an_earlier_answer_is_asked_for_by_question_or_answer(world: World, name: str) -> None:
    world.llm.acts = [says("A1"), says("A2"), says("A1 again")]
    first = world.turns.ask(request({"message": "Q1"})).body
    world.turns.ask(request({"message": "Q2", "conversation_id": first["conversation_id"]}))

    world.turns.regenerate(request({"message_id": first[name]}), first["conversation_id"])

    assert texts(world, first["conversation_id"]) == ["Q1", "A1 again"]


def test_regenerating_while_the_question_is_being_answered_waits(world: World) -> None:
    turn = begun(world)

    with pytest.raises(TurnRunning):
        world.turns.regenerate(request(), turn["conversation_id"])


def test_regenerating_twice_with_one_key_is_one_answer(world: World) -> None:
    cid = world.turns.ask(request({"message": "Q1"})).body["conversation_id"]

    first, second = [world.turns.regenerate(request(idempotency_key="k"), cid).body for _ in range(2)]

    assert first == second
    assert len(world.llm.requests) == 2


def test_one_key_for_two_conversations_is_refused(world: World) -> None:
    first, second = (world.turns.ask(request({"message": "Q"})).body["conversation_id"] for _ in range(2))
    world.turns.regenerate(request(idempotency_key="k"), first)

    with pytest.raises(IdempotencyMismatch):
        world.turns.regenerate(request(idempotency_key="k"), second)


def test_answer_stays_in_view_when_the_question_could_not_be_asked_again() -> None:
    world, store = flaky()
    cid = world.turns.ask(request({"message": "Q1"})).body["conversation_id"]
    store.fails = lambda item: item.get("role") == "user"
    with pytest.raises(StoreUnavailable):
        world.turns.regenerate(request(), cid)
    store.fails = lambda item: False

    assert texts(world, cid) == ["Q1", "Hello there."]


def test_conversation_without_a_question_has_nothing_to_answer_again(world: World) -> None:
    conversation = world.questions.open_conversation(Conversation("00000000-0000-4000-8000-000000000001", "me"), "A note.")

    with pytest.raises(NothingToAnswer):
        world.turns.regenerate(request(), conversation.id)


def test_old_branches_of_a_long_conversation_are_not_read_for_a_new_beginning() -> None:
    class Store(MemoryStore):
        queries = 0

        def query(self, pk: str, **bounds: Any) -> Any:
            Store.queries += pk.startswith("C#")
            return super().query(pk, **bounds)

    world = World(Settings(titles=0), make_store=Store)
    first = world.turns.ask(request({"message": "Q1"})).body
    cid = first["conversation_id"]
    for number in range(150):
        world.turns.ask(request({"message": f"Q{number}", "conversation_id": cid}))
    world.clock.time += 1
    world.turns.regenerate(request({"message_id": first["turn_id"]}), cid)
    world.clock.time += 1
    Store.queries = 0

    world.turns.ask(request({"message": "next", "conversation_id": cid}))

    assert Store.queries <= 1


# Titles, counts


def named(world: World, *, act: Callable[[], object] = lambda: None) -> str:
    """Have a first question answered in the background and named; return the title."""
    turn = begun(world, "What is the capital of France?")
    world.llm.acts = [says("Paris."), world.llm.acts[-1]]
    act()
    work(world)
    return world.conversations.header("me", turn["conversation_id"]).title


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("The capital of France", "The capital of France"),
        ('Title: "France’s capital."', "France’s capital"),
        ("**Capital of France**", "Capital of France"),
        ("Sure! Here is\na title", "What is the capital of France?"),
        ("x" * 61, "What is the capital of France?"),
        ("one two three four five six seven eight nine ten", "What is the capital of France?"),
        ("  ", "What is the capital of France?"),
    ],
)
def test_model_names_a_conversation_after_its_first_answer(said: str, title: str) -> None:
    world = World()
    world.llm.acts = [says(said)]

    assert named(world) == title


def test_title_is_no_turn_and_counts_its_tokens() -> None:
    world = World(Settings(budget="key-minute-requests=1"))
    world.llm.acts = [says("The capital of France")]

    assert named(world) == "The capital of France"
    total = report(world.meter, Principal("me", "k1"))["total"]
    assert (total["turns"], total["tokens"]["output_tokens"]) == (1, 2)


def test_title_that_was_cut_is_not_taken() -> None:
    world = World()
    world.llm.acts = [says("The capital", stop_reason="max_tokens")]

    assert named(world) == "What is the capital of France?"


def test_title_that_a_person_gave_meanwhile_stays() -> None:
    world = World()

    def rename_meanwhile(_: ModelRequest) -> Iterable[Event | PaiError]:
        [listed] = [conversation for _, conversation in world.conversations.latest("me")]
        world.conversations.rename(listed, "Mine")
        return says("The capital of France")(_)

    world.llm.acts = [rename_meanwhile]

    assert named(world) == "Mine"


def test_model_that_fails_at_naming_leaves_title_and_answer_as_they_are() -> None:
    world = World()
    world.llm.acts = [fails(ModelThrottled("Later."))]

    assert named(world) == "What is the capital of France?"


def test_turn_of_a_request_is_named_by_a_job_of_its_own() -> None:
    world = World()
    world.llm.acts = [says("Paris."), says("The capital of France")]
    cid = world.turns.ask(request({"message": "What is the capital of France?"})).body["conversation_id"]
    work(world)

    world.turns.ask(request({"message": "And of Spain?", "conversation_id": cid}))

    assert world.conversations.header("me", cid).title == "The capital of France"
    assert len(world.jobs.payloads) == 1


def test_answer_goes_out_even_if_its_conversation_can_not_be_named() -> None:
    world = World()
    world.jobs.down = True

    assert world.turns.ask(request({"message": "one"})).body["message"] == "Hello there."


def test_conversation_counts_the_tokens_of_its_answers(world: World) -> None:
    cid = world.turns.ask(request({"message": "one"})).body["conversation_id"]
    world.turns.ask(request({"message": "two", "conversation_id": cid}))

    usage = world.conversations.header("me", cid).usage

    assert (usage.input_tokens, usage.output_tokens) == (20, 4)


def _half_way(world: World, turn: dict[str, str], *words: str) -> tuple[Any, int]:
    """Do what a worker does until it dies after these words; return its log and its run."""
    conversation, stored = question(world, turn)
    log, place = world.runs.log(conversation, turn["turn_id"]), Place(stored.lease_until_ms, 0)
    log.append(TurnEvent(place, "state", {"state": "running"}))
    for word in words:
        place = place.next
        log.append(TurnEvent(place, "text", {"text": word}))
    return log, stored.lease_until_ms
