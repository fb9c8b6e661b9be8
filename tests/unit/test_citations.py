"""Citations that hold: what is quoted stands in the chunk, what does not bear the sentence out is not cited."""

import pytest

from chalicelib.chat.citations import cite, denies, holds, locate
from chalicelib.records import Chunk, Citation, Passage

LEASE = (
    "The tenant may keep one small dog with the written consent of the landlord. Cats are not allowed in the building. "
    "The rent is 950 euros a month and is due on the third day of each month."
)
MIETE = (
    "Die Mieterin darf einen kleinen Hund mit schriftlicher Zustimmung des Vermieters halten. Katzen sind im ganzen Haus "
    "nicht gestattet. Die Miete beträgt 950 Euro im Monat und ist am dritten Werktag fällig."
)
ZULIN = "租户可以在房东书面同意的情况下饲养一只小狗。租金为每月950元，每月3日支付给房东。"
IJAR = "يجوز للمستأجر أن يربي كلبا صغيرا واحدا بموافقة خطية من المالك. لا يسمح بالقطط في المبنى."


def passage(text: str, name: str = "lease.pdf", page: int | None = 3, context: str = "", place: str = "0") -> Passage:
    return Passage(place, f"id of {name}", (Chunk(0, 0, page, context, text, 0),), 0.9, name=name)


def quotes(answer: str, *texts: str, question: str = "") -> list[str]:
    """The quotes under an answer given from these texts."""
    return [citation.quote for citation in cite(answer, [passage(text) for text in texts], question)[1]]


class TestHolds:
    def test_six_words_that_stand_there_hold(self) -> None:
        assert holds("may keep one small dog with", LEASE)

    @pytest.mark.parametrize("quote", ["", " ", "keep one small dog with", "...... - - - ! ? :", "a b c d e"])
    def test_fewer_than_six_words_do_not(self, quote: str) -> None:
        assert not holds(quote, f"{LEASE} {quote} a b c d e")

    @pytest.mark.parametrize(
        "quote",
        [
            "may keep two small dogs with the",
            "tenant may keep one small do",
            "ay keep one small dog with the",
            "the the the the the the",
        ],
    )
    def test_words_that_do_not_stand_there_do_not(self, quote: str) -> None:
        assert not holds(quote, LEASE)

    @pytest.mark.parametrize(
        ("quote", "chunk"),
        [
            ("The official efficient office has five offices.", "The oﬃcial eﬃcient\n  oﬃce\thas five\u00a0offices."),
            ("the information is well-known to everyone", "the infor-\nmation is well-\n known to every\u00adone"),
            ('He said "it\'s fine" - and went home', "He said “it’s fine” – and went home"),
            ("Müller wohnt seit 1999 in Köln am Rhein", "Mu\u0308ller wohnt seit 1999 in Ko\u0308ln am Rhein"),
            ("Ｆｕｌｌ width letters are letters like others", "Full width letters are letters like others"),
            ("zero width spaces are not seen by anyone", "zero\u200b width spaces are not seen by any\u2060one"),
        ],
    )
    def test_white_space_hyphenation_ligatures_and_forms_of_a_character_make_no_difference(
        self, quote: str, chunk: str
    ) -> None:
        assert holds(quote, chunk)
        assert holds(chunk, quote)

    def test_two_characters_count_as_a_word_in_scripts_without_spaces(self) -> None:
        assert holds("房东书面同意的情况下饲养", ZULIN)
        assert not holds("房东书面同意的情况下饲", ZULIN)

    def test_number_cut_in_two_does_not_hold(self) -> None:
        assert not holds("The rent is 95", "The rent is 950 euros a month and more")


class TestLocate:
    def test_place_counts_in_the_text_as_it_stands(self) -> None:
        text = "First line.\n\n  The oﬃcial infor-\nmation is   here. More."

        place = locate("the official information is here.", text)

        assert place is not None
        assert text[slice(*place)] == "The oﬃcial infor-\nmation is   here."

    def test_quote_may_go_on_into_the_next_chunk_of_a_passage(self) -> None:
        assert locate("dog with consent. Cats are not", "A dog with consent.\nCats are not allowed.") == (2, 32)

    def test_what_is_not_there_has_no_place(self) -> None:
        assert locate("cats", "A dog with consent.") is None
        assert locate("", "A dog.") is None


