"""The turn engine: questions are kept, answers are written once, branches keep apart."""

import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.chat.prompt import within_budget
from chalicelib.chat.questions import LEASE_SLACK_S, Ask, Questions
from chalicelib.chat.turn import Collect, TurnEngine
from chalicelib.conversations import Conversations, new_message_id
from chalicelib.errors import (
    ConversationNotFound,
    IdempotencyMismatch,
    MessageNotFound,
    ModelInterrupted,
    ModelThrottled,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
    StoreUnavailable,
    TooLarge,
    TurnRunning,
)
from chalicelib.llm import Event, Request, Text, ToolCall
from chalicelib.records import Conversation, Message, ModelInfo, TurnOptions
from chalicelib.settings import Settings
from chalicelib.store import Item, Page
from chalicelib.store.memory import MemoryStore
from tests.standins.scripted import ScriptedLLM, fails, says
from tests.unit.conftest import World

SOME_ID = "00000000-0000-4000-8000-000000000001"


def ask(
    world: World, message: str, conversation_id: str = "", *, parent_id: str = "", system_prompt: str = ""
) -> tuple[str, Message]:
    """Ask as the owner `me`; return the conversation's id and the answer."""
    asked = Ask(message, conversation_id, parent_id=parent_id, system_prompt=system_prompt)
    answered = world.ask("me", asked, Collect())
    return answered.conversation_id, answered.answer


def shown(world: World, conversation_id: str) -> list[str]:
    """What the active path says, oldest first."""
    return [message.content for message in world.conversations.open("me", conversation_id, 1000)[1]]


def seen_by_model(world: World) -> list[tuple[str, str]]:
    """The messages of the last request."""
    return [(said.role, said.text) for said in world.llm.requests[-1].messages]


def test_first_question_starts_a_conversation_with_a_title(world: World) -> None:
    conversation_id, answer = ask(world, "What is the  capital\nof France?")

    header = world.conversations.header("me", conversation_id)

    assert header.title == "What is the capital of France?"
    assert header.turns == 1
    assert shown(world, conversation_id) == ["What is the  capital\nof France?", "Hello there."]
    assert (answer.model, answer.stop_reason, answer.usage.input_tokens) == ("scripted", "end", 10)


def test_next_question_shows_the_model_what_was_said(world: World) -> None:
    conversation_id, _ = ask(world, "one")

    ask(world, "two", conversation_id)

    assert seen_by_model(world) == [("user", "one"), ("assistant", "Hello there."), ("user", "two")]


def test_model_sees_of_a_long_conversation_what_it_would_see_if_all_of_it_were_read() -> None:
    world = World(Settings(history_tokens=400))
    conversation_id, _ = ask(world, "x" * 300)
    for _ in range(9):
        ask(world, "x" * 300, conversation_id)
    fitting = within_budget(world.conversations.open("me", conversation_id, 1000)[1], 400)

    ask(world, "last", conversation_id)

    assert 0 < len(fitting) < 20
    assert seen_by_model(world) == [*((message.role, message.content) for message in fitting), ("user", "last")]


def test_long_question_takes_nothing_from_the_history_of_its_retry() -> None:
    world = World(Settings(history_tokens=400))
    conversation_id, _ = ask(world, "x" * 300)
    ask(world, "x" * 300, conversation_id)
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]
    with pytest.raises(ModelThrottled):
        ask(world, "y" * 900, conversation_id)
    first_try = seen_by_model(world)

    ask(world, "y" * 900, conversation_id)

    assert len(first_try) == 5
    assert seen_by_model(world) == first_try


def test_system_prompt_holds_until_a_later_one_replaces_it(world: World) -> None:
    conversation_id, _ = ask(world, "one", system_prompt="Speak French.")
    ask(world, "two", conversation_id)
    held = world.llm.requests[-1].system
    ask(world, "three", conversation_id, system_prompt="Speak German.")
    ask(world, "four", conversation_id)

    assert held == "Speak French."
    assert [request.system for request in world.llm.requests[2:]] == ["Speak German.", "Speak German."]


def test_unknown_conversation_is_not_found_and_nothing_is_asked(world: World) -> None:
    for conversation_id in ("no-uuid", "00000000-0000-4000-8000-000000000000", "C#me#x", "~"):
        with pytest.raises(ConversationNotFound):
            ask(world, "hello", conversation_id)
    assert not world.llm.requests


