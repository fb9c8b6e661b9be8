"""Checking what comes in, and one form for every error that goes out."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from chalicelib import errors, http, logs
from chalicelib.errors import BadRequest, ModelThrottled, PaiError, TooLarge
from chalicelib.http import Fields, Reply, Request


def request(body: bytes) -> Request:
    return Request("r1", "POST /chat", owner="me", key_id="k1", body=body)


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"1", b"\xff", b"nul", b"[" * 100_000, b'{"a": 1e999999}' + b"]"])
def test_body_that_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="body"):
        _ = request(body).fields


def test_empty_body_is_an_empty_object() -> None:
    assert request(b" \n").fields.members == {}


def test_body_over_a_megabyte_is_too_large() -> None:
    with pytest.raises(TooLarge, match="body"):
        _ = request(b" " * 1_000_001).fields


@pytest.mark.parametrize("value", [1, True, ["x"], {"x": 1}, 1.5])
def test_wrong_type_names_the_field(value: object) -> None:
    with pytest.raises(BadRequest, match="message: must be a string"):
        Fields({"message": value}).text("message", longest=10)


@pytest.mark.parametrize("members", [{}, {"message": None}])
def test_missing_field_is_named(members: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match="message: is missing"):
        Fields(members).text("message", longest=10)


def test_text_is_measured_in_characters_and_in_bytes() -> None:
    fields = Fields({"message": "ä" * 10})

    assert fields.text("message", longest=10, largest=20) == "ä" * 10
    with pytest.raises(TooLarge, match="9 characters"):
        fields.text("message", longest=9)
    with pytest.raises(TooLarge, match="19 bytes"):
        fields.text("message", longest=10, largest=19)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(BadRequest, match="message"):
        request(b'{"message": "\\ud800"}').fields.text("message", longest=10)


@pytest.mark.parametrize("value", [0, 11, -1, 5.5, "5", True, 10**40, float("nan"), float("inf")])
def test_whole_number_out_of_range_or_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(BadRequest, match="n: must be"):
        Fields({"n": value}).whole("n", least=1, most=10)


def test_whole_number_may_be_written_with_a_point() -> None:
    value = request(b'{"n": 5.0}').fields.whole("n", least=1, most=10)

    assert (value, type(value)) == (5, int)


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", False, float("nan"), float("inf")])
def test_number_out_of_range_or_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(BadRequest, match="n: must be"):
        Fields({"n": value}).number("n", least=0, most=1)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.0", "9" * 5000, "٣"])
def test_limit_of_a_list_must_be_a_number_in_range(limit: str) -> None:
    with pytest.raises(BadRequest, match="limit"):
        Request("r1", "GET /", query={"limit": limit}).parameters.whole("limit", least=1, most=100)


def test_error_becomes_its_status_code_sentence_and_retry_after() -> None:
    error = ModelThrottled("Rate limit exceeded.")
    error.details = {"conversation_id": "c1"}

    def handle(request: Request) -> Reply:
        raise error

    reply = http.answer(handle, request(b""), {})

    assert (reply.status, reply.headers) == (503, {"Retry-After": "10"})
    assert reply.body == {
        "Code": "ModelThrottled",
        "Message": "Rate limit exceeded.",
        "RequestId": "r1",
        "conversation_id": "c1",
    }


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, object]]]]:
    """The log's lines so far, as they are written."""
    logs.configure()
    written: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(logs.log.handlers[0].format(record)))

    keep = Keep()
    logs.log.addHandler(keep)
    yield lambda: written
    logs.log.removeHandler(keep)


def test_defect_is_a_500_without_its_text_and_the_log_says_where(lines: Callable[[], list[dict[str, object]]]) -> None:
    def handle(request: Request) -> Reply:
        raise KeyError("something secret")

    reply = http.answer(handle, request(b""), {})

    assert (reply.status, reply.body["Code"]) == (500, "InternalError")
    assert "secret" not in reply.text + json.dumps(lines())
    assert "test_http.py" in json.dumps(lines())


def test_each_request_is_one_line_with_ids_and_numbers(lines: Callable[[], list[dict[str, object]]]) -> None:
    http.answer(lambda request: Reply({}, log={"output_tokens": 3}), request(b""), {})

    line = lines()[0]

    assert {name: line[name] for name in ("request_id", "route", "status", "key_id", "output_tokens")} == {
        "request_id": "r1",
        "route": "POST /chat",
        "status": 200,
        "key_id": "k1",
        "output_tokens": 3,
    }
    assert isinstance(line["duration_ms"], float)


def every_error(kind: type[PaiError] = PaiError) -> list[type[PaiError]]:
    return [kind, *(error for child in kind.__subclasses__() for error in every_error(child))]


def test_tree_in_the_docstring_is_the_tree_of_errors() -> None:
    """The drawing names every class once, with its status, indented under its parent."""
    drawn: dict[str, tuple[int, str]] = {}
    parents: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        name, _, status = line.lstrip(" │├└─").partition(" ")
        depth = len(line) - len(line.lstrip(" │├└─"))
        if not name or name == "Every" or not hasattr(errors, name):
            continue
        parents = [(at, parent) for at, parent in parents if at < depth]
        drawn[name] = (int(status.split()[0]) if status.strip() else 500, parents[-1][1] if parents else "Exception")
        parents.append((depth, name))

    assert drawn == {error.__name__: (error.status, error.__mro__[1].__name__) for error in every_error()}
