"""Which model a family means, given what Bedrock lists."""

from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.errors import ModelEndOfLife, ModelRejected
from chalicelib.llm.bedrock.families import Choice, choose, is_family, listing_of

EVERYWHERE = ("", "us-east-1")
US = ("us-east-1", "us-east-2", "us-west-2")


def model(id: str, *, status: str = "ACTIVE", inference: str = "INFERENCE_PROFILE", launched: str = "", **more: Any) -> Any:
    start = {"startOfLifeTime": datetime.fromisoformat(launched).replace(tzinfo=UTC)} if launched else {}
    return {
        "modelId": id,
        "modelName": id.upper(),
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "inferenceTypesSupported": [inference],
        "modelLifecycle": {"status": status, **start},
        **more,
    }


def profile(id: str, *regions: str, status: str = "ACTIVE") -> Any:
    model_id = id.partition(".")[2]
    arns = [f"arn:aws:bedrock:{region}::foundation-model/{model_id}" for region in regions]
    return {"inferenceProfileId": id, "status": status, "models": [{"modelArn": arn} for arn in arns]}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("claude-sonnet", True),
        ("claude-sonnet-4.5", True),
        ("nova-lite", True),
        ("amazon.nova-lite-v1:0", False),
        ("us.anthropic.claude-sonnet-4-6", False),
        ("anthropic.claude-sonnet-4-6", False),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6", False),
    ],
)
def test_a_family_is_what_has_no_provider_in_front(name: str, family: bool) -> None:
    assert is_family(name) is family


@pytest.mark.parametrize(
    ("family", "id"),
    [
        ("claude-sonnet", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("claude-sonnet", "anthropic.claude-sonnet-4-6"),
        ("claude-sonnet-4.6", "anthropic.claude-sonnet-4-6"),
        ("Nova-Lite", "amazon.nova-2-lite-v1:0"),
        ("deepseek-r1", "deepseek.r1-v1:0"),
        ("llama3-3-70b", "meta.llama3-3-70b-instruct-v1:0"),
    ],
)
def test_a_family_has_the_models_with_its_words(family: str, id: str) -> None:
    assert choose(family, listing_of([model(id, inference="ON_DEMAND")], [])) == Choice(id, id.upper())


@pytest.mark.parametrize("family", ["claude-opus", "sonnet-claude", "claude-sonnet-5", "son"])
def test_a_family_that_no_model_has_the_words_of_is_unknown(family: str) -> None:
    with pytest.raises(ModelRejected, match=family):
        choose(family, listing_of([model("anthropic.claude-sonnet-4-6", inference="ON_DEMAND")], []))


def test_the_newest_is_the_one_launched_last() -> None:
    listing = listing_of(
        [
            model("mistral.mistral-large-2407-v1:0", inference="ON_DEMAND", launched="2024-07-24"),
            model("mistral.mistral-large-3-675b", inference="ON_DEMAND", launched="2025-12-02"),
            model("mistral.mistral-large-2402-v1:0", inference="ON_DEMAND", launched="2024-04-02"),
        ],
        [],
    )

    assert choose("mistral-large", listing).id == "mistral.mistral-large-3-675b"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "anthropic.claude-sonnet-4-20250514-v1:0"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-6"),
        ("anthropic.claude-sonnet-4-6", "anthropic.claude-sonnet-4-10"),
    ],
)
def test_without_a_day_of_launch_the_newest_has_the_higher_number(older: str, newer: str) -> None:
    for order in ([older, newer], [newer, older]):
        listing = listing_of([model(id, inference="ON_DEMAND") for id in order], [])
        assert choose("claude-sonnet", listing).id == newer


def test_the_profile_of_the_area_goes_before_the_region_and_that_before_the_whole_world() -> None:
    models = [model("a.talker-1", inference="ON_DEMAND")]
    world, area = profile("global.a.talker-1", *EVERYWHERE), profile("us.a.talker-1", *US)

    assert choose("talker", listing_of(models, [world, area])).id == "us.a.talker-1"
    assert choose("talker", listing_of(models, [world])).id == "a.talker-1"


def test_the_global_profile_is_taken_when_there_is_nothing_nearer() -> None:
    listing = listing_of([model("a.talker-1")], [profile("global.a.talker-1", *EVERYWHERE)])

    assert choose("talker", listing).id == "global.a.talker-1"


def test_of_two_areas_the_smaller_is_taken() -> None:
    wide = profile("apac.a.talker-1", "ap-northeast-1", "ap-southeast-2", "ap-south-1")
    narrow = profile("jp.a.talker-1", "ap-northeast-1", "ap-northeast-3")

    assert choose("talker", listing_of([model("a.talker-1")], [wide, narrow])).id == "jp.a.talker-1"


def test_a_model_that_can_not_be_called_here_gives_way_to_the_one_before_it() -> None:
    listing = listing_of(
        [model("a.talker-2", inference="PROVISIONED"), model("a.talker-1", inference="ON_DEMAND")],
        [profile("us.a.talker-2", *US, status="RETIRED")],
    )

    assert choose("talker", listing).id == "a.talker-1"


@pytest.mark.parametrize(
    "newest",
    [
        model("a.talker-2", inference="ON_DEMAND", status="LEGACY"),
        model("a.talker-2", inference="ON_DEMAND", modelLifecycle={}),
        model("a.talker-2", inference="ON_DEMAND", outputModalities=["EMBEDDING"]),
        model("a.talker-2", inference="ON_DEMAND", responseStreamingSupported=False),
    ],
)
def test_a_model_that_can_not_chat_or_is_not_active_is_passed_over(newest: Any) -> None:
    assert choose("talker", listing_of([newest, model("a.talker-1", inference="ON_DEMAND")], [])).id == "a.talker-1"


def test_a_family_of_which_nothing_is_active_is_at_its_end() -> None:
    with pytest.raises(ModelEndOfLife, match="talker"):
        choose("talker", listing_of([model("a.talker-1", inference="ON_DEMAND", status="LEGACY")], []))