def test_another_owners_conversation_is_not_found(world: World) -> None:
    conversation_id, _ = ask(world, "mine")

    with pytest.raises(ConversationNotFound):
        world.ask("you", Ask("yours?", conversation_id), Collect())


def test_system_prompt_and_title_of_a_question_that_failed_are_kept_for_its_retry(world: World) -> None:
    conversation_id = world.questions.open_conversation(Conversation(SOME_ID, "me"), "").id
    asked = Ask("one", conversation_id, system_prompt="Speak German.")
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Jetzt.")]
    for attempt in (pytest.raises(ModelThrottled), nullcontext()):
        with attempt:
            world.ask("me", asked, Collect(), world.claims.wish("me", "k1", "one"))

    ask(world, "two", conversation_id)

    assert [request.system for request in world.llm.requests] == ["Speak German."] * 3
    assert world.conversations.header("me", conversation_id).title == "one"


def test_answered_request_that_is_sent_again_does_not_bring_its_system_prompt_back(world: World) -> None:
    conversation_id, _ = ask(world, "one")
    asked, wish = Ask("two", conversation_id, system_prompt="Speak German."), world.claims.wish("me", "k1", "two")
    world.ask("me", asked, Collect(), wish)
    ask(world, "three", conversation_id, system_prompt="Speak French.")

    world.ask("me", asked, Collect(), wish)

    assert world.conversations.header("me", conversation_id).system_prompt == "Speak French."


def test_failed_question_is_kept_with_its_reason_and_its_retry_does_not_repeat_it(world: World) -> None:
    conversation_id, _ = ask(world, "one")
    world.llm.acts = [fails(ModelThrottled("Rate limit exceeded.")), says("Now.")]

    with pytest.raises(ModelThrottled) as error:
        ask(world, "two", conversation_id)
    failed = world.conversations.open("me", conversation_id, 10)[1][-1]
    ask(world, "two", conversation_id)

    assert (failed.content, failed.state, failed.failure) == ("two", "failed", "Rate limit exceeded.")
    assert error.value.details == {"conversation_id": conversation_id, "turn_id": failed.id}
    assert shown(world, conversation_id) == ["one", "Hello there.", "two", "Now."]


def test_first_question_that_fails_names_its_conversation_so_that_it_can_be_asked_again_there(world: World) -> None:
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]

    with pytest.raises(ModelThrottled) as error:
        ask(world, "one")
    conversation_id = error.value.details["conversation_id"]
    ask(world, "one", conversation_id)

    assert shown(world, conversation_id) == ["one", "Now."]


def test_different_question_after_a_failed_one_is_answered_together_with_it(world: World) -> None:
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Both.")]
    with pytest.raises(ModelThrottled) as error:
        ask(world, "one")

    ask(world, "two", error.value.details["conversation_id"])

    assert seen_by_model(world) == [("user", "one\n\ntwo")]


def test_answer_that_breaks_off_is_an_error_and_the_question_is_kept(world: World) -> None:
    world.llm.acts = [fails(ModelInterrupted("Cut."), after=["half of"])]

    with pytest.raises(ModelInterrupted) as error:
        ask(world, "one")

    assert shown(world, error.value.details["conversation_id"]) == ["one"]


def test_stream_that_ends_without_a_finish_is_an_interrupted_answer(world: World) -> None:
    world.llm.acts = [lambda request: []]

    with pytest.raises(ModelInterrupted):
        ask(world, "one")


def test_defect_in_a_backend_still_ends_the_turn(world: World) -> None:
    def broken(request: object) -> list[object]:
        raise KeyError("oops")

    world.llm.acts = [broken]  # type: ignore[list-item]
    with pytest.raises(KeyError):
        ask(world, "one")
    _, header = next(world.conversations.latest("me"))

    question = world.conversations.open("me", header.id, 10)[1][-1]

    assert (question.state, question.failure_code) == ("failed", "InternalError")


def test_deadline_stores_what_there_is_and_says_so() -> None:
    world = World(Settings(deadline_s=0))
    world.llm.acts = [says("first", "second", "third")]

    conversation_id, answer = ask(world, "one")

    assert (answer.content, answer.stop_reason) == ("first", "deadline")
    assert answer.usage.input_tokens > 0
    assert world.llm.closed == 1
    assert shown(world, conversation_id) == ["one", "first"]


def test_model_that_says_nothing_until_the_deadline_is_a_timeout() -> None:
    world = World(Settings(deadline_s=0))
    world.llm.acts = [lambda request: [ToolCall("1", "look", "{}")]]

    with pytest.raises(ModelTimeout):
        ask(world, "one")


