"""What is known of Bedrock's models beforehand, and what their refusals teach."""

import pytest

from chalicelib.llm.bedrock.traits import Traits, learn, traits_of


@pytest.mark.parametrize(
    ("id", "takes"),
    [
        ("anthropic.claude-sonnet-4-6", True),
        ("us.anthropic.claude-sonnet-4-6", True),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", True),
        ("us-gov.anthropic.claude-3-7-sonnet-20250219-v1:0", True),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0", True),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0", True),
        ("anthropic.claude-3-haiku-20240307-v1:0", False),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", False),
        ("us.anthropic.claude-3-5-haiku-20241022-v1:0", True),
        ("meta.llama3-3-70b-instruct-v1:0", False),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6", False),
    ],
)
def test_cache_points_are_for_the_models_that_take_them(id: str, takes: bool) -> None:
    assert traits_of(id).cache_points is takes


@pytest.mark.parametrize(
    ("id", "tokens"),
    [
        ("us.anthropic.claude-sonnet-4-6", 200_000),
        ("amazon.nova-micro-v1:0", 128_000),
        ("amazon.nova-pro-v1:0", 300_000),
        ("us.amazon.nova-2-lite-v1:0", 1_000_000),
        ("acme.talker-v1:0", 0),
    ],
)
def test_context_windows_are_known_for_known_models(id: str, tokens: int) -> None:
    assert traits_of(id).context_tokens == tokens


def test_a_length_is_only_ever_learnt_to_be_shorter() -> None:
    refusal = "The maximum tokens you requested exceeds the model limit of 8192."

    assert learn(Traits(max_tokens=4096), refusal) is None
    assert learn(Traits(max_tokens=9999), refusal) == Traits(max_tokens=8192)


@pytest.mark.parametrize(
    ("refusal", "learnt"),
    [
        ("This model doesn't support tool use.", Traits(tools=False)),
        ("This model doesn’t support tool use in streaming mode.", Traits(tools=False)),
        ("Malformed input request: extraneous key [tools] is not permitted", Traits(tools=False)),
        ("This model doesn't support the toolConfig.toolChoice.any field.", Traits(choices=frozenset({"tool"}))),
        ("This model doesn't support the toolConfig.toolChoice.tool field.", Traits(choices=frozenset({"any"}))),
        ('tool_choice: type "tool" and "any" are not supported for this model.', Traits(choices=frozenset())),
        ("Thinking may not be enabled when tool_choice forces tool use.", Traits(choices=frozenset())),
        ("output_config.format: Extra inputs are not permitted", Traits(text_format=False)),
        ("This model doesn't support the stopSequences field. Remove stopSequences and try again.", Traits(stop=False)),
        ("`temperature` and `top_p` cannot both be specified for this model.", Traits(top_p_and_temperature=False)),
        ("`top_p` is deprecated for this model.", Traits(top_p=False)),
    ],
)
def test_what_a_model_has_not_is_learnt_from_its_refusal(refusal: str, learnt: Traits) -> None:
    assert learn(Traits(), f"The model returned the following errors: {refusal}") == learnt
    assert learn(learnt, f"The model returned the following errors: {refusal}") is None


@pytest.mark.parametrize(
    "refusal",
    [
        "tool_choice: Tool 'b' not found in provided tools",
        "tools.0.custom.input_schema: JSON schema is invalid",
        "stop_sequences: each stop sequence must contain non-whitespace",
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        "output_config.format.schema: For 'integer' type, property 'minimum' is not supported",
    ],
)
def test_nothing_of_the_model_is_learnt_from_what_is_wrong_with_one_request(refusal: str) -> None:
    assert learn(Traits(), f"The model returned the following errors: {refusal}") is None


@pytest.mark.parametrize(
    "refusal",
    [
        "",
        "The system encountered an unexpected error during processing. Try your request again.",
        "Value at 'inferenceConfig.temperature' failed to satisfy constraint: Member must be at most 1",
        "This model doesn't support documents.",
    ],
)
def test_nothing_is_learnt_from_what_names_no_parameter(refusal: str) -> None:
    assert learn(Traits(cache_points=True), refusal) is None


def test_what_is_known_already_is_nothing_new() -> None:
    assert learn(Traits(temperature=False), "temperature is deprecated for this model") is None
