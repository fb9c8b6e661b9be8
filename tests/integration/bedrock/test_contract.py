"""The contract of language models, run over Bedrock."""

import pytest

from chalicelib.llm import LLM
from tests.contract.llm_contract import LLMContract
from tests.integration.bedrock.asking import Make


class TestBedrock(LLMContract):
    @pytest.fixture
    def llm(self, make: Make) -> LLM:
        return make(model="claude-sonnet")
