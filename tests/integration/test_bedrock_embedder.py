"""Bedrock's embedding models when something goes wrong, over HTTP."""

from collections.abc import Iterator

import pytest

from chalicelib.embedder.bedrock import BedrockEmbedder, build
from chalicelib.errors import EmbedderUnavailable, Misconfigured, PaiError
from chalicelib.platform.aws.clients import client
from chalicelib.settings import Settings
from tests.standins.bedrock import BedrockStandIn, Behaviour

SECRET = "Bartholomew likes carrots"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", standin.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        yield standin


@pytest.fixture
def embedder(standin: BedrockStandIn) -> BedrockEmbedder:
    runtime = client("bedrock-runtime", read_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})
    return BedrockEmbedder(Settings(), runtime, patience_s=0.5, first_pause_s=0.01)


@pytest.mark.parametrize(
    "trouble",
    [
        Behaviour(error="ThrottlingException", times=3),
        Behaviour(error="ServiceUnavailableException", times=2),
        Behaviour(error="InternalServerException", times=2),
        Behaviour(reply='{"embedding": [1, 2]}', times=1),
        Behaviour(reply="{}", times=1),
    ],
    ids=["throttled", "unavailable", "server error", "short vector", "no vector"],
)
def test_passing_trouble_is_not_noticed(standin: BedrockStandIn, embedder: BedrockEmbedder, trouble: Behaviour) -> None:
    standin.script(trouble)

    vectors = embedder.embed([SECRET, "Another", "A third"], "passage")

    assert [len(vector) for vector in vectors] == [1024] * 3
    assert len(standin.requests) == 3 + (trouble.times or 0)


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        (Behaviour(error="ThrottlingException"), EmbedderUnavailable, "just now"),
        (
            Behaviour(error="AccessDeniedException", message="You don't have access to the model."),
            EmbedderUnavailable,
            "Enable",
        ),
        (Behaviour(error="ResourceNotFoundException", message="Not found."), Misconfigured, "PAI_EMBEDDING_MODEL"),
        (Behaviour(error="ValidationException", message=f"Bad input {SECRET}"), Misconfigured, "PAI_EMBEDDING_MODEL"),
        (Behaviour(cut_at=5), EmbedderUnavailable, "Try again|try again"),
        (Behaviour(stall_s=5), EmbedderUnavailable, "try again"),
    ],
    ids=["throttled", "denied", "no such model", "invalid", "cut", "silent"],
)
def test_lasting_trouble_says_what_to_do_and_never_repeats_the_text(
    standin: BedrockStandIn, embedder: BedrockEmbedder, trouble: Behaviour, kind: type[PaiError], words: str
) -> None:
    standin.script(trouble)

    with pytest.raises(kind, match=words) as raised:
        embedder.embed([SECRET], "passage")

    assert type(raised.value) is kind
    assert SECRET not in raised.value.message


def test_empty_texts_are_not_sent(standin: BedrockStandIn, embedder: BedrockEmbedder) -> None:
    embedder.embed(["", " \n"], "passage")

    assert standin.requests == []


def test_cohere_takes_96_texts_a_call_and_is_told_what_they_are_for(standin: BedrockStandIn) -> None:
    cohere = build(Settings(embedding_model="us.cohere.embed-v4:0", embedding_dimensions=512))

    cohere.embed([f"Page {number}" for number in range(100)], "passage")
    cohere.embed(["Which page?"], "query")

    sent = sorted((len(request.members["texts"]), request.members["input_type"]) for request in standin.requests)
    assert sent == [(1, "search_query"), (4, "search_document"), (96, "search_document")]
    assert cohere.space.dimensions == 512


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        (Settings(embedding_model="amazon.nova-lite-v1:0"), "PAI_EMBEDDING_MODEL"),
        (Settings(embedding_dimensions=384), "PAI_EMBEDDING_DIMENSIONS"),
    ],
)
def test_setting_that_no_model_has_is_named(standin: BedrockStandIn, settings: Settings, variable: str) -> None:
    with pytest.raises(Misconfigured, match=variable):
        build(settings)
