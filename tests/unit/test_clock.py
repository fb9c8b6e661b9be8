"""Times as PAI writes and reads them."""

import pytest

from chalicelib import clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000, "2027-01-15T08:00:00.000Z"),
        (1_800_000_000.25, "2027-01-15T08:00:00.250Z"),
        (1.9996, "1970-01-01T00:00:01.999Z"),
        (-0.5, "1969-12-31T23:59:59.500Z"),
    ],
)
def test_a_time_has_milliseconds_and_ends_in_z(seconds: float, text: str) -> None:
    assert clock.iso(seconds) == text


def test_times_sort_as_their_texts_do() -> None:
    times = [0.0, 0.001, 0.999, 1.0, 59.5, 999_999_999.0, 1_000_000_000.0]
    assert sorted(clock.iso(time) for time in times) == [clock.iso(time) for time in times]


@pytest.mark.parametrize("text", ["2027-01-15T08:00:00.250Z", "1970-01-01T00:00:00.001Z", "9999-12-31T23:59:59.000Z"])
def test_a_time_read_and_written_again_is_the_same(text: str) -> None:
    assert clock.iso(clock.seconds(text)) == text


@pytest.mark.parametrize("text", ["2027-01-15T08:00:00Z", "2027-01-15T09:00:00+01:00", "2027-01-15T08:00:00.000000+00:00"])
def test_other_ways_to_write_a_time_are_read(text: str) -> None:
    assert clock.seconds(text) == 1_800_000_000


@pytest.mark.parametrize("text", ["", "yesterday", "2027-01-15", "2027-01-15T08:00:00", "2027-13-15T08:00:00Z"])
def test_what_is_no_time_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        clock.seconds(text)
