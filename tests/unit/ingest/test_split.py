"""What a chunk is: a stretch of a part that can be read by itself, found again, and embedded whole."""

import random
import unicodedata

import pytest

from chalicelib.ingest.measure import count_tokens
from chalicelib.ingest.split import CHUNK_TOKENS, part_text, split
from chalicelib.records import Block, Chunk, Part

SENTENCE = "The tenant pays the rent on the first day of each month. "


def part(*blocks: str | Block, headings: tuple[str, ...] = (), page: int | None = None) -> Part:
    return Part(0, page, headings, tuple(block if isinstance(block, Block) else Block(block) for block in blocks))


def texts(*blocks: str | Block, title: str = "Lease", target_tokens: int = CHUNK_TOKENS) -> list[str]:
    return [chunk.text for chunk in split(part(*blocks), title=title, first_ordinal=0, target_tokens=target_tokens)]


def assert_sound(whole: Part, chunks: list[Chunk], target_tokens: int) -> None:
    """What holds for every chunk of every text."""
    text, end = part_text(whole), 0
    for number, chunk in enumerate(chunks):
        assert chunk.ordinal == chunks[0].ordinal + number
        assert text[chunk.start : chunk.start + len(chunk.text)] == chunk.text == chunk.text.strip() != ""
        assert text[end : chunk.start].strip() == ""
        end = chunk.start + len(chunk.text)
        assert count_tokens(chunk.context) <= target_tokens / 4
        assert count_tokens(f"{chunk.context}\n{chunk.text}") <= target_tokens
        assert not unicodedata.combining(chunk.text[0]) or number == 0 or text[chunk.start - 1].isspace()
    assert text[end:].strip() == ""


# What a reader sees


def test_a_short_text_is_one_chunk() -> None:
    assert texts("Pets are allowed.") == ["Pets are allowed."]


def test_short_paragraphs_are_joined() -> None:
    assert texts("One.", "Two.", "Three.") == ["One.\n\nTwo.\n\nThree."]


def test_a_part_without_text_has_no_chunks() -> None:
    assert texts() == []
    assert texts("", " \n\t ", Block("  ", 1)) == []


def test_a_chunk_says_where_it_is_from() -> None:
    [chunk] = split(part("Pets are allowed.", page=7), title="Lease", first_ordinal=41, target_tokens=256)
    assert (chunk.ordinal, chunk.part, chunk.page, chunk.context, chunk.start) == (41, 0, 7, "Lease", 0)


def test_paragraphs_stay_whole_when_they_can() -> None:
    paragraphs = [f"Paragraph {number}. " + (SENTENCE * 15).strip() for number in range(6)]
    assert texts(*paragraphs) == paragraphs


def test_a_long_paragraph_is_cut_between_sentences_into_chunks_of_one_size() -> None:
    chunks = texts((SENTENCE * 50).strip())
    assert len(chunks) > 2
    assert all(chunk.startswith("The tenant") and chunk.endswith("month.") for chunk in chunks)
    assert min(map(len, chunks)) > 0.7 * max(map(len, chunks))


def test_there_is_no_tiny_last_chunk() -> None:
    for sentences in range(15, 60):
        chunks = texts((SENTENCE * sentences).strip())
        assert min(map(len, chunks)) > 0.4 * max(map(len, chunks)), sentences


def test_a_heading_stays_with_what_it_heads() -> None:
    chunks = texts((SENTENCE * 14).strip(), Block("Pets", 1), (SENTENCE * 14).strip())
    assert [chunk.split("\n\n")[0][:10] for chunk in chunks] == ["The tenant", "Pets"]


def test_a_short_line_stays_with_what_follows_it() -> None:
    assert texts((SENTENCE * 14).strip(), "Collapsing economy", (SENTENCE * 12).strip())[1].startswith("Collapsing economy")


def test_the_context_is_the_title_and_the_headings_that_it_stands_under() -> None:
    long = (SENTENCE * 30).strip()
    whole = part(Block("Part two", 2), long, Block("Pets", 3), long, Block("Cars", 2), long, headings=("Rules",))
    chunks = split(whole, title="Lease", first_ordinal=0, target_tokens=256)
    seen = [(chunk.context, chunk.text.split("\n")[0][:10]) for chunk in chunks]
    assert list(dict.fromkeys(seen)) == [
        ("Lease\nRules", "Part two"),
        ("Lease\nRules\nPart two", "The tenant"),
        ("Lease\nRules\nPart two", "Pets"),
        ("Lease\nRules\nPart two\nPets", "The tenant"),
        ("Lease\nRules", "Cars"),
        ("Lease\nRules\nCars", "The tenant"),
    ]


def test_a_title_is_not_said_twice() -> None:
    [chunk] = split(part("Text.", headings=("Lease", "Pets")), title="Lease", first_ordinal=0, target_tokens=256)
    assert chunk.context == "Lease\nPets"


def test_a_context_that_is_too_long_keeps_the_title_and_the_nearest_heading() -> None:
    headings = tuple(f"Heading number {number} " + "of many words that go on " * 3 for number in range(6))
    [chunk] = split(part("Text.", headings=headings), title="Lease", first_ordinal=0, target_tokens=256)
    assert chunk.context.split("\n")[0] == "Lease"
    assert "Heading number 5" in chunk.context
    assert count_tokens(chunk.context) <= 64


