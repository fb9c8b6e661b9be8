"""The benchmarks' arithmetic: DynamoDB's units, the targets, and tables that say what was measured."""

import pytest

from benchmarks.report import BEGIN, DOCUMENT, END, stored, with_tables
from benchmarks.support.markdown import tables
from benchmarks.support.targets import TARGETS, Target
from benchmarks.support.units import Index, Wire, item_bytes, read_units, write_units

INDEX = Index.described(
    {
        "KeySchema": [{"AttributeName": "pk"}, {"AttributeName": "sk"}],
        "GlobalSecondaryIndexes": [
            {
                "KeySchema": [{"AttributeName": "list_pk"}, {"AttributeName": "list_sk"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["title"]},
            }
        ],
    }
)


def item(size_bytes: int, **strings: str) -> Wire:
    """An item of this size, of which the index carries the given attributes."""
    given = {"pk": {"S": "p"}, "sk": {"S": "s"}, **{name: {"S": text} for name, text in strings.items()}}
    return {**given, "x": {"B": b"." * (size_bytes - item_bytes(given) - 1)}}


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ({"S": "abc"}, 3),
        ({"S": "grüß"}, 6),
        ({"B": b"\x00\x01"}, 2),
        ({"N": "0"}, 1),
        ({"N": "7"}, 2),
        ({"N": "12"}, 2),
        ({"N": "-123"}, 3),
        ({"N": "1700000000"}, 2),
    ],
)
def test_size_of_an_attribute_is_its_name_and_its_value_by_kind(value: dict[str, object], size_bytes: int) -> None:
    assert item_bytes({"name": value}) == len("name") + size_bytes


@pytest.mark.parametrize(("sizes", "units"), [([], 1), ([1], 1), ([4096], 1), ([4097], 2), ([2000, 2000, 2000], 2)])
def test_what_is_read_together_is_rounded_up_to_4_kb_once(sizes: list[int], units: int) -> None:
    assert read_units([item(max(size, 20)) for size in sizes]) == units


@pytest.mark.parametrize(("size_bytes", "units"), [(100, 1), (1024, 1), (1025, 2), (2049, 3)])
def test_what_is_written_is_rounded_up_to_1_kb(size_bytes: int, units: int) -> None:
    assert write_units(None, item(size_bytes), INDEX) == units


def test_larger_of_the_item_before_and_after_counts() -> None:
    assert write_units(item(3000), item(100), INDEX) == 3
    assert write_units(item(3000), None, INDEX) == 3


def test_new_entry_of_the_index_is_a_write_more_by_its_own_size() -> None:
    listed = item(3000, list_pk="l", list_sk="1", title="t")
    long_title = item(3000, list_pk="l", list_sk="1", title="t" * 1100)

    assert write_units(None, listed, INDEX) == 3 + 1
    assert write_units(None, long_title, INDEX) == 3 + 2


def test_entry_that_moves_in_the_index_is_two_writes() -> None:
    assert write_units(item(500, list_pk="l", list_sk="1"), item(500, list_pk="l", list_sk="2"), INDEX) == 1 + 2


def test_entry_that_leaves_the_index_is_a_write() -> None:
    assert write_units(item(500, list_pk="l", list_sk="1"), item(500), INDEX) == 1 + 1


def test_entry_that_changes_in_its_place_is_a_write_and_one_that_does_not_is_none() -> None:
    before = item(500, list_pk="l", list_sk="1", title="a")

    assert write_units(before, item(500, list_pk="l", list_sk="1", title="b"), INDEX) == 1 + 1
    assert write_units(before, item(600, list_pk="l", list_sk="1", title="a"), INDEX) == 1


def test_target_says_whether_it_is_reached() -> None:
    at_most = Target("local", "seconds", lambda numbers: numbers["s"], 2)
    at_least = Target("local", "ratio", lambda numbers: numbers["s"], 0.9, least=True)

    assert at_most.row({"local": {"s": 2}}) == ["seconds", "≤ 2", "2", "yes"]
    assert at_most.row({"local": {"s": 2.1}})[-1] == "**no**"
    assert at_least.row({"local": {"s": 0.9}}) == ["ratio", "≥ 0.9", "0.9", "yes"]
    assert at_least.row({"local": {"s": 0.89}})[-1] == "**no**"


def test_every_number_that_was_promised_is_measured() -> None:
    results = stored()

    assert [target.what for target in TARGETS if target.program not in results] == []


def test_new_tables_take_the_place_of_the_old_and_leave_the_rest() -> None:
    document = f"# Title\n\n{BEGIN}\nold\n{END}\n\nrest\n"

    assert with_tables(document, stored()) == f"# Title\n\n{BEGIN}\n\n{tables(stored())}\n\n{END}\n\nrest\n"


def test_document_shows_the_stored_results() -> None:
    text = DOCUMENT.read_text()

    assert with_tables(text, stored()) == text, "run `python -m benchmarks.report --tables-only`"
