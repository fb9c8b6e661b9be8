"""OpenAI's API over HTTP: answers whole and streamed, from models and documents, counted and never stored."""

import base64
import json
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from chalice.config import Config
from chalice.local import LocalGateway

import app as product
from chalicelib.clock import iso
from chalicelib.errors import ModelInterrupted, ModelThrottled, UnknownModel
from chalicelib.llm import Finish, Text, ToolCall
from chalicelib.metering.ledger import Ledger
from chalicelib.records import Usage
from pai.local.gateway import Gateway
from tests.integration.conftest import SCRIPTED, Api, served
from tests.integration.test_answers import LEASE, PETS, add
from tests.standins.scripted import fails, says

WAIT_S = 10
"""How long to wait for what is to happen at once: only a failing test waits that long."""
CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
ANSWER = "The tenant may keep one small dog with written consent."


@pytest.fixture
def you(memory_api: Api) -> Iterator[httpx.Client]:
    """A client of the product in memory."""
    with memory_api.client("me") as client:
        yield client


@pytest.fixture
def reader(library_api: Api) -> Iterator[httpx.Client]:
    with library_api.client("me") as client:
        yield client


def held(api: Api) -> httpx.Client:
    """A client of the same product behind Chalice's own gateway, which can't stream, as API Gateway can't."""
    gateway = LocalGateway(product.app, Config(chalice_stage="local"))

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        reply: Any = gateway.handle_request(request.method, path, dict(request.headers), request.content)
        headers = {**reply["headers"], **{name: values[0] for name, values in reply["multiValueHeaders"].items()}}
        return httpx.Response(reply["statusCode"], headers=headers, text=reply["body"])

    token = {"Authorization": f"Bearer {api.key('me')[1]}"}
    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://held", headers=token)


