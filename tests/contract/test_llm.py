"""The contract of language models, run over every backend that needs no cloud; Bedrock has it in its own folder."""

import os
from collections.abc import Iterator

import pytest

from chalicelib.llm import LLM
from chalicelib.settings import Settings
from chalicelib.wiring import load_part
from tests.contract.llm_contract import LLMContract
from tests.local_model import HOW_TO_GET_IT, NAME, small_model_path
from tests.standins.openai import OpenAIStandin, openai_standin


class TestEcho(LLMContract):
    @pytest.fixture
    def llm(self) -> LLM:
        return load_part("llm", "echo", Settings())  # type: ignore[no-any-return]


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
    long_task = "Write a long story about a fisherman and the sea."

    @pytest.fixture
    def llm(self) -> LLM:
        settings = Settings(model=NAME, models_home=os.environ.get("PAI_MODELS_HOME", ""), context_tokens=512, threads=1)
        return load_part("llm", "pai.local.llamacpp", settings)  # type: ignore[no-any-return]