def test_answer_that_breaks_off_after_the_deadline_is_kept_as_far_as_it_came() -> None:
    world = World(Settings(deadline_s=0.05))

    def stalls(request: Request) -> Iterator[Event | PaiError]:
        yield Text("as far as this")
        time.sleep(0.06)
        yield ModelInterrupted("The model took too long.")

    world.llm.acts = [stalls]

    conversation_id, answer = ask(world, "one")

    assert (answer.content, answer.stop_reason) == ("as far as this", "deadline")
    assert shown(world, conversation_id) == ["one", "as far as this"]


def test_answer_is_not_lost_at_the_deadline_when_the_models_cannot_be_listed() -> None:
    class Unlisted(ScriptedLLM):
        def models(self) -> list[ModelInfo]:
            raise ModelUnreachable("Down.")

    world = World(Settings(deadline_s=0, model="mine"), llm=Unlisted())

    _, answer = ask(world, "one")

    assert (answer.content, answer.stop_reason, answer.model) == ("Hello", "deadline", "mine")


def test_character_that_the_model_says_in_two_halves_is_whole_and_half_a_one_is_replaced(world: World) -> None:
    world.llm.acts = [says("\ud83d", "\ude00 and ", "\ud83d")]

    assert ask(world, "one")[1].content == "😀 and \ufffd"


def test_answer_that_the_store_refuses_ends_the_turn(world: World) -> None:
    world.llm.acts = [says("x" * 500_000)]

    with pytest.raises(TooLarge) as error:
        ask(world, "one")
    question = world.conversations.open("me", error.value.details["conversation_id"], 10)[1][-1]

    assert (question.content, question.state, question.failure_code) == ("one", "failed", "TooLarge")


def test_reason_of_a_failure_is_told_even_if_the_store_is_down_too(world: World) -> None:
    class Store(MemoryStore):
        down = False

        def update(self, *key: Any, **change: Any) -> Item | None:
            if self.down:
                raise StoreUnavailable("Down.")
            return super().update(*key, **change)

    store = Store(world.clock)
    conversations = Conversations(store, world.vault, world.settings, world.clock)
    questions = Questions(conversations, world.claims, world.runs, world.settings, world.clock)
    turn = questions.begin("me", Ask("one"))
    store.down, world.llm.acts = True, [fails(ModelThrottled("Later."))]

    with pytest.raises(ModelThrottled) as error:
        TurnEngine(conversations, world.meter, world.settings, world.clock).run_turn(turn, Collect())

    assert error.value.details == {"conversation_id": turn.conversation.id, "turn_id": turn.question.id}


def test_fifty_questions_at_once_in_one_conversation_lose_nothing(world: World) -> None:
    conversation_id, _ = ask(world, "first")
    world.llm.acts = [lambda request: says(f"re {request.messages[-1].text.split()[-1]}")(request)]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: ask(world, f"question {n}", conversation_id)[1].content, range(50)))

    messages = world.conversations.open("me", conversation_id, 1000)[1]
    by_id = {message.id: message for message in messages}
    assert answers == [f"re {n}" for n in range(50)]
    assert {m.content for m in messages if m.role == "user"} == {"first", *(f"question {n}" for n in range(50))}
    for question in (m for m in messages if m.content.startswith("question")):
        assert by_id[question.answer_id].content == f"re {question.content.split()[-1]}"
    assert world.conversations.header("me", conversation_id).turns == 51


def test_question_with_its_answer_stay_together_in_the_order_they_were_asked(world: World) -> None:
    conversation_id, _ = ask(world, "one")
    turn = world.questions.begin("me", Ask("slow", conversation_id))
    ask(world, "quick", conversation_id)

    world.engine.run_turn(turn, Collect())

    assert shown(world, conversation_id)[2:] == ["slow", "Hello there.", "quick", "Hello there."]


def test_conversation_deleted_while_it_is_answered_stays_deleted(world: World) -> None:
    conversation_id, _ = ask(world, "one")
    turn = world.questions.begin("me", Ask("two", conversation_id))
    world.conversations.delete("me", conversation_id)

    with pytest.raises(ConversationNotFound):
        world.engine.run_turn(turn, Collect())

    assert not world.store.query(f"C#me#{conversation_id}").items
    assert not list(world.conversations.latest("me"))


