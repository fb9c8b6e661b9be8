"""Programs that people use with OpenAI, used with PAI: the openai package, llm, LangChain and Hugging Face's client."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from huggingface_hub import InferenceClient
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from chalicelib.errors import ModelInterrupted, ModelThrottled, UnknownModel
from chalicelib.llm import Finish, JsonForm, ToolCall
from chalicelib.records import Usage
from pai.local.gateway import Gateway
from tests.integration.conftest import SCRIPTED, Api, served
from tests.integration.test_answers import LEASE, PETS, add
from tests.standins.scripted import Act, fails, says

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
ADD: ChatCompletionToolParam = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CITED = f"{LEASE[0][:-1]} [1]."
SAID = says(*(f"{word} " for word in LEASE[0].split(" ")[:-1]), LEASE[0].split(" ")[-1])


class Sum(BaseModel):
    total: int


def calls(name: str, arguments: str) -> Act:
    """An answer that calls a tool."""
    return lambda request: [ToolCall("call_1", name, arguments), Finish(Usage(3, 3), "tool_use", "scripted")]


@pytest.fixture
def library(library_api: Api) -> Api:
    """The product in memory, with a document."""
    add(library_api, "lease.pdf", *LEASE)
    return library_api


@pytest.fixture
def key(library: Api) -> str:
    return library.key("me")[1]


@pytest.fixture
def client(library: Api, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{library.url}/v1", api_key=key, max_retries=0) as client:
        yield client


# The openai package


def test_openai_is_answered_with_citations(client: openai.OpenAI, library: Api) -> None:
    library.llm.acts = [SAID]
    asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": PETS}]

    whole = client.chat.completions.create(model="pai", messages=asked)
    chunks = list(
        client.chat.completions.create(model="pai", messages=asked, stream=True, stream_options={"include_usage": True})
    )

    assert whole.choices[0].message.content == CITED
    assert whole.choices[0].message.model_extra is not None
    [citation] = whole.choices[0].message.model_extra["citations"]
    assert citation["name"] == "lease.pdf"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == LEASE[0]
    assert chunks[-2].choices[0].delta.model_extra == {"marked_content": CITED, "citations": [citation]}
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None


def test_openais_own_stream_helper_adds_an_answer_up(client: openai.OpenAI, library: Api) -> None:
    library.llm.acts = [SAID]
    with client.chat.completions.stream(model="pai", messages=[{"role": "user", "content": PETS}]) as stream:
        final = stream.get_final_completion()

    assert final.choices[0].message.content == LEASE[0]
    assert final.choices[0].finish_reason == "stop"


def test_openai_calls_tools(client: openai.OpenAI, library: Api) -> None:
    library.llm.acts = [calls("add", '{"a": 1, "b": 2}'), says("It is 3.")]

    first = client.chat.completions.create(model="scripted", messages=HI, tools=[ADD]).choices[0]
    result = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
    messages: Any = [*HI, first.message.to_dict(), result]
    second = client.chat.completions.create(model="scripted", messages=messages, tools=[ADD])

    assert first.finish_reason == "tool_calls"
    assert second.choices[0].message.content == "It is 3."
    assert library.llm.requests[-1].messages[1].tool_calls == (ToolCall("call_1", "add", '{"a": 1, "b": 2}'),)


def test_openai_parses_answers_by_a_schema(client: openai.OpenAI, library: Api) -> None:
    library.llm.acts = [says('{"total"', ": 3}")]

    parsed = client.chat.completions.parse(model="scripted", messages=HI, response_format=Sum)

    assert parsed.choices[0].message.parsed == Sum(total=3)
    form = library.llm.requests[-1].json_form
    assert form is not None
    assert form.name == "Sum"
    assert form.schema is not None
    assert form.schema["required"] == ["total"]


def test_openai_raises_its_own_errors(client: openai.OpenAI, library: Api) -> None:
    def ask(model: str = "scripted", stream: bool = False) -> object:
        answer = client.chat.completions.create(model=model, messages=HI, stream=stream)
        return list(answer) if stream else answer

    library.llm.acts = [fails(UnknownModel("there is none"))]
    with pytest.raises(openai.NotFoundError) as unknown:
        ask("gpt-5")
    library.llm.acts = [fails(ModelThrottled("Not so fast."))]
    with pytest.raises(openai.InternalServerError, match=r"Not so fast\.") as throttled:
        ask(stream=True)
    library.llm.acts = [fails(ModelInterrupted("It broke off."), after=["Well"])]
    with pytest.raises(openai.APIError, match=r"It broke off\."):
        ask(stream=True)
    with pytest.raises(openai.BadRequestError) as two:
        client.chat.completions.create(model="scripted", messages=HI, n=2)
    with pytest.raises(openai.PermissionDeniedError):
        client.with_options(api_key="wrong").models.list()

    assert unknown.value.code == "model_not_found"
    assert throttled.value.request_id
    assert two.value.param == "n"


def test_openai_asks_again_after_a_moment_and_not_at_all_when_a_budget_is_spent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(gateway, {**SCRIPTED, "PAI_BUDGET": "day-tokens=3000"}, monkeypatch) as api:
        patient = openai.OpenAI(base_url=f"{api.url}/v1", api_key=api.key("me")[1], max_retries=2)
        api.llm.acts = [fails(ModelThrottled("Not so fast.", retry_after_s=0)), says("Hi.")]
        answer = patient.chat.completions.create(model="scripted", messages=HI)
        with pytest.raises(openai.RateLimitError) as spent:
            patient.chat.completions.create(model="scripted", messages=HI, max_tokens=5000)
        patient.close()

    assert answer.choices[0].message.content == "Hi."
    assert spent.value.code == "insufficient_quota"
    assert spent.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_openai_lists_models_and_makes_vectors(client: openai.OpenAI, library: Api) -> None:
    vectors = client.embeddings.create(model="hashed", input=["a small dog", "the rent"])
    plain = client.embeddings.create(model="hashed", input="a small dog", encoding_format="float", dimensions=256)

    assert [model.id for model in client.models.list()] == ["pai", "scripted", "hashed"]
    assert client.models.retrieve("scripted").owned_by == "scripted"
    assert vectors.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert len(vectors.data) == 2


# llm, a command line: https://llm.datasette.io


@pytest.fixture
def llm(library: Api, key: str, tmp_path: Path) -> Callable[..., str]:
    """Run llm with PAI among its models; return what it printed."""
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"""
- model_id: pai
  model_name: pai
  api_base: {library.url}/v1
  api_key_name: pai
  supports_tools: true
  supports_schema: true
