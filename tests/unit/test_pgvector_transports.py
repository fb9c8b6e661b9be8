"""What both transports to PostgreSQL are made of: statements with named parameters, halfvec's forms, patience."""

import struct
import time
from array import array

import pytest

from chalicelib.patience import patience, patience_left
from chalicelib.retriever.pgvector import halfvec
from chalicelib.retriever.pgvector.statements import check_names, for_psycopg, parameter_names


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT :a, :b_2 + :a", {"a", "b_2"}),
        ("SELECT :a::int, b::text, 'x'::halfvec(3)", {"a"}),
        ("SELECT ':no', E'it\\'s :no', 'it''s :no', \":no\"", set()),
        ("SELECT $$ :no $$, $tag$ :no $$ :no $tag$, :yes", {"yes"}),
        ("SELECT 1 -- :no\n, /* :no\n */ :yes", {"yes"}),
        ("SELECT name'' :yes, $1, a$b$ :c", {"yes", "c"}),
        ("SELECT 'Grüße', :größe", {"größe"}),
        ("", set()),
    ],
)
def test_parameters_are_told_from_what_looks_like_them(sql: str, names: set[str]) -> None:
    assert parameter_names(sql) == names


def test_statement_is_put_as_psycopg_takes_it() -> None:
    sql = "SELECT ':a %', :a::int, :b LIKE '100%' -- %s"

    assert for_psycopg(sql) == "SELECT ':a %%', %(a)s::int, %(b)s LIKE '100%%' -- %%s"


@pytest.mark.parametrize(("given", "named"), [({"a"}, "b"), ({"a", "b", "c"}, "c"), (set(), "a, b")])
def test_missing_and_superfluous_parameters_are_named(given: set[str], named: str) -> None:
    with pytest.raises(ValueError, match=f": {named}$"):
        check_names("SELECT :a, :b", given)


def test_every_way_to_encode_a_vector_gives_the_same_bytes() -> None:
    vector = array("f", [0.0, -0.0, 1.0, 0.1, -0.333, 65504.0, 6e-8, 1e-5, 2049.0, 2051.0])

    encoded = halfvec.to_binary(vector)

    assert encoded == struct.pack(">hh10e", 10, 0, *vector)
    assert halfvec.bulk_encoder()(vector) == encoded


def test_text_of_a_vector_tells_apart_what_its_type_can() -> None:
    every = [value for value in _all_halves() if abs(value) < 65504.0]

    text = halfvec.to_text(array("f", every))

    assert [_half(float(number)) for number in text[1:-1].split(",")] == every


def test_patience_ends_with_its_block() -> None:
    with patience(5):
        assert 4 < patience_left() <= 5
        with patience(1):
            assert patience_left() <= 1
        assert patience_left() > 4

    assert patience_left() == 60


def test_patience_that_is_used_up_is_none() -> None:
    with patience(0.001):
        time.sleep(0.002)
        assert patience_left() == 0


def _all_halves() -> list[float]:
    """Every positive value of the type."""
    return [_unpacked(bits) for bits in range(0x7C00)]


def _unpacked(bits: int) -> float:
    [value] = struct.unpack(">e", bits.to_bytes(2, "big"))
    return float(value)


def _half(value: float) -> float:
    [rounded] = struct.unpack(">e", struct.pack(">e", value))
    return float(rounded)


def test_patience_within_patience_is_no_longer_than_it() -> None:
    with patience(2), patience(8):
        assert patience_left() <= 2