def test_conversation_deleted_while_its_answer_fails_stays_deleted(world: World) -> None:
    conversation_id, _ = ask(world, "one")
    world.llm.acts = [fails(ModelThrottled("Later."))]
    turn = world.questions.begin("me", Ask("two", conversation_id))
    world.conversations.delete("me", conversation_id)
    world.conversations.add(turn.conversation, turn.question)  # stored just after the sweep

    with pytest.raises(ModelThrottled):
        world.engine.run_turn(turn, Collect())

    assert not world.store.query(f"C#me#{conversation_id}").items


def test_deletion_goes_on_behind_a_page_in_which_everything_has_expired(world: World) -> None:
    class Store(MemoryStore):
        def query(self, pk: str, **how: Any) -> Page:
            """Begin with an empty page, as DynamoDB does there."""
            beginning = b64encode(b'["!"]').decode()
            return super().query(pk, **how) if how.get("cursor") else Page((), beginning)

    store = Store(world.clock)
    conversations = Conversations(store, world.vault, world.settings, world.clock)
    header = conversations.create(Conversation(SOME_ID, "me"))
    conversations.add(header, Message("01ARZ3NDEKTSV4RRFFQ69G5FAV", "user", "one", ""))

    receipt = conversations.delete("me", header.id)

    assert receipt.messages == 1
    assert store.get(f"C#me#{header.id}", "M#01ARZ3NDEKTSV4RRFFQ69G5FAV") is None


def test_two_runners_of_one_turn_answer_once(world: World) -> None:
    turn = world.questions.begin("me", Ask("one"))
    world.llm.acts = [says("first"), says("second")]

    first, second = world.engine.run_turn(turn, Collect()), world.engine.run_turn(turn, Collect())

    assert (first.content, second.content) == ("first", "first")
    assert shown(world, turn.conversation.id) == ["one", "first"]


def test_turn_whose_runner_died_is_running_until_its_lease_ends_and_then_taken_up(world: World) -> None:
    turn = world.questions.begin("me", Ask("one"))
    with pytest.raises(TurnRunning):
        world.questions.take_up("me", turn.conversation.id, turn.question.id)

    world.clock.time += world.settings.deadline_s + LEASE_SLACK_S + 1
    ask(world, "one", turn.conversation.id)

    assert shown(world, turn.conversation.id) == ["one", "Hello there."]


def test_editing_a_question_makes_a_branch_and_leaves_the_old_one_readable(world: World) -> None:
    conversation_id, first = ask(world, "one")
    _, second = ask(world, "two", conversation_id)

    _, edited = ask(world, "two, edited", conversation_id, parent_id=first.id)
    ask(world, "three", conversation_id)
    on_new_branch = shown(world, conversation_id)
    header = world.conversations.header("me", conversation_id)
    world.conversations.switch(header, second.id)

    assert on_new_branch == ["one", "Hello there.", "two, edited", "Hello there.", "three", "Hello there."]
    assert shown(world, conversation_id) == ["one", "Hello there.", "two", "Hello there."]
    assert edited.branch == edited.parent_id


def test_going_on_after_switching_back_starts_a_branch_from_there(world: World) -> None:
    conversation_id, first = ask(world, "one")
    ask(world, "two", conversation_id)
    world.conversations.switch(world.conversations.header("me", conversation_id), first.id)

    ask(world, "other two", conversation_id)
    ask(world, "other three", conversation_id)

    questions = [text for text in shown(world, conversation_id) if text != "Hello there."]
    assert questions == ["one", "other two", "other three"]
    assert [text for _, text in seen_by_model(world)][::2] == ["one", "other two", "other three"]


def test_question_that_is_made_the_leaf_brings_its_answer(world: World) -> None:
    conversation_id, first = ask(world, "one")
    ask(world, "two", conversation_id)

    world.conversations.switch(world.conversations.header("me", conversation_id), first.parent_id)

    assert shown(world, conversation_id) == ["one", "Hello there."]


def test_branch_far_back_in_a_long_conversation_reads_its_own_past_only(world: World) -> None:
    conversation_id, first = ask(world, "one")
    for n in range(60):
        ask(world, f"long {n}", conversation_id)

    ask(world, "fork", conversation_id, parent_id=first.id)
    ask(world, "fork again", conversation_id)

    assert [text for role, text in seen_by_model(world) if role == "user"] == ["one", "fork", "fork again"]


