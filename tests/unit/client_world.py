"""A deployment that answers a client by a list, for tests to look at what it was asked."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest

from pai.client import Client
from pai.client.errors import ClientError
from pai.client.patience import OnWait
from pai.client.turns import Done, Question
from pai.client.wire import ChatReply

KEY = "pai_secret_0123456789"
REPLY = {"conversation_id": "c1", "message": "Hello.", "usage": {"input_tokens": 1, "output_tokens": 2}, "model": "echo"}

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