def events(response: httpx.Response) -> list[Any]:
    """What a stream sent: each event's JSON, and `[DONE]`."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk != "[DONE]")


def counted(api: Api) -> list[tuple[str, str, int]]:
    """The owners, models and tokens that are counted."""
    days = Ledger(api.parts.store, time.time).days(iso(time.time())[:7])
    return [(line.owner, line.model, line.usage.output_tokens) for day in days for line in day.lines()]


def test_completion_is_answered_counted_and_not_stored(me: httpx.Client, api: Api) -> None:
    whole = me.post(CHAT, json={"model": "scripted", "messages": HI, "temperature": 1.5, "user": "anna"})
    streamed = me.post(CHAT, json={"model": "scripted", "messages": HI, "stream": True})

    assert whole.status_code == streamed.status_code == 200
    assert whole.json()["choices"][0]["message"]["content"] == text(events(streamed)) == "Hello there."
    assert whole.json()["usage"]["total_tokens"] == 12
    assert whole.headers["x-request-id"]
    assert api.llm.requests[0].temperature == 1
    assert me.get("/conversations").json()["items"] == []
    assert counted(api) == [("me", "scripted", 4)]


def test_models_are_listed_and_shown(me: httpx.Client) -> None:
    listed = me.get("/v1/models").json()

    assert [(model["id"], model["owned_by"]) for model in listed["data"]] == [("pai", "pai"), ("scripted", "scripted")]
    assert me.get("/v1/models/pai").json() == listed["data"][0]
    for name in ("gpt-5", "a%2Fb", "us.claude:0"):
        missing = me.get(f"/v1/models/{name}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_words_are_sent_as_they_come_and_the_first_event_before_there_are_any(memory_api: Api) -> None:
    begun, one_was_read = threading.Event(), threading.Event()

    def slow() -> Iterator[Text | Finish]:
        yield Text("one" if begun.wait(WAIT_S) else "late")
        yield Text(" two" if one_was_read.wait(WAIT_S) else " late")
        yield Finish(Usage(1, 2), "end", "scripted")

    memory_api.llm.acts = [lambda request: slow()]
    body = {"model": "scripted", "messages": HI, "stream": True}
    with memory_api.client("me") as client, client.stream("POST", CHAT, json=body) as response:
        lines = response.iter_lines()
        role = next(lines)
        begun.set()
        words = next(line for line in lines if "one" in line)
        one_was_read.set()
        rest = "".join(lines)

    assert '"role":"assistant"' in role
    assert '"content":"one"' in words
    assert '"content":" two"' in rest
    assert rest.endswith("data: [DONE]")


def test_client_that_goes_away_ends_the_model_and_pays_for_what_it_heard(memory_api: Api) -> None:
    gone = threading.Event()

    def endless() -> Iterator[Text | Finish]:
        while True:
            yield Text("word ")
            gone.wait(0.01)

    memory_api.llm.acts = [lambda request: endless()]
    body = {"model": "scripted", "messages": HI, "stream": True}
    with memory_api.client("me") as client, client.stream("POST", CHAT, json=body) as response:
        next(response.iter_lines())
    gone.set()

    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and not (memory_api.llm.closed and counted(memory_api)):
        time.sleep(0.01)
    assert memory_api.llm.closed == 1
    [(owner, model, tokens)] = counted(memory_api)
    assert (owner, model) == ("me", "scripted")
    assert tokens > 0


def test_tools_go_through_both_ways(you: httpx.Client, memory_api: Api) -> None:
    call = ToolCall("c1", "add", '{"a": 1, "b": 2}')
    memory_api.llm.acts = [lambda request: [call, Finish(Usage(3, 3), "tool_use", "scripted")]]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    body = {"model": "pai", "messages": HI, "tools": [tool], "tool_choice": "required"}

    whole = you.post(CHAT, json=body).json()["choices"][0]
    streamed = events(you.post(CHAT, json={**body, "stream": True}))
    memory_api.llm.acts = [says("It is 3.")]
    result = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    last = you.post(CHAT, json={**body, "messages": [*HI, whole["message"], result]}).json()

    assert (whole["finish_reason"], whole["message"]["content"]) == ("tool_calls", None)
    [called] = whole["message"]["tool_calls"]
    assert called == {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    assert streamed[1]["choices"][0]["delta"] == {"tool_calls": [{"index": 0, **called}]}
    assert streamed[2]["choices"][0]["finish_reason"] == "tool_calls"
    assert last["choices"][0]["message"]["content"] == "It is 3."
    asked = memory_api.llm.requests[-1]
    assert (asked.messages[1].tool_calls, asked.messages[2].tool_results[0].text) == ((call,), "3")
    assert asked.tool_choice == "required"


def test_pai_answers_from_documents_with_marks_and_citations(reader: httpx.Client, library_api: Api) -> None:
    document_id = add(library_api, "lease.pdf", *LEASE)
    library_api.llm.acts = [says("The tenant may keep", " one small dog", " with written consent [2].")]
    body = {"model": "pai", "messages": [{"role": "user", "content": PETS}]}

    message = reader.post(CHAT, json=body).json()["choices"][0]["message"]
    chunks = events(reader.post(CHAT, json={**body, "stream": True}))
    last = chunks[-2]["choices"][0]["delta"]

    assert message["content"] == last["marked_content"] == f"{ANSWER[:-1]} [1]."
    assert text(chunks) == ANSWER
    assert message["citations"] == last["citations"]
    [citation] = message["citations"]
    assert (citation["document_id"], citation["quote"], citation["page"]) == (document_id, LEASE[0], 1)
    assert LEASE[0] in library_api.llm.requests[-1].messages[-1].text


def test_other_models_and_other_owners_see_nothing_of_documents(reader: httpx.Client, library_api: Api) -> None:
    add(library_api, "lease.pdf", *LEASE)
    body = {"model": "scripted", "messages": [{"role": "user", "content": PETS}]}

    plain = reader.post(CHAT, json=body).json()["choices"][0]["message"]
    with library_api.client("you") as other:
        others = other.post(CHAT, json={**body, "model": "pai"}).json()["choices"][0]["message"]

    assert "citations" not in plain
    assert others["citations"] == []
    assert [request.messages[-1].text for request in library_api.llm.requests] == [PETS, PETS]


def test_failure_before_the_first_word_has_a_status_and_one_later_is_the_last_event(
    you: httpx.Client, memory_api: Api
) -> None:
    memory_api.llm.acts = [fails(ModelThrottled("Not so fast."))]
    body = {"model": "scripted", "messages": HI}
    for failed in (you.post(CHAT, json=body), you.post(CHAT, json={**body, "stream": True})):
        assert (failed.status_code, failed.headers["retry-after"]) == (503, "10")
        assert failed.json()["error"] == {
            "message": "Not so fast.",
            "type": "server_error",
            "param": None,
            "code": "ModelThrottled",
        }

    memory_api.llm.acts = [fails(ModelInterrupted("It broke off."), after=["Well"])]
    assert you.post(CHAT, json=body).status_code == 503
    chunks = events(you.post(CHAT, json={**body, "stream": True}))
    assert text(chunks[:-1]) == "Well"
    assert chunks[-1]["error"]["code"] == "ModelInterrupted"


@pytest.mark.parametrize("stream", [False, True])
def test_unknown_model_is_404_as_openai_says_it(you: httpx.Client, memory_api: Api, stream: bool) -> None:
    memory_api.llm.acts = [fails(UnknownModel("'gpt-5' is not one of this deployment's models: scripted."))]

    failed = you.post(CHAT, json={"model": "gpt-5", "messages": HI, "stream": stream})

    assert failed.status_code == 404
    assert failed.json()["error"] == {
        "message": "model: 'gpt-5' is not one of this deployment's models: scripted.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_image_is_refused_by_its_place(you: httpx.Client) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}]

    refused = you.post(CHAT, json={"model": "pai", "messages": [{"role": "user", "content": parts}]})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages[0].content[1]"


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'"x"', b"\xff", b" " * 999_999])
def test_body_that_is_none_is_refused_in_openais_form(you: httpx.Client, body: bytes) -> None:
    for path in (CHAT, "/v1/embeddings"):
        refused = you.post(path, content=body)
        assert refused.json()["error"]["type"] == "invalid_request_error"
        assert refused.status_code in (400, 404)


def test_spent_budget_is_an_insufficient_quota_that_is_not_asked_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(gateway, {**SCRIPTED, "PAI_BUDGET": "day-tokens=2000"}, monkeypatch) as api, api.client("me") as client:
        for stream in (False, True):
            wish = {"model": "scripted", "messages": HI, "stream": stream, "max_tokens": 3000}
            refused = client.post(CHAT, json=wish)
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == refused.json()["error"]["type"] == "insufficient_quota"
            assert int(refused.headers["retry-after"]) > 0
        assert api.llm.requests == []
        assert client.post(CHAT, json={"model": "scripted", "messages": HI, "max_tokens": 5}).status_code == 200


# Where nothing can be streamed


def test_stream_comes_in_one_piece_where_it_must(memory_api: Api) -> None:
    body = {"model": "pai", "messages": HI, "stream": True, "stream_options": {"include_usage": True}}

    with held(memory_api) as client:
        chunks = events(client.post(CHAT, json=body))
        memory_api.llm.acts = [fails(ModelThrottled("Not so fast."))]
        failed = client.post(CHAT, json=body)

    assert text(chunks[:-2]) == "Hello there."
    assert (chunks[-2]["usage"]["total_tokens"], chunks[-1]) == (12, "[DONE]")
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "ModelThrottled")


@pytest.mark.parametrize("stream", [False, True])
def test_answer_is_there_before_api_gateway_hangs_up(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    with served(gateway, {**SCRIPTED, "PAI_DEADLINE_S": "100"}, monkeypatch) as api, held(api) as client:
        client.post(CHAT, json={"model": "scripted", "messages": HI, "stream": stream})

        assert 20 < api.llm.requests[0].timeout_s <= 25


@pytest.mark.parametrize("stream", [False, True])
def test_answer_that_takes_too_long_ends_for_its_length(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    def slow() -> Iterator[Text]:
        while True:
            yield Text("word ")
            time.sleep(0.05)

    environment = {**SCRIPTED, "PAI_DEADLINE_S": "0.2"}
    with served(gateway, environment, monkeypatch) as api, held(api) as client:
        api.llm.acts = [lambda request: slow()]
        reply = client.post(CHAT, json={"model": "scripted", "messages": HI, "stream": stream})

        choice = events(reply)[-2]["choices"][0] if stream else reply.json()["choices"][0]
        assert choice["finish_reason"] == "length"
        assert "word" in reply.text
        assert api.llm.closed == 1


def test_stream_may_take_longer_than_an_answer_that_is_waited_for(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> Iterator[Text | Finish]:
        yield Text("one")
        time.sleep(0.05)
        yield from (Text(" two"), Finish(Usage(1, 2), "end", "scripted"))

    environment = {**SCRIPTED, "PAI_DEADLINE_S": "0.02", "PAI_WORKER_DEADLINE_S": "60"}
    with served(gateway, environment, monkeypatch) as api, api.client("me") as client:
        api.llm.acts = [lambda request: slow()]
        body = {"model": "scripted", "messages": HI}
        whole, streamed = client.post(CHAT, json=body), client.post(CHAT, json={**body, "stream": True})

    assert whole.json()["choices"][0]["finish_reason"] == "length"
    assert text(events(streamed)[:-1]) == "one two"
    assert events(streamed)[-2]["choices"][0]["finish_reason"] == "stop"


# Vectors


def test_vectors_are_those_of_the_deployments_embedder_and_counted(reader: httpx.Client, library_api: Api) -> None:
    body = {"model": "hashed", "input": ["a small dog", "the rent"]}

    numbers = reader.post("/v1/embeddings", json=body).json()
    in_bytes = reader.post("/v1/embeddings", json={**body, "input": "a small dog", "encoding_format": "base64"}).json()

    [vector] = library_api.parts.embedder.embed(["a small dog"], "passage")
    assert numbers["data"][0]["embedding"] == list(vector)
    assert struct.unpack(f"<{len(vector)}f", base64.b64decode(in_bytes["data"][0]["embedding"])) == tuple(vector)
    assert numbers["usage"]["prompt_tokens"] > in_bytes["usage"]["prompt_tokens"] > 0
    assert [(owner, model) for owner, model, _ in counted(library_api)] == [("me", "hashed")]
    assert "hashed" in [model["id"] for model in reader.get("/v1/models").json()["data"]]


def test_embeddings_without_documents_say_how_to_turn_them_on(you: httpx.Client) -> None:
    refused = you.post("/v1/embeddings", json={"model": "hashed", "input": "a"})

    assert refused.status_code == 404
    assert "PAI_RETRIEVER" in refused.json()["error"]["message"]


def test_tokens_and_other_models_are_refused(reader: httpx.Client) -> None:
    tokens = reader.post("/v1/embeddings", json={"model": "hashed", "input": [[1, 2], [3]]})
    other = reader.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "a"})

    assert (tokens.status_code, tokens.json()["error"]["param"]) == (400, "input")
    assert "vocabulary" in tokens.json()["error"]["message"]
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")


# What does not get as far as our handlers


def test_openai_package_is_told_why_a_key_a_path_or_a_body_is_refused(memory_api: Api) -> None:
    with memory_api.client("me") as client:
        anonymous = httpx.post(f"{memory_api.url}{CHAT}", json={})
        wrong = httpx.post(f"{memory_api.url}{CHAT}", json={}, headers={"Authorization": "Bearer nobody"})
        unknown = client.post("/v1/responses", json={})
        large = client.post(CHAT, content=b" " * 1_000_001)

    answers = [anonymous, wrong, unknown, large]
    assert [answer.status_code for answer in answers] == [401, 403, 404, 413]
    assert [answer.json()["error"]["type"] for answer in answers] == [
        "authentication_error",
        "permission_error",
        *["invalid_request_error"] * 2,
    ]
    assert all(answer.json()["error"]["message"] for answer in answers)