def test_branch_whose_first_question_was_never_stored_can_be_left_and_found_again(world: World) -> None:
    conversation_id, first = ask(world, "one")
    header = world.conversations.header("me", conversation_id)
    branched = world.conversations.branched(header, first.id, new_message_id(world.clock(), after=first.id))
    world.conversations.take_path(branched)  # and died
    _, second = ask(world, "two", conversation_id)
    ask(world, "three", conversation_id)

    world.conversations.switch(world.conversations.header("me", conversation_id), second.id)

    assert shown(world, conversation_id) == ["one", "Hello there.", "two", "Hello there."]


def test_retry_of_a_question_on_another_branch_sees_the_past_of_its_own(world: World) -> None:
    conversation_id, first = ask(world, "one")
    _, second = ask(world, "two", conversation_id)
    asked, wish = Ask("fork", conversation_id, parent_id=first.id), world.claims.wish("me", "k1", "fork")
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]
    with pytest.raises(ModelThrottled):
        world.ask("me", asked, Collect(), wish)
    world.conversations.switch(world.conversations.header("me", conversation_id), second.id)

    world.ask("me", asked, Collect(), wish)

    assert seen_by_model(world) == [("user", "one"), ("assistant", "Hello there."), ("user", "fork")]


def test_failed_question_on_a_branch_is_not_repeated_by_its_retry(world: World) -> None:
    conversation_id, first = ask(world, "one")
    ask(world, "two", conversation_id)
    world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]

    with pytest.raises(ModelThrottled):
        ask(world, "fork", conversation_id, parent_id=first.id)
    ask(world, "fork", conversation_id, parent_id=first.id)

    assert shown(world, conversation_id) == ["one", "Hello there.", "fork", "Now."]


def test_branch_from_a_message_that_is_not_there_is_not_found(world: World) -> None:
    conversation_id, _ = ask(world, "one")

    for parent_id in ("nonsense", "z" * 26, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "7" + "Z" * 25):
        with pytest.raises(MessageNotFound):
            ask(world, "two", conversation_id, parent_id=parent_id, system_prompt="Speak German.")
    assert world.conversations.header("me", conversation_id).system_prompt == ""


def test_clock_that_is_set_back_does_not_disorder_a_conversation(world: World) -> None:
    conversation_id, _ = ask(world, "one")
    world.clock.time -= 86_400

    ask(world, "two", conversation_id)
    ask(world, "three", conversation_id)

    assert [text for text in shown(world, conversation_id) if text != "Hello there."] == ["one", "two", "three"]


def test_initial_message_is_answered_together_with_the_first_question(world: World) -> None:
    header = world.questions.open_conversation(Conversation(SOME_ID, "me"), "I live in Bonn.")

    ask(world, "Where do I live?", header.id)

    assert seen_by_model(world) == [("user", "I live in Bonn.\n\nWhere do I live?")]
    assert world.conversations.header("me", header.id).title == "Where do I live?"


def test_options_of_a_turn_reach_the_model_and_zero_is_a_temperature(world: World) -> None:
    world.ask("me", Ask("one", options=TurnOptions("scripted", 7, 0.0)), Collect())

    request = world.llm.requests[-1]

    assert (request.model, request.max_tokens, request.temperature) == ("scripted", 7, 0.0)


def test_options_are_stored_with_the_question(world: World) -> None:
    turn = world.questions.begin("me", Ask("one", options=TurnOptions(None, 7, 0.0)))

    stored = world.conversations.message(turn.conversation, turn.question.id)

    assert stored == turn.question


