"""The contract of language models, run over every backend that needs no cloud; Bedrock has it in its own folder."""

import json
import os
from collections.abc import Iterator

import pytest

from chalicelib.llm import LLM, JsonForm, Request, Said, ToolResult
from chalicelib.settings import Settings
from chalicelib.wiring import load_part
from tests.contract.llm_contract import LLMContract, calls_of, finish_of, text_of, with_tools
from tests.local_model import HOW_TO_GET_IT, NAME, small_model_path
from tests.standins.openai import OpenAIStandin, openai_standin


class TestEcho(LLMContract):
    @pytest.fixture
    def llm(self) -> LLM:
        return load_part("llm", "echo", Settings())  # type: ignore[no-any-return]

    def test_says_what_a_tool_gave_when_nothing_else_was_said(self, llm: LLM) -> None:
        results = (ToolResult("1", "Sun."), ToolResult("2", "Noon."))

        assert text_of(list(llm.stream(Request([Said("user", "", (), results)])))) == "Sun.\nNoon."

    def test_says_it_as_json_where_that_is_asked_for(self, llm: LLM) -> None:
        events = list(llm.stream(Request([Said("user", 'Zoë "said" it.')], json_form=JsonForm())))

        assert json.loads(text_of(events)) == {"echo": 'Zoë "said" it.'}

    @pytest.mark.parametrize(("choice", "name"), [("required", "weather"), ("clock", "clock")])
    def test_calls_the_first_tool_or_the_one_it_must_without_arguments(self, llm: LLM, choice: str, name: str) -> None:
        [call] = calls_of(list(llm.stream(with_tools(choice))))

        assert (call.name, call.arguments) == (name, "{}")

    def test_says_that_it_came_to_a_stop_text(self, llm: LLM) -> None:
        events = list(llm.stream(Request([Said("user", "One two. three; four")], stop=("; ", "."))))

        assert text_of(events) == "One two"
        assert finish_of(events).stop_reason == "stop_sequence"


class TestOpenAI(LLMContract):
    @pytest.fixture
    def standin(self) -> Iterator[OpenAIStandin]:
        with openai_standin() as standin:
            yield standin

    @pytest.fixture
    def llm(self, standin: OpenAIStandin) -> LLM:
        return load_part("llm", "openai", Settings(openai_base_url=standin.url))  # type: ignore[no-any-return]


@pytest.mark.skipif(small_model_path() is None, reason=HOW_TO_GET_IT)
class TestLlamaCpp(LLMContract):
    refuses = frozenset({"tools"})  # its chat template has no place for them: see tests/e2e/test_llamacpp.py
    keeps_schemas = True
    long_task = "Write a long story about a fisherman and the sea."

    @pytest.fixture
    def llm(self) -> LLM:
        settings = Settings(model=NAME, models_home=os.environ.get("PAI_MODELS_HOME", ""), context_tokens=512, threads=1)
        return load_part("llm", "pai.local.llamacpp", settings)  # type: ignore[no-any-return]