def test_an_endless_title_leaves_room_for_the_text() -> None:
    chunks = split(part((SENTENCE * 20).strip()), title="word " * 5000, first_ordinal=0, target_tokens=256)
    assert all(len(chunk.text) > 200 for chunk in chunks)


def test_rows_of_a_table_stay_whole() -> None:
    rows = [f"{number} | Invoice of the {number}th | {number * 37} EUR | paid" for number in range(60)]
    lines = [line for chunk in texts("\n".join(rows)) for line in chunk.split("\n")]
    assert lines == rows


def test_items_of_a_list_stay_whole() -> None:
    items = [f"- the {number}th thing that the tenant has to bring along and leave behind" for number in range(40)]
    lines = [line for chunk in texts("\n".join(items)) for line in chunk.split("\n")]
    assert lines == items


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Smith of the U.S. Army paid 3.50 dollars to Mr. Jones, see Fig. 4 and e.g. Sec. 2 of this lease. ",
        "Er sagte: »Das geht nicht!« Und sie ging. ",
        '"Is it?" she said. "It is." ',
    ],
)
def test_sentences_end_where_a_reader_would_end_them(sentence: str) -> None:
    chunks = texts((sentence * 40).strip(), target_tokens=128)
    assert len(chunks) > 2
    assert all(chunk[0] == sentence[0] or chunk[0] in 'Uu»"' for chunk in chunks)
    assert all(chunk[-1] in '.!?«"' for chunk in chunks)
    assert not any(chunk.endswith((" Dr.", " Mr.", "U.S.", "Fig.", "e.g.", "Sec.")) for chunk in chunks)


@pytest.mark.parametrize(
    ("sentence", "end"),
    [
        ("借主は貸主の同意なしにペットを飼うことはできません。", "。"),
        ("未经房东书面同意，租户不得在公寓内饲养任何宠物。", "。"),
        ("क्या किरायेदार पालतू जानवर रख सकता है? नहीं, वह नहीं रख सकता। ", "।?"),
        ("لا يجوز للمستأجر الاحتفاظ بحيوانات أليفة؟ لا يجوز ذلك. ", ".؟"),
    ],
)
def test_other_scripts_are_cut_at_their_own_marks(sentence: str, end: str) -> None:
    chunks = texts((sentence * 40).strip())
    assert len(chunks) > 2
    assert all(chunk[-1] in end for chunk in chunks)


def test_a_script_without_marks_is_cut_at_its_spaces() -> None:
    clause = "ผู้เช่าไม่สามารถเลี้ยงสัตว์เลี้ยงในห้องได้"
    chunks = texts(" ".join([clause] * 60))
    assert all(set(chunk.split(" ")) == {clause} for chunk in chunks)


# What no text may break


@pytest.mark.parametrize("character", ["x", "0", "界", "e\u0301", "👩‍👩‍👧", "🇩🇪", "-", ".", "\u0301", "한"])
def test_a_word_without_end_ends_in_chunks_of_bounded_length(character: str) -> None:
    whole = part(character * (100_000 // len(character.encode())))
    chunks = split(whole, title="", first_ordinal=0, target_tokens=256)
    assert "".join(chunk.text for chunk in chunks) == part_text(whole)
    assert max(count_tokens(chunk.text) for chunk in chunks) <= 256


@pytest.mark.parametrize("character", ["e\u0301", "👩‍👩‍👧", "🇩🇪", "👍🏽", "ก็", "각"])
def test_no_character_is_cut_from_its_accents(character: str) -> None:
    assert all(len(chunk) % len(character) == 0 for chunk in texts(character * 2000))


ALPHABETS = (
    "abc. ",
    "ab\n\n.!? \t",
    "the and of 1.5 | - \n",
    "界。，\u3000の",
    "ก็า ",
    "e\u0301\u0308 x",
    "👩\u200d🇩🇪👍🏽 ",
    "\u00a0\u2028\x0b\x0c\x1c a.",
    "ÄÖß-\u00ad.",
)


@pytest.mark.parametrize("seed", range(60))
def test_every_character_is_in_exactly_one_chunk_whatever_the_text(seed: int) -> None:
    chance = random.Random(seed)
    alphabet = "".join(chance.sample(ALPHABETS, 3))
    blocks = [
        Block("".join(chance.choices(alphabet, k=chance.choice((0, 1, 7, 90, 1500)))), chance.choice((0, 0, 0, 0, 1, 2, 6)))
        for _ in range(chance.randrange(30))
    ]
    target = chance.choice((32, 64, 256, 2000))
    whole = part(*blocks, headings=("Rules", "Pets")[: chance.randrange(3)])

    chunks = split(whole, title=chance.choice(("", "Lease", alphabet * 20)), first_ordinal=5, target_tokens=target)

    assert_sound(whole, chunks, target)


def test_the_same_text_gives_the_same_chunks() -> None:
    whole = part(Block("Rules", 1), (SENTENCE * 80).strip(), "x" * 5000)
    first = split(whole, title="Lease", first_ordinal=0, target_tokens=256)
    assert first == split(whole, title="Lease", first_ordinal=0, target_tokens=256)
