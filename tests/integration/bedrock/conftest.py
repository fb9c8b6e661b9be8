"""Bedrock over real HTTP: the product's client against a stand-in that speaks the true wire."""

from collections.abc import Iterator

import pytest

from chalicelib.llm.bedrock import BedrockLLM, control_client, runtime_client
from chalicelib.settings import Settings
from tests.conftest import set_account
from tests.integration.bedrock.asking import SONNET, Make
from tests.standins.bedrock import BedrockStandIn


@pytest.fixture(scope="module")
def server() -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        yield standin


@pytest.fixture
def standin(server: BedrockStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockStandIn]:
    """Bedrock, as botocore finds it by its endpoint variables; unscripted and with nothing asked yet."""
    set_account(monkeypatch, AWS_ENDPOINT_URL_BEDROCK=server.url, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=server.url)
    models, profiles, page_size = server.models, server.profiles, server.page_size
    yield server
    server.clear()
    server.models, server.profiles, server.page_size = models, profiles, page_size


@pytest.fixture
def make(standin: BedrockStandIn) -> Make:
    """Make the backend of these settings, impatient between its attempts."""

    def make_llm(**settings: str) -> BedrockLLM:
        wanted = Settings(**{"model": SONNET, **settings})  # type: ignore[arg-type]
        return BedrockLLM(wanted, runtime_client(), control_client, retry_pause_s=0)

    return make_llm
