"""The contract of embedders, run over every backend."""

import os
from collections.abc import Iterator

import pytest

from chalicelib.embedder import Embedder
from chalicelib.embedder.bedrock import BedrockEmbedder
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.settings import Settings
from chalicelib.wiring import load_part
from pai.local.catalogue import find, installed, models_folder
from tests.contract.embedder_contract import EmbedderContract
from tests.standins.bedrock import BedrockStandIn


def minilm_is_here() -> bool:
    folder = models_folder(Settings(models_home=os.environ.get("PAI_MODELS_HOME", "")))
    return all(installed(file, folder) for file in find("minilm").files)


class TestHashed(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashedEmbedder(256)


@pytest.mark.parametrize(
    "model",
    ["", "amazon.titan-embed-text-v2:0", "cohere.embed-multilingual-v3", "us.cohere.embed-v4:0"],
    ids=["default", "titan", "cohere-v3", "cohere-v4"],
)
class TestBedrock(EmbedderContract):
    @pytest.fixture
    def embedder(self, model: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockEmbedder]:
        with BedrockStandIn() as standin:
            for name, value in {
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": standin.url,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
            }.items():
                monkeypatch.setenv(name, value)
            yield load_part("embedder", "bedrock", Settings(embedding_model=model))


@pytest.mark.skipif(not minilm_is_here(), reason="no embedding model here: `pai models fetch minilm`")
class TestMiniLM(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> Embedder:
        settings = Settings(models_home=os.environ.get("PAI_MODELS_HOME", ""))
        return load_part("embedder", "pai.local.minilm", settings)  # type: ignore[no-any-return]