class TestIdempotencyKey:
    """The same key and body is the same turn."""

    def keyed(self, world: World, message: str, key: str = "k1", conversation_id: str = "") -> tuple[str, str]:
        wish = world.claims.wish("me", key, message + conversation_id)
        answered = world.ask("me", Ask(message, conversation_id), Collect(), wish)
        return answered.conversation_id, answered.answer.content

    def test_second_request_gets_the_first_ones_answer(self, world: World) -> None:
        world.llm.acts = [says("first"), says("second")]

        assert self.keyed(world, "one") == self.keyed(world, "one")
        assert len(world.llm.requests) == 1

    def test_other_body_is_refused(self, world: World) -> None:
        self.keyed(world, "one")

        with pytest.raises(IdempotencyMismatch):
            self.keyed(world, "two")

    def test_other_owner_may_use_the_same_key(self, world: World) -> None:
        self.keyed(world, "one")
        wish = world.claims.wish("you", "k1", "another")

        assert world.ask("you", Ask("another"), Collect(), wish).answer.content == "Hello there."

    def test_running_turn_says_so(self, world: World) -> None:
        world.llm.acts = [lambda request: [self.keyed(world, "one")]]  # type: ignore[list-item]

        with pytest.raises(TurnRunning):
            self.keyed(world, "one")

    def test_failed_turn_is_answered_again_without_a_second_question(self, world: World) -> None:
        world.llm.acts = [fails(ModelThrottled("Later.")), says("Now.")]
        with pytest.raises(ModelThrottled):
            self.keyed(world, "one")

        conversation_id, answer = self.keyed(world, "one")

        assert answer == "Now."
        assert shown(world, conversation_id) == ["one", "Now."]

    def test_request_that_died_before_its_question_was_stored_is_taken_over(self, world: World) -> None:
        wish = world.claims.wish("me", "k1", "one")
        world.claims.make(wish, "00000000-0000-4000-8000-000000000001", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        with pytest.raises(TurnRunning):
            self.keyed(world, "one")

        world.clock.time += 11

        assert self.keyed(world, "one")[1] == "Hello there."

    def test_ten_at_once_ask_once(self, world: World) -> None:
        def attempt(_: int) -> str:
            try:
                return self.keyed(world, "one")[1]
            except TurnRunning:
                return "running"

        with ThreadPoolExecutor(10) as pool:
            outcomes = set(pool.map(attempt, range(10)))

        assert outcomes <= {"Hello there.", "running"}
        assert "Hello there." in outcomes
        assert len(list(world.conversations.latest("me"))) == 1
        assert len(world.llm.requests) == 1

    def test_key_is_forgotten_after_a_day(self, world: World) -> None:
        self.keyed(world, "one")
        world.clock.time += 86_401

        assert self.keyed(world, "two")[1] == "Hello there."

    def test_reply_after_deletion_is_not_found_or_running(self, world: World) -> None:
        conversation_id, _ = self.keyed(world, "one")
        world.conversations.delete("me", conversation_id)

        with pytest.raises((ConversationNotFound, TurnRunning)):
            self.keyed(world, "one")


def test_retention_ends_messages_one_by_one_and_the_conversation_last() -> None:
    world = World(Settings(retention_days=1))
    conversation_id, _ = ask(world, "one")
    world.clock.time += 80_000
    ask(world, "two", conversation_id)

    world.clock.time += 10_000
    after_first = shown(world, conversation_id)
    world.clock.time += 80_000

    assert after_first == ["two", "Hello there."]
    with pytest.raises(ConversationNotFound):
        world.conversations.header("me", conversation_id)


def test_retention_of_a_conversation_counts_from_a_question_that_failed_too() -> None:
    world = World(Settings(retention_days=1))
    conversation_id, _ = ask(world, "one")
    world.clock.time += 80_000
    world.llm.acts = [fails(ModelThrottled("Later."))]
    with pytest.raises(ModelThrottled):
        ask(world, "two", conversation_id)

    world.clock.time += 10_000

    assert shown(world, conversation_id) == ["two"]


def test_branch_whose_beginning_has_expired_can_be_left_and_found_again() -> None:
    world = World(Settings(retention_days=1))
    conversation_id, first = ask(world, "one")
    ask(world, "two", conversation_id)
    ask(world, "fork", conversation_id, parent_id=first.id)
    world.clock.time += 80_000
    _, third = ask(world, "three", conversation_id)
    world.clock.time += 10_000

    world.conversations.switch(world.conversations.header("me", conversation_id), third.id)

    assert shown(world, conversation_id) == ["three", "Hello there."]


@pytest.mark.parametrize("note", ["", "I live in Bonn."])
def test_rename_during_a_turn_is_not_undone_by_it(world: World, note: str) -> None:
    conversation_id = world.questions.open_conversation(Conversation(SOME_ID, "me"), note).id
    turn = world.questions.begin("me", Ask("two", conversation_id))
    world.conversations.rename(world.conversations.header("me", conversation_id), "Mine")

    world.engine.run_turn(turn, Collect())

    assert world.conversations.header("me", conversation_id).title == "Mine"


def test_turn_can_be_run_from_what_is_stored(world: World) -> None:
    begun = world.questions.begin("me", Ask("one"))
    expired = replace(begun.question, lease_until_ms=0)
    world.store.update(
        f"C#me#{begun.conversation.id}", f"M#{begun.question.id}", set={"lease_until_ms": expired.lease_until_ms}
    )

    taken = world.questions.take_up("me", begun.conversation.id, begun.question.id)

    assert not isinstance(taken, Message)
    assert world.engine.run_turn(taken, Collect()).content == "Hello there."  # type: ignore[arg-type]
