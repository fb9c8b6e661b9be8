"""What the model sees: the newest whole exchanges that fit, in turns."""

from itertools import pairwise

import pytest

from chalicelib.chat.prompt import alternating, count_tokens, exchanges, most_chars, request_for, within_budget
from chalicelib.llm import Said
from chalicelib.records import Conversation, Message, Turn
from chalicelib.settings import Settings


def user(text: str) -> Message:
    return Message("1", "user", text, "")


def assistant(text: str) -> Message:
    return Message("2", "assistant", text, "")


def texts(messages: list[Message]) -> list[str]:
    return [message.content for message in messages]


def test_history_that_fits_is_shown_whole() -> None:
    history = [user("a"), assistant("b"), user("c"), assistant("d")]

    assert texts(within_budget(history, 1000)) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("budget", "kept"), [(0, []), (19, []), (20, ["c", "d"]), (39, ["c", "d"]), (40, ["a", "b", "c", "d"])]
)
def test_history_is_cut_oldest_first_in_whole_exchanges(budget: int, kept: list[str]) -> None:
    history = [user("a" * 3), assistant("b" * 33), user("c" * 3), assistant("d" * 33)]  # 5 + 15 tokens each

    assert [text[0] for text in texts(within_budget(history, budget))] == kept


def test_large_exchange_is_not_skipped_for_an_older_small_one() -> None:
    history = [user("small"), assistant("small"), user("x" * 3000), assistant("y"), user("z"), assistant("z")]

    assert texts(within_budget(history, 100)) == ["z", "z"]


def long_talk(exchanges: int) -> list[Message]:
    """A conversation of 20-token exchanges with ids and parents as stored ones have."""
    talk: list[Message] = []
    for n in range(exchanges):
        parent = talk[-1].id if talk else ""
        talk.append(Message(f"{n:04}Q", "user", "q" * 18, "", parent))
        talk.append(Message(f"{n:04}R", "assistant", "r" * 18, "", f"{n:04}Q"))
    return talk


def test_beginning_of_a_long_history_stays_the_same_for_several_turns() -> None:
    talk = long_talk(200)

    beginnings = [within_budget(talk[: 2 * n], 400)[0].id for n in range(1, 200)]

    changes = sum(before != after for before, after in pairwise(beginnings))
    assert beginnings[:20] == ["0000Q"] * 20
    assert 5 < changes < 199 / 4
    assert beginnings == sorted(beginnings)


def test_long_history_is_shown_to_at_least_half_the_budget_and_never_beyond_it() -> None:
    talk = long_talk(200)

    shown = [len(within_budget(talk[: 2 * n], 400)) // 2 * 20 for n in range(40, 200)]

    assert min(shown) >= 200
    assert max(shown) <= 400


def test_newest_exchange_always_ends_what_is_shown() -> None:
    talk = long_talk(60)

    assert all(within_budget(talk[: 2 * n], 400)[-1] is talk[2 * n - 1] for n in range(1, 60))


def test_answer_whose_question_is_not_there_is_dropped() -> None:
    assert exchanges([assistant("old"), user("a"), assistant("b")])[0][0].content == "a"


def test_neighbours_of_one_role_are_merged_and_blank_ones_left_out() -> None:
    messages = [user("a"), user(" \n"), user("b"), assistant(""), user("c"), assistant("d")]

    assert alternating(messages) == [Said("user", "a\n\nb\n\nc"), Said("assistant", "d")]


def test_system_prompt_of_the_conversation_comes_before_the_deployments() -> None:
    settings = Settings(system_prompt="default")
    question = user("hi")

    plain = request_for(Turn(Conversation("1", "me"), question), settings)
    own = request_for(Turn(Conversation("1", "me", system_prompt="own"), question), settings)

    assert (plain.system, own.system) == ("default", "own")


@pytest.mark.parametrize(
    "text", ["", "a", "Hello, world.", "1234567890", "你好，世界", "🎉🎉🎉", "def f(x):\n    return x\n" * 9]
)
def test_estimate_is_at_least_a_third_of_the_bytes_which_bound_the_tokens(text: str) -> None:
    assert count_tokens(text) * 3 >= len(text.encode())


@pytest.mark.parametrize("text", ["a" * 301, "1" * 301, "é" * 301, "你" * 301, "🎉" * 301])
def test_longest_text_that_could_fit_a_budget_is_never_too_short(text: str) -> None:
    assert most_chars(100) == 300
    assert count_tokens(text) > 100
