"""Requests of the client: what goes out with them, what is made of answers and of failures, and when they are made again."""

import json
from collections.abc import Callable

import httpx
import pytest

from pai.client import Client
from pai.client.errors import ClientError
from pai.client.patience import MOST_TRIES, PATIENCE_S, pause_before_retry
from pai.client.turns import Question
from tests.unit.client_world import KEY, REPLY, Server, answer_to, ask, client_of, error_from, refusal


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/chat"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/chat"),
        ("https://x.amazonaws.com/api", "https://x.amazonaws.com/api/chat"),
        ("https://x.amazonaws.com/api/", "https://x.amazonaws.com/api/chat"),
    ],
)
def test_an_address_works_with_and_without_prefix_and_slash(address: str, url: str) -> None:
    server = Server()
    with client_of(server, address) as client:
        answer_to(client, Question("Hi"))
    assert str(server.requests[0].url) == url


def test_a_question_carries_what_was_given_and_nothing_else() -> None:
    server = Server()
    with client_of(server) as client:
        reply = answer_to(client, Question("Hi", conversation_id="c1", temperature=0.0))
    assert reply["message"] == "Hello."
    assert json.loads(server.requests[0].content) == {"message": "Hi", "conversation_id": "c1", "temperature": 0.0}


def test_the_key_goes_into_its_header_and_nowhere_else() -> None:
    server = Server([httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'")])
    client = client_of(server)
    with pytest.raises(ClientError) as caught:
        client.health()
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__} {client!r} {vars(caught.value)}"
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in shown


def test_without_a_key_there_is_no_authorization() -> None:
    server = Server([httpx.Response(200, json={"status": "ok"})])
    with client_of(server, key=None) as client:
        client.health()
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    "refused",
    [
        refusal(503, retry_after="0", Code="ModelThrottled", Message="Busy."),
        refusal(409, retry_after="0", Code="TurnRunning", Message="Being answered."),
        refusal(429, retry_after="0", Code="TooManyRequests", Message="Slowly."),
    ],
)
def test_a_question_that_may_be_asked_again_is_the_same_question(refused: httpx.Response) -> None:
    server = Server([refused, httpx.Response(200, json=REPLY)])
    waits: list[tuple[float, str]] = []
    with client_of(server) as client:
        question = Question("Hi")
        reply = answer_to(client, question, lambda pause_s, error: waits.append((pause_s, error.code)))
    first, second = server.requests
    assert reply["message"] == "Hello."
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == question.idempotency_key
    assert first.content == second.content
    assert waits == [(0.0, refused.json()["Code"])]


def test_two_questions_are_two() -> None:
    assert Question("Hi").idempotency_key != Question("Hi").idempotency_key


@pytest.mark.parametrize("error", [httpx.ReadError("reset"), httpx.RemoteProtocolError("gone")])
def test_a_broken_connection_may_be_taken_up_again(error: Exception) -> None:
    broken = error_from(Server([error]), lambda client: client.health())
    assert (broken.code, broken.status) == ("Interrupted", None)
    assert pause_before_retry(broken, tries=1, waited_s=0) == 1


def test_a_server_that_stays_busy_is_given_up() -> None:
    server = Server([refusal(503, retry_after="0", Code="ModelThrottled", Message="Busy.")])
    error = error_from(server, ask)
    assert error.code == "ModelThrottled"
    assert len(server.requests) == MOST_TRIES


@pytest.mark.parametrize(
    ("retry_after_s", "waited_s", "pause_s"),
    [(5, 0, 5), (5, PATIENCE_S - 5, 5), (5, PATIENCE_S - 4, None), (3600, 0, None), (None, 0, None)],
)
def test_waiting_is_bounded(retry_after_s: float | None, waited_s: float, pause_s: float | None) -> None:
    error = ClientError("Busy", "Busy.", status=503, retry_after_s=retry_after_s)
    assert pause_before_retry(error, tries=1, waited_s=waited_s) == pause_s


@pytest.mark.parametrize(
    "refused",
    [
        refusal(503, Code="ModelRejected", Message="No."),
        refusal(503, retry_after="soon", Code="ModelRejected", Message="No."),
        refusal(400, Code="BadRequest", Message="message: is missing"),
        refusal(403, Code="Forbidden", Message="No."),
    ],
)
def test_what_asking_again_does_not_help_is_asked_once(refused: httpx.Response) -> None:
    server = Server([refused])
    error = error_from(server, ask)
    assert error.retry_after_s is None
    assert len(server.requests) == 1


