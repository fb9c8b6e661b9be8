"""Documents in a turn: looked into before the model is asked, and never left out silently."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chalicelib.chat.fence import NOT_THERE, NOT_THERE_YET
from chalicelib.chat.questions import Answered, Ask
from chalicelib.chat.sources import queries
from chalicelib.chat.turn import Collect
from chalicelib.embedder import Vector
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.errors import EmbedderUnavailable, LibraryUnavailable, LibraryWaking, ModelThrottled, PaiError
from chalicelib.patience import patience_left
from chalicelib.records import (
    Citation,
    Message,
    Passage,
    Retrieval,
    RetrievalOptions,
    Turn,
    TurnOptions,
)
from chalicelib.retriever import Query
from chalicelib.retriever.memory import MemoryRetriever
from chalicelib.settings import Settings
from chalicelib.store import Page
from chalicelib.store.memory import MemoryStore
from tests.standins.scripted import fails, says
from tests.unit.conftest import World

PETS = "May the tenant keep a small dog?"
LEASE = "The tenant may keep one small dog with the written consent of the landlord."
ANSWER = "The tenant may keep one small dog with written consent."
WAKING_S = 0.02
ON = Settings(retriever="memory")


class SleepyRetriever(MemoryRetriever):
    """A library that fails with these errors first, one for each search."""

    def __init__(self, *errors: PaiError) -> None:
        super().__init__()
        self.errors = list(errors)
        self.searches: list[Query] = []

    def search(self, query: Query) -> Sequence[Passage]:
        self.searches.append(query)
        if self.errors:
            raise self.errors.pop(0)
        return super().search(query)


class WakingRetriever(MemoryRetriever):
    """A library that takes a moment to wake, and notes how long it might have taken."""

    waited_for_at_most = 0.0

    def search(self, query: Query) -> Sequence[Passage]:
        self.waited_for_at_most = patience_left()
        time.sleep(WAKING_S)
        return super().search(query)


class Unplugged(HashedEmbedder):
    """An embedder whose passages came through, and whose service is down now."""

    def embed(self, texts: Sequence[str], purpose: str) -> "Sequence[Vector[float]]":
        if purpose == "query":
            raise EmbedderUnavailable("Down.")
        return super().embed(texts, "passage")


@dataclass
class Heard(Collect):
    """A sink that keeps what it was told."""

    words: list[str] = field(default_factory=list)

    def text(self, delta: str) -> None:
        self.words.append(delta)


def ask(world: World, message: str, conversation_id: str = "", **retrieval: Any) -> Answered:
    options = TurnOptions(retrieval=RetrievalOptions(**retrieval))
    return world.ask("me", Ask(message, conversation_id, options=options), Collect())


def with_lease(settings: Settings = ON, **parts: Any) -> World:
    world = World(settings, **parts)
    world.add("lease.pdf", LEASE)
    world.llm.acts = [says(ANSWER)]
    return world


@pytest.mark.parametrize("error", [LibraryWaking("Waking."), LibraryUnavailable("Down.")])
def test_question_is_kept_and_not_answered_without_the_documents_when_they_cannot_be_reached(error: PaiError) -> None:
    world = with_lease(retriever=SleepyRetriever(error))

    with pytest.raises(type(error)) as raised:
        ask(world, PETS)
    conversation_id = raised.value.details["conversation_id"]
    kept = world.conversations.open("me", conversation_id, 10)[1]
    asked_meanwhile = len(world.llm.requests)
    answer = ask(world, PETS, conversation_id).answer

    assert [(message.content, message.failure_code) for message in kept] == [(PETS, error.code)]
    assert asked_meanwhile == 0
    assert answer.citations
    assert len(world.conversations.open("me", conversation_id, 10)[1]) == 2


def test_embedder_that_is_down_fails_the_turn_too() -> None:
    world = with_lease(embedder=Unplugged(256))

    with pytest.raises(EmbedderUnavailable) as raised:
        ask(world, PETS)

    assert raised.value.details.keys() == {"conversation_id", "turn_id"}


def test_library_that_was_asleep_is_waited_for_but_no_longer_than_a_person_would() -> None:
    waking = WakingRetriever()
    world = with_lease(retriever=waking)

    answer = ask(world, PETS).answer

    assert answer.retrieval == Retrieval("used", 1)
    assert 5 < waking.waited_for_at_most <= 8


def test_time_that_the_search_took_is_taken_from_the_models() -> None:
    world = with_lease(retriever=WakingRetriever())

    ask(world, PETS)

    assert world.llm.requests[-1].timeout_s <= world.settings.deadline_s - WAKING_S


def test_owner_without_documents_waits_for_no_library_and_reads_one_thing_more() -> None:
    queried: list[str] = []

    class Store(MemoryStore):
        def query(self, pk: str, **how: Any) -> Page:
            queried.append(pk)
            return super().query(pk, **how)

    world = World(ON, retriever=SleepyRetriever(LibraryWaking("Waking.")), make_store=Store)

    answer = ask(world, PETS).answer

    assert (answer.content, answer.retrieval) == ("Hello there.", Retrieval("off"))
    assert queried == ["D#me"]


def test_that_an_owner_has_documents_is_remembered_for_a_minute() -> None:
    world = with_lease()
    known = [world.library.has_documents("me")]
    for document in list(world.documents.all("me")):
        world.documents.delete("me", document.id)

    known.append(world.library.has_documents("me"))
    world.clock.time += 61
    known.append(world.library.has_documents("me"))

    assert known == [True, True, False]


def test_turn_that_is_taken_up_asks_the_documents_as_it_was_asked_to() -> None:
    world = with_lease()
    other = world.add("other.pdf", "The tenant may keep a small dog in the garden of the other house.")
    world.llm.acts = [fails(ModelThrottled("Later.")), says(ANSWER)]
    with pytest.raises(ModelThrottled) as raised:
        ask(world, PETS, documents=(other.id,), top_k=3, asked=True)

    taken = world.questions.take_up("me", raised.value.details["conversation_id"], raised.value.details["turn_id"])
    assert isinstance(taken, Turn)
    world.engine.run_turn(taken, Collect())

    assert taken.question.options.retrieval == RetrievalOptions(3, (other.id,), asked=True)
    assert "other house" in world.llm.requests[-1].messages[-1].text
    assert LEASE not in world.llm.requests[-1].messages[-1].text


def test_question_stored_before_there_were_documents_still_opens() -> None:
    world = World()
    turn = world.questions.begin("me", Ask("one", options=TurnOptions("m", 7, 0.5)))
    pk, sk = f"C#me#{turn.conversation.id}", f"M#{turn.question.id}"
    stored = world.store.get(pk, sk)
    assert stored

    world.store.put({**stored, "numbers": json.dumps({"model": "m", "max_tokens": 7, "temperature": 0.5})})

    assert world.conversations.message(turn.conversation, turn.question.id).options == TurnOptions("m", 7, 0.5)


def test_citations_are_stored_with_the_answer_and_come_again_under_the_same_key() -> None:
    world = with_lease()
    asked, wish = Ask(PETS), world.claims.wish("me", "k1", PETS)

    first = world.ask("me", asked, Collect(), wish)
    second = world.ask("me", asked, Collect(), wish)

    [citation] = first.answer.citations
    assert citation == Citation(1, citation.document_id, "0", "lease.pdf", 1, LEASE, citation.score)
    assert second == first
    assert len(world.llm.requests) == 1


def test_answer_that_is_cut_off_at_the_deadline_is_cited_as_far_as_it_came() -> None:
    world = with_lease(replace(ON, deadline_s=0))
    world.llm.acts = [says(ANSWER, " And more")]

    answer = ask(world, PETS).answer

    assert answer.stop_reason == "deadline"
    assert len(answer.citations) == 1


def test_answer_that_it_is_not_there_reaches_who_follows_the_turn() -> None:
    world, heard = with_lease(), Heard()
    asked = Ask("Who painted Guernica?", options=TurnOptions(retrieval=RetrievalOptions(asked=True)))

    answer = world.ask("me", asked, heard).answer

    assert heard.words == [answer.content] == [NOT_THERE]
    assert (answer.model, answer.stop_reason, answer.retrieval) == ("pai", "end", Retrieval("empty"))


def test_owner_without_documents_who_asks_them_is_told_that_it_is_not_there() -> None:
    world = World(ON)

    assert ask(world, PETS, asked=True).answer.content == NOT_THERE


def test_what_is_not_there_may_come_while_a_document_is_still_being_read() -> None:
    world = with_lease()
    unread = world.documents.create("me", "contract.pdf")
    world.documents.change(unread, state="reading")

    assert ask(world, "Who painted Guernica?", asked=True).answer.content == NOT_THERE_YET


def test_history_makes_room_for_the_passages() -> None:
    world = World(Settings(retriever="memory", history_tokens=600, passage_tokens=400))
    world.add("lease.pdf", LEASE)
    conversation_id = ask(world, "x" * 900, off=True).conversation_id

    ask(world, PETS, conversation_id)
    with_passages = len(world.llm.requests[-1].messages)
    ask(world, PETS, conversation_id, off=True)

    assert with_passages == 1
    assert len(world.llm.requests[-1].messages) > 1


def test_passages_of_an_earlier_turn_are_not_repeated() -> None:
    world = with_lease()
    conversation_id = ask(world, PETS).conversation_id

    ask(world, "Thank you very much indeed for that", conversation_id, off=True)

    assert all(LEASE not in said.text for said in world.llm.requests[-1].messages)


def user(text: str) -> Message:
    return Message("1", "user", text, "")


HISTORY = [user("Before"), user("What does the lease say about dogs?"), Message("2", "assistant", "Yes.", "")]


@pytest.mark.parametrize(
    ("question", "readings"),
    [
        ("And cats?", ["What does the lease say about dogs?\nAnd cats?", "And cats?"]),
        ("那么猫呢？", ["What does the lease say about dogs?\n那么猫呢？", "那么猫呢？"]),
        (
            "How much is the rent for the second floor?",
            [
                "How much is the rent for the second floor?",
                "What does the lease say about dogs?\nHow much is the rent for the second floor?",
            ],
        ),
    ],
)
def test_question_is_read_by_itself_and_with_the_one_before_it_the_short_one_together_first(
    question: str, readings: list[str]
) -> None:
    assert list(queries(user(question), HISTORY)) == readings
    assert list(queries(user(question), [])) == [question]


def test_second_reading_is_searched_only_when_the_first_finds_nothing() -> None:
    retriever = SleepyRetriever()
    world = with_lease(retriever=retriever)
    conversation_id = ask(world, PETS).conversation_id

    ask(world, "May the tenant keep one small dog in the house?", conversation_id)
    searched_for_strong = len(retriever.searches)
    ask(world, "Which zebra painted some Guernica or other?", conversation_id)

    assert searched_for_strong == 2
    assert len(retriever.searches) == 4
