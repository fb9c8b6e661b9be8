"""Server-sent events as the standard has them, from bytes in any pieces."""

import pytest

from pai.sse import EventSource, Sent


def read(*pieces: bytes) -> list[Sent]:
    return list(EventSource().read(pieces))


@pytest.mark.parametrize(
    ("sent", "events"),
    [
        (b"data: a\n\n", [Sent("message", "a")]),
        (b"event: text\ndata: a\n\n", [Sent("text", "a")]),
        (b"data: a\n\ndata: b\n\n", [Sent("message", "a"), Sent("message", "b")]),
        (b"event: text\ndata: a\n\ndata: b\n\n", [Sent("text", "a"), Sent("message", "b")]),
        (b"data: a\ndata: b\ndata\n\n", [Sent("message", "a\nb\n")]),
        (b"data:a\n\n", [Sent("message", "a")]),
        (b"data:  a: b\n\n", [Sent("message", " a: b")]),
        (b": a comment\n:\ndata: a\n: another\n\n", [Sent("message", "a")]),
        (b"strange: x\ndata: a\n\n", [Sent("message", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Sent("message", "a")]),
        (b"event: text\nid: 5\n\n", []),
        (b"\n\n\n", []),
        (b"data: a\n", []),
        (b"data: a\n\ndata: b\nid: 2", [Sent("message", "a")]),
        ("data: \u2028\u0085\x0c\n\n".encode(), [Sent("message", "\u2028\u0085\x0c")]),
        (b"data: \xff\n\n", [Sent("message", "\ufffd")]),
    ],
)
def test_events_are_what_the_standard_says(sent: bytes, events: list[Sent]) -> None:
    assert read(sent) == events


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_may_end_in_three_ways_and_pieces_anywhere(end: bytes) -> None:
    sent = "event: text\ndata: grüß\ndata: 👩‍🚀\n\n: comment\ndata: b\n\n".encode().replace(b"\n", end)
    pieces = [sent[place : place + 1] for place in range(len(sent))]
    assert read(sent) == read(*pieces) == [Sent("text", "grüß\n👩‍🚀"), Sent("message", "b")]


def test_the_last_id_is_that_of_the_last_whole_event() -> None:
    source = EventSource()
    assert [source.last_id for _ in source.read([b"id: 1\ndata: a\n\ndata: b\n\nid: 3\ndata: half"])] == ["1", "1"]
    assert source.last_id == "1"
    assert list(source.read([b"data: c\n\n"])) == [Sent("message", "c")]
    assert source.last_id == "1"


def test_an_id_may_be_taken_back_and_holds_no_null() -> None:
    source = EventSource()
    assert len(list(source.read([b"id: 1\ndata: a\n\n", b"id: 2\0\ndata: b\n\n"]))) == 2
    assert source.last_id == "1"
    assert len(list(source.read([b"id\ndata: c\n\n"]))) == 1
    assert source.last_id == ""


@pytest.mark.parametrize(
    ("line", "retry_s"),
    [(b"retry: 0\n", 0.0), (b"retry:1500\r\n", 1.5), (b"retry: soon\n", None), (b"retry: -1\n", None), (b"retry\n", None)],
)
def test_the_pause_that_is_asked_for_needs_no_event(line: bytes, retry_s: float | None) -> None:
    source = EventSource()
    assert list(source.read([line])) == []
    assert source.retry_s == retry_s