"""
    )
    (tmp_path / "keys.json").write_text(json.dumps({"pai": key}))
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "llm", *arguments]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_llm_streams_and_goes_on(llm: Callable[..., str], library: Api) -> None:
    library.llm.acts = [SAID]

    assert llm("-m", "pai", "-s", "Be brief.", PETS) == LEASE[0]
    assert llm("-m", "pai", "--no-stream", PETS) == CITED
    assert llm("-c", "And a cat?", "-o", "temperature", "1.5") == LEASE[0]

    assert library.llm.requests[0].system == "Be brief."
    assert [said.role for said in library.llm.requests[-1].messages] == ["user", "assistant", "user"]
    [logged] = json.loads(llm("logs", "--json", "-n", "1"))
    assert logged["input_tokens"] == 10


def test_llm_calls_a_tool_and_asks_for_json(llm: Callable[..., str], library: Api) -> None:
    library.llm.acts = [calls("add", '{"a": 1, "b": 2}'), says("It is 3.")]
    tool = 'def add(a: int, b: int) -> int:\n    "Add."\n    return a + b'

    assert llm("-m", "pai", "--functions", tool, "What is 1 + 2?") == "It is 3."
    assert library.llm.requests[-1].messages[-1].tool_results[0].text == "3"

    library.llm.acts = [says('{"total": 3}')]
    assert json.loads(llm("-m", "pai", "--schema", "total int", "Sum up.")) == {"total": 3}
    assert library.llm.requests[-1].json_form is not None


# LangChain


def test_langchain_chats_calls_tools_and_parses(library: Api, key: str) -> None:
    model = ChatOpenAI(model="pai", base_url=f"{library.url}/v1", api_key=lambda: key, max_retries=0)

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    library.llm.acts = [SAID]
    assert model.invoke(PETS).content == CITED
    assert "".join(str(chunk.content) for chunk in model.stream(PETS)) == LEASE[0]
    library.llm.acts = [calls("add", '{"a": 1, "b": 2}')]
    called = model.bind_tools([add], parallel_tool_calls=False).invoke("1 + 2?")
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("add", {"a": 1, "b": 2})]
    library.llm.acts = [says('{"total": 3}')]
    assert model.with_structured_output(Sum).invoke("Sum up.") == Sum(total=3)
    library.llm.acts = [calls("Sum", '{"total": 4}')]
    assert model.with_structured_output(Sum, method="function_calling").invoke("Sum up.") == Sum(total=4)
    assert library.llm.requests[-1].tool_choice == "Sum"
    library.llm.acts = [says('{"total": 5}')]
    assert model.with_structured_output(Sum, method="json_mode").invoke("Sum up in JSON.") == Sum(total=5)
    assert library.llm.requests[-1].json_form == JsonForm()


def test_langchain_makes_vectors_of_text(library: Api, key: str) -> None:
    embeddings = OpenAIEmbeddings(
        model="hashed", base_url=f"{library.url}/v1", api_key=lambda: key, check_embedding_ctx_length=False
    )

    [first, second] = embeddings.embed_documents(["a small dog", "the rent"])

    assert len(first) == len(second) == 256
    assert embeddings.embed_query("a small dog") == pytest.approx(first)


# Hugging Face's client, which has nothing of the openai package


def test_hugging_faces_client_is_answered(library: Api, key: str) -> None:
    library.llm.acts = [SAID]
    client = InferenceClient(base_url=f"{library.url}/v1", api_key=key)
    asked = [{"role": "user", "content": PETS}]

    whole = client.chat_completion(asked, model="pai")
    chunks = client.chat_completion(asked, model="pai", stream=True)

    assert whole.choices[0].message.content == CITED
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == LEASE[0]
