"""Whether passages have anything to do with a question."""

from chalicelib.chat.grounding import grounded
from chalicelib.embedder import Space
from chalicelib.records import Chunk, Passage

MINILM = Space("all-MiniLM-L6-v2", 384)
OTHER = Space("amazon.titan-embed-text-v2:0", 1024)
QUESTION = "May the tenant keep a dog?"


def passage(text: str, similarity: float | None, name: str = "a.txt", context: str = "") -> Passage:
    return Passage("0", name, (Chunk(0, 0, None, context, text, 0),), 1.0, similarity, name=name)


def test_near_passage_is_kept_though_it_has_other_words() -> None:
    near = passage("Pets are welcome.", 0.5)

    assert grounded([near], QUESTION, MINILM) == [near]


def test_passage_that_only_came_first_is_not_enough() -> None:
    assert grounded([passage("Guernica is a painting.", 0.12)], QUESTION, MINILM) == ()


def test_words_of_the_question_make_up_for_some_distance() -> None:
    with_words = passage("The tenant may keep what he likes.", 0.3)

    assert grounded([with_words], QUESTION, MINILM) == [with_words]
    assert grounded([passage("Pets are welcome.", 0.3)], QUESTION, MINILM) == ()


def test_words_of_the_heading_and_the_name_count_too() -> None:
    under_heading = passage("Yes, one.", 0.3, context="Tenant\nMay I keep a dog?")

    assert grounded([under_heading], QUESTION, MINILM) == [under_heading]


def test_weak_passages_beside_a_strong_one_are_left_out() -> None:
    strong, weak = passage("The tenant may keep a dog.", 0.7), passage("Guernica is a painting.", 0.1)

    assert grounded([weak, strong], QUESTION, MINILM) == [strong]


def test_passage_found_by_its_words_alone_counts_by_them() -> None:
    by_words = passage("The tenant may keep a dog.", None)

    assert grounded([by_words], QUESTION, OTHER) == [by_words]


def test_embedder_that_was_not_measured_is_given_the_benefit_of_the_doubt() -> None:
    doubtful = passage("Haustiere sind willkommen.", 0.42)

    assert grounded([doubtful], QUESTION, OTHER) == [doubtful]


def test_nothing_found_is_nothing_to_answer_from() -> None:
    assert grounded([], QUESTION, MINILM) == ()
    assert grounded([passage("", 0.0)], "?", MINILM) == ()


def test_words_of_scripts_without_spaces_count() -> None:
    chinese = passage("租户可以饲养一只小狗。", 0.25)

    assert grounded([chinese], "租户可以饲养小狗吗？", MINILM) == [chinese]