@pytest.mark.parametrize(
    ("answer", "chunk", "quote"),
    [
        ("You may keep one small dog if the landlord gives written consent.", LEASE, LEASE[:75]),
        ("Ein kleiner Hund ist mit schriftlicher Zustimmung des Vermieters erlaubt.", MIETE, MIETE.split(". ")[0] + "."),
        ("租户可以饲养一只小狗，但需要房东书面同意。", ZULIN, ZULIN.split("。")[0] + "。"),
        ("يجوز للمستأجر أن يربي كلبا صغيرا بموافقة خطية من المالك.", IJAR, IJAR.split(". ")[0] + "."),
    ],
)
def test_sentence_is_cited_with_the_sentence_that_bears_it_out(answer: str, chunk: str, quote: str) -> None:
    assert quotes(answer, "Something else entirely stands in this passage here.", chunk) == [quote]


def test_quote_is_returned_as_it_stands_in_the_chunk() -> None:
    chunk = "Cats are not allo-\nwed in  the buil-\nding. Dogs are welcome everywhere."

    assert quotes("Cats are not allowed in the building.", chunk) == ["Cats are not allo-\nwed in  the buil-\nding."]


@pytest.mark.parametrize(
    "answer",
    [
        "The rent is 980 euros a month and is due on the third day of each month.",
        "The rent is 1,950 euros a month and is due on the third day of each month.",
        "According to Barbara Smith the tenant may keep one small dog with the written consent of the landlord.",
        "Parrots and snakes live in tropical forests.",
        "It may be.",
        "",
    ],
)
def test_sentence_with_another_number_or_name_or_nothing_in_common_is_not_cited(answer: str) -> None:
    assert cite(f"{answer} [1]".strip(), [passage(LEASE)])[1] == ()


def test_number_in_the_heading_above_the_quote_bears_it_out() -> None:
    answer = "Under the 2023 lease the tenant may keep one small dog with written consent."

    assert cite(answer, [passage(LEASE, context="Leases\nLease of 2023")])[1]
    assert cite(answer, [passage(LEASE, name="lease-2023.pdf")])[1]
    assert not cite(answer, [passage(LEASE)])[1]


def test_thousands_are_the_same_however_they_are_set_off() -> None:
    assert quotes("The house was sold for 1.250.000 euros in spring.", "In spring the house was sold for 1,250,000 euros.")


def test_short_answer_is_cited_by_what_answers_its_question() -> None:
    chunk = f"Rex is a name. {LEASE} The dog of the tenant on the second floor is called Bartholomew."

    found = quotes("Bartholomew.", chunk, question="What is the dog on the second floor called?")

    assert found == ["The dog of the tenant on the second floor is called Bartholomew."]


def test_support_that_is_shorter_than_six_words_is_quoted_with_what_surrounds_it() -> None:
    chunk = "Rent: 950 euros. Due: on the third of each month. Deposit: two months of rent."

    [quote] = quotes("The rent is 950 euros.", chunk, question="How much is the rent?")

    assert quote.startswith("Rent: 950 euros.")
    assert holds(quote, chunk)


def test_chunk_of_fewer_than_six_words_is_never_cited() -> None:
    assert quotes("The rent is 950 euros.", "Rent: 950 euros.", question="How much is the rent?") == []


@pytest.mark.parametrize("wrong", ["[2]", "【2】", "[1, 2]", "[7]", "[Passage 2]", "[1][2]", "[1-2]", "【2†lease】"])
def test_marks_of_the_model_are_dropped_for_those_that_hold(wrong: str) -> None:
    other = "Parrots and snakes live in tropical forests of the south."
    passages = [passage(LEASE), passage(other, place="1")]

    text, citations = cite(f"Cats are not allowed in the building {wrong}. Thank you!", passages)

    assert text == "Cats are not allowed in the building [1]. Thank you!"
    assert [citation.quote for citation in citations] == ["Cats are not allowed in the building."]


def test_mark_of_the_model_decides_between_passages_that_say_the_same() -> None:
    passages = [passage(LEASE, "old.pdf"), passage(LEASE, "new.pdf")]

    [citation] = cite("Cats are not allowed in the building [2].", passages)[1]

    assert citation.name == "new.pdf"


