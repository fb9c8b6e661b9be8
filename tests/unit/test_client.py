"""The HTTP client: what it sends, what it makes of answers and of failures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from pai.client import MOST_TRIES, PATIENCE_S, ChatReply, Client, ClientError, Done, OnWait, Question, pause_before_retry

KEY = "pai_secret_0123456789"
REPLY = {"conversation_id": "c1", "message": "Hello.", "usage": {"input_tokens": 1, "output_tokens": 2}, "model": "echo"}
LISTED = {
    "conversation_id": "c1",
    "title": "t",
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:00.000Z",
}

Answer = httpx.Response | Exception


@dataclass
class Server:
    """Answers in order, then goes on with the last answer; keeps the requests it saw."""

    answers: list[Answer] = field(default_factory=lambda: [httpx.Response(200, json=REPLY)])
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def client_of(server: Server, address: str = "http://127.0.0.1:8000", key: str | None = KEY) -> Client:
    return Client(address, key, transport=httpx.MockTransport(server))


def refusal(status: int, *, retry_after: str | None = None, **body: str) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json=body, headers=headers)


def error_from(server: Server, call: Callable[[Client], object]) -> ClientError:
    with client_of(server) as client, pytest.raises(ClientError) as caught:
        call(client)
    return caught.value


def ask(client: Client) -> ChatReply:
    return answer_to(client, Question("Hi"))


def answer_to(client: Client, question: Question, on_wait: OnWait | None = None) -> ChatReply:
    *_, last = client.stream(question, on_wait)
    assert isinstance(last, Done)
    return last.reply


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


def page(count: int, cursor: str | None, first: int = 0) -> httpx.Response:
    items = [LISTED | {"conversation_id": f"c{number}"} for number in range(first, first + count)]
    return httpx.Response(200, json={"items": items, "next_cursor": cursor})


def test_a_list_goes_on_through_empty_pages_until_it_has_enough() -> None:
    server = Server([page(100, "a"), page(0, "b"), page(20, "c", first=100)])
    with client_of(server) as client:
        listing = client.conversations(q="x", limit=120)
    assert [item["conversation_id"] for item in listing["items"]] == [f"c{number}" for number in range(120)]
    assert listing["next_cursor"] == "c"
    queries = [dict(request.url.params) for request in server.requests]
    assert queries == [
        {"q": "x", "limit": "100"},
        {"q": "x", "limit": "20", "cursor": "a"},
        {"q": "x", "limit": "20", "cursor": "b"},
    ]


@pytest.mark.parametrize(
    ("beginning", "code"), [("c9", None), ("c", "AmbiguousId"), ("z", "ConversationNotFound"), ("", "ConversationNotFound")]
)
def test_the_beginning_of_an_id_is_enough(beginning: str, code: str | None) -> None:
    server = Server([page(10, None)])
    if code is None:
        with client_of(server) as client:
            assert client.full_id(beginning) == "c9"
    else:
        assert error_from(server, lambda client: client.full_id(beginning)).code == code


def test_a_whole_id_is_taken_as_it_is() -> None:
    server = Server()
    with client_of(server) as client:
        assert client.full_id("3f0c9a52-54f3-4c62-9d2c-2f2f9a3f7a10") == "3f0c9a52-54f3-4c62-9d2c-2f2f9a3f7a10"
    assert not server.requests


def part(*contents: str, cursor: str | None) -> httpx.Response:
    messages = [{"role": "user", "content": content, "timestamp": "t"} for content in contents]
    return httpx.Response(200, json=LISTED | {"messages": messages, "next_cursor": cursor})


def contents_of(conversation: Any) -> list[str]:
    return [message["content"] for message in conversation["messages"]]


def test_a_long_conversation_is_put_together_from_its_pages() -> None:
    server = Server([part("three", "four", cursor="a"), part("one", "two", cursor=None)])
    with client_of(server) as client:
        whole = client.conversation("c1")
    assert contents_of(whole) == ["one", "two", "three", "four"]
    assert whole["next_cursor"] is None


def test_the_newest_messages_are_one_page() -> None:
    server = Server([part("three", "four", cursor="a")])
    with client_of(server) as client:
        assert contents_of(client.conversation("c1", newest=2)) == ["three", "four"]
    assert dict(server.requests[0].url.params) == {"limit": "2"}


def test_a_long_export_is_put_together_from_its_pages() -> None:
    server = Server([part("one", cursor="a"), part("two", cursor=None)])
    with client_of(server) as client:
        assert contents_of(json.loads(client.export_conversation("c1", "json"))) == ["one", "two"]
    assert dict(server.requests[1].url.params) == {"format": "json", "cursor": "a"}


def test_a_long_markdown_export_is_put_together_from_its_pages() -> None:
    server = Server([httpx.Response(200, text="one\n", headers={"X-Next-Cursor": "a"}), httpx.Response(200, text="two\n")])
    with client_of(server) as client:
        assert client.export_conversation("c1", "markdown") == "one\n\ntwo\n"


@pytest.mark.parametrize("conversation_id", ["..", "../keys", "a/b", "a?b", "a#b", "ä"])
def test_a_strange_id_stays_one_name_in_the_path(conversation_id: str) -> None:
    server = Server([part(cursor=None)])
    with client_of(server) as client:
        client.conversation(conversation_id)
    path = server.requests[0].url.raw_path.decode()
    assert path.startswith("/conversations/")
    assert path.count("/") == 2
    assert ".." not in path


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


# Documents

DOCUMENT = {"document_id": "D1", "name": "lease.pdf", "state": "ready"}


def test_an_upload_is_announced_with_its_name_type_and_size() -> None:
    place = {"document_id": "D1", "upload": {"url": "https://bucket/", "method": "POST"}, "expires_at": "t"}
    server = Server([httpx.Response(201, json=place)])
    with client_of(server) as client:
        assert client.begin_upload("lease.pdf", "application/pdf", 12) == place
    body = json.loads(server.requests[0].content)
    assert body == {"filename": "lease.pdf", "content_type": "application/pdf", "bytes": 12}


def test_a_list_of_documents_goes_on_over_its_pages() -> None:
    pages = [{"items": [DOCUMENT] * 100, "next_cursor": "a"}, {"items": [DOCUMENT] * 5, "next_cursor": None}]
    server = Server([httpx.Response(200, json=page) for page in pages])
    with client_of(server) as client:
        assert len(client.documents(limit=150)["items"]) == 105
    assert [dict(request.url.params) for request in server.requests] == [{"limit": "100"}, {"limit": "50", "cursor": "a"}]


def test_an_id_of_a_document_can_not_lead_elsewhere() -> None:
    server = Server([httpx.Response(200, json=DOCUMENT)])
    with client_of(server) as client:
        client.document("../conversations")
    assert server.requests[0].url.raw_path == b"/documents/%2E%2E%2Fconversations"


@pytest.mark.parametrize(
    ("refused", "call"),
    [
        (
            refusal(503, retry_after="0", Code="LibraryWaking", Message="It wakes."),
            lambda client: client.search("pets", on_wait=lambda pause_s, error: None),
        ),
        (
            refusal(409, retry_after="0", Code="DocumentBusy", Message="It is read."),
            lambda client: client.delete_document("D1"),
        ),
    ],
)
def test_a_library_that_wakes_or_works_is_waited_for(refused: httpx.Response, call: Callable[[Client], object]) -> None:
    server = Server([refused, httpx.Response(200, json={"passages": []})])
    with client_of(server) as client:
        assert call(client) == {"passages": []}
    assert len(server.requests) == 2


def test_a_search_says_only_what_was_given() -> None:
    server = Server([httpx.Response(200, json={"passages": []})])
    with client_of(server) as client:
        client.search("pets")
        client.search("pets", top_k=3, documents=["D1"])
    assert [json.loads(request.content) for request in server.requests] == [
        {"query": "pets"},
        {"query": "pets", "top_k": 3, "documents": ["D1"]},
    ]