def test_an_error_says_what_the_server_said() -> None:
    body = {"Code": "ModelQuotaSpent", "Message": "Used up.", "RequestId": "r1", "conversation_id": "c1"}
    error = error_from(Server([refusal(503, retry_after="3600", **body)]), ask)
    assert (error.code, error.message, error.status) == ("ModelQuotaSpent", "Used up.", 503)
    assert (error.request_id, error.retry_after_s, error.details) == ("r1", 3600, {"conversation_id": "c1"})


@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        (httpx.Response(401, json={"message": "Unauthorized"}), "Http401", "Unauthorized"),
        (httpx.Response(403, json={"Message": "User is not authorized"}), "Http403", "User is not authorized"),
        (
            httpx.Response(403, json={"message": "Forbidden"}, headers={"x-amzn-ErrorType": "ForbiddenException"}),
            "ForbiddenException",
            "Forbidden",
        ),
        (
            httpx.Response(403, json={"message": "Missing Authentication Token"}),
            "RouteNotFound",
            "There is no PAI at this address. Does its end, such as /api, lack?",
        ),
        (httpx.Response(500, text="<html>"), "Http500", "The server refused with status 500 and said nothing more."),
        (httpx.Response(500, json=["?"]), "Http500", "The server refused with status 500 and said nothing more."),
        (httpx.Response(500, json={"Message": 5}), "Http500", "The server refused with status 500 and said nothing more."),
    ],
)
def test_a_gateways_own_errors_are_understood(response: httpx.Response, code: str, message: str) -> None:
    error = error_from(Server([response]), lambda client: client.models())
    assert (error.code, error.message) == (code, message)


def test_a_gateway_that_lost_patience_may_be_asked_again() -> None:
    error = error_from(Server([refusal(504, message="Endpoint request timed out")]), lambda client: client.models())
    assert error.retry_after_s == 2


def test_a_redirect_is_not_followed_with_the_key() -> None:
    server = Server([httpx.Response(301, headers={"Location": "https://elsewhere.example/"})])
    error = error_from(server, ask)
    assert "https://elsewhere.example/" in error.message
    assert len(server.requests) == 1


@pytest.mark.parametrize("response", [httpx.Response(200, text="<html>Hello</html>"), httpx.Response(200, json={"ok": True})])
def test_another_kind_of_server_is_recognised(response: httpx.Response) -> None:
    assert error_from(Server([response]), ask).code == "NotPai"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:8000", "Start it with `make run` or `pai run`."),
        ("https://x.amazonaws.com/api", "(no such host). Check the address"),
    ],
)
def test_an_address_where_nothing_answers_says_what_to_do(address: str, words: str) -> None:
    server = Server([httpx.ConnectError("no such host")])
    with client_of(server, address) as client, pytest.raises(ClientError, match="Nothing answers") as caught:
        answer_to(client, Question("Hi"))
    assert words in caught.value.message
    assert len(server.requests) == 1


def test_a_server_that_never_answers_is_not_asked_again() -> None:
    server = Server([httpx.ReadTimeout("slow")])
    assert error_from(server, ask).code == "TimedOut"
    assert len(server.requests) == 1


@pytest.mark.parametrize("question", [Question("\udcff"), Question("Hi", temperature=float("nan"))])
def test_what_json_cannot_carry_is_refused_with_a_sentence(question: Question) -> None:
    error = error_from(Server(), lambda client: answer_to(client, question))
    assert (error.code, error.status) == ("BadRequest", 400)


@pytest.mark.parametrize(
    ("call", "request_line", "body"),
    [
        (lambda client: client.create_conversation(user_id="u"), "POST /conversations", {"user_id": "u"}),
        (lambda client: client.change_conversation("c1", title="T"), "PATCH /conversations/c1", {"title": "T"}),
        (lambda client: client.delete_conversation("c1"), "DELETE /conversations/c1", None),
        (lambda client: client.health(), "GET /health", None),
        (lambda client: client.models(), "GET /models", None),
    ],
)
def test_each_route_has_its_method(call: Callable[[Client], object], request_line: str, body: object) -> None:
    server = Server([httpx.Response(200, json={"conversation_id": "c1", "items": []})])
    with client_of(server) as client:
        call(client)
    (request,) = server.requests
    assert f"{request.method} {request.url.path}" == request_line
    assert (json.loads(request.content) if request.content else None) == body


def test_the_health_of_the_parts_is_told_also_when_one_fails() -> None:
    report = {"status": "failing", "version": "1", "parts": {"llm": {"ok": False}}}
    with client_of(Server([httpx.Response(503, json=report)])) as client:
        assert client.health_deep() == report


def test_a_server_that_is_down_has_no_health() -> None:
    error = error_from(Server([refusal(503, message="Service Unavailable")]), lambda client: client.health_deep())
    assert error.status == 503
