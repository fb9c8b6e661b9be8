"""Turns in the background on stage dev's parts, Bedrock included, while the model stalls, breaks off and is throttled."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pai.local.gateway import Gateway
from tests.contract.aws_standin import lambda_jobs, serving
from tests.integration.bedrock.asking import HAIKU, SONNET
from tests.integration.conftest import DEPLOYMENTS, Api, served
from tests.integration.test_turns_api import begun, follow, said, turn_path
from tests.standins.bedrock import BedrockStandIn, Behaviour


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", standin.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", standin.url)
        yield standin


@pytest.fixture
def api(aws: str, standin: BedrockStandIn, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """Stage dev's parts, with little patience in the background."""
    models = {"PAI_LLM": "bedrock", "PAI_MODEL": SONNET, "PAI_MODELS": HAIKU, "PAI_FALLBACK_MODELS": HAIKU}
    ours = {**DEPLOYMENTS["aws"], **models, "PAI_WORKER_DEADLINE_S": "1.5", "PAI_HOME": str(tmp_path)}
    with serving(lambda_jobs("pai-dev")) as functions:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions)
        with served(gateway, ours, monkeypatch) as api:
            yield api


@pytest.fixture
def me(api: Api) -> Iterator[httpx.Client]:
    with api.client("me") as client:
        yield client


def test_answer_is_followed_word_by_word(me: httpx.Client, standin: BedrockStandIn) -> None:
    standin.script(Behaviour(reply="One two three four.", deltas=4, delay_s=0.05))

    events = list(follow(me, begun(me).json()))

    assert said(events) in ("One two three four.", "")
    assert events[-1][1].items() >= {"message": "One two three four.", "model": SONNET, "stop_reason": "end"}.items()


def test_model_that_stalls_in_the_middle_ends_at_the_deadline_with_what_it_said(
    me: httpx.Client, standin: BedrockStandIn
) -> None:
    standin.script(Behaviour(reply="One two three four.", deltas=4, at=3, stall_s=30))

    ids = begun(me).json()
    [*_, (name, done)] = follow(me, ids)

    assert (name, done["stop_reason"]) == ("done", "deadline")
    assert "One two three four.".startswith(done["message"])
    assert done["usage"]["output_tokens"] > 0


def test_model_that_says_nothing_fails_the_turn_and_can_be_asked_again(me: httpx.Client, standin: BedrockStandIn) -> None:
    standin.script(Behaviour(times=1, at=-1, stall_s=30))

    ids = begun(me).json()
    [*_, (name, failure)] = follow(me, ids)
    again = me.post(f"/conversations/{ids['conversation_id']}/regenerate").json()

    assert (name, failure["Code"]) == ("failed", "ModelTimeout")
    assert (again["turn_id"], again["message"]) == (ids["turn_id"], "one")


def test_model_that_breaks_off_fails_the_turn_after_what_it_said(me: httpx.Client, standin: BedrockStandIn) -> None:
    standin.script(Behaviour(reply="One two three four.", deltas=4, cut_at=400))

    ids = begun(me).json()
    events = list(follow(me, ids))

    assert events[-1][0] == "failed"
    assert events[-1][1]["Code"] == "ModelInterrupted"
    assert me.get(turn_path(ids)).json()["message"] == said(events)


def test_throttled_model_hands_over_to_the_fallback(me: httpx.Client, standin: BedrockStandIn) -> None:
    standin.script(Behaviour(model="sonnet", error="ThrottlingException"))

    [*_, (name, done)] = follow(me, begun(me).json())

    assert (name, done["model"], done["message"]) == ("done", HAIKU, "one")


def test_throttled_everywhere_fails_the_turn_with_when_to_come_back(me: httpx.Client, standin: BedrockStandIn) -> None:
    standin.script(Behaviour(error="ThrottlingException"))

    ids = begun(me).json()
    [*_, (name, failure)] = follow(me, ids)

    assert (name, failure["Code"]) == ("failed", "ModelThrottled")
    assert me.get(turn_path(ids)).json()["error"]["Code"] == "ModelThrottled"