def test_marks_are_numbered_in_the_order_they_appear_and_a_quote_has_one() -> None:
    answer = (
        "- The rent is 950 euros a month [9]\n- Cats are not allowed in the building.\n\n"
        "Again: cats are not allowed in the building, and the rent is 950 euros a month."
    )

    text, citations = cite(answer, [passage(LEASE)])

    assert text.startswith("- The rent is 950 euros a month [1]\n- Cats are not allowed in the building [2].\n\nAgain")
    assert [citation.marker for citation in citations] == list(range(1, len(citations) + 1))
    assert len({citation.quote for citation in citations}) == len(citations)


@pytest.mark.parametrize(
    "untouched",
    [
        "```python\nrent = 950  # the rent is 950 euros a month [1]\nx = a[1]\n```",
        "```\ncut off in the middle: the rent is 950 euros a month [1]",
        "    rent = euros[1]  # the rent is 950 euros a month",
        "| the rent is | 950 euros a month |",
        "# The rent is 950 euros a month",
        "[list]: https://example.com/rent-is-950-euros-a-month",
        "`a[1]` and [the list][list] and [a page](https://example.com/[1]) and a note[^1]",
        "https://example.com/the[1]",
        "items[0] and items[9]",
        "In `rent` [list]: nothing is lost of what follows code.",
        "```\n[1]: https://example.com/\n```",
    ],
)
def test_code_links_footnotes_tables_and_headings_are_left_alone(untouched: str) -> None:
    text, _ = cite(f"{untouched}\n", [passage(LEASE)])

    assert text == f"{untouched}\n"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("| the rent is | 950 euros a month [1] | items[9] |", "| the rent is | 950 euros a month | items[9] |"),
        ("## The rent is 9 million euros [1]", "## The rent is 9 million euros"),
        ("Indeed.\n[1]: https://evil.example/\n[2]: x", "Indeed."),
        ("See [1](https://evil.example/) or [2][there] or [the list][1].", "See or or [the list]."),
        ("![1](https://evil.example/pixel.gif)", ""),
        ("`x`[1]: nobody knows", "`x`: nobody knows"),
    ],
)
def test_what_looks_like_a_mark_where_none_is_put_is_taken_out(written: str, left: str) -> None:
    text, _ = cite(written, [passage(LEASE)])

    assert text.strip() == left


def test_marks_stand_after_the_words_in_lists_emphasis_and_chinese() -> None:
    text, _ = cite(
        "1. **Cats are not allowed in the building.**\n2. 租户可以饲养一只小狗，但需要房东书面同意。",
        [passage(LEASE), passage(ZULIN)],
    )

    assert text == "1. **Cats are not allowed in the building.** [1]\n2. 租户可以饲养一只小狗，但需要房东书面同意[2]。"


@pytest.mark.parametrize(
    "sentence",
    [
        "The documents do not say what the rent is.",
        "There is no information about the rent in the passages.",
        "The rent is not mentioned in the provided text.",
        "This is not in your documents.",
        "Die Dokumente sagen nichts über die Miete.",
        "Les documents ne disent rien du loyer.",
        "文档中没有提到租金。",
    ],
)
def test_sentence_that_says_it_is_not_there_is_recognised(sentence: str) -> None:
    assert denies(sentence)


@pytest.mark.parametrize("sentence", ["Cats are not allowed in the building.", "No pets.", "The rent is 950 euros."])
def test_sentence_that_only_says_no_is_not_taken_for_a_denial(sentence: str) -> None:
    assert not denies(sentence)


def test_page_is_that_of_the_chunk_within_a_passage_of_several() -> None:
    chunks = (Chunk(4, 1, 2, "", "The house has four floors and a garden.", 0), Chunk(5, 2, 3, "", LEASE, 0))

    [citation] = cite("Cats are not allowed in the building.", [Passage("4-5", "d", chunks, 0.5, name="lease.pdf")])[1]

    assert citation == Citation(1, "d", "4-5", "lease.pdf", 3, "Cats are not allowed in the building.", 0.5)


def test_every_citation_of_any_answer_holds() -> None:
    passages = [passage(text, place=str(n)) for n, text in enumerate((LEASE, MIETE, ZULIN, IJAR))]
    answer = f"{LEASE} [3] {MIETE} [1] {ZULIN} {IJAR} [2]"

    _, citations = cite(answer, passages)

    chunks = {found.id: found.chunks[0].text for found in passages}
    assert len(citations) >= 8
    assert all(holds(citation.quote, chunks[citation.passage_id]) for citation in citations)
    assert all(citation.quote in chunks[citation.passage_id] for citation in citations)
