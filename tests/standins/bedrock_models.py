"""What the Bedrock stand-in offers: entries of ListFoundationModels and ListInferenceProfiles, as us-east-1 gives them."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def listed_model(
    model_id: str,
    name: str,
    *,
    status: str = "ACTIVE",
    inference: Sequence[str] = ("INFERENCE_PROFILE",),
    launched: str = "",
    output: str = "TEXT",
) -> Json:
    """Return an entry of ListFoundationModels. `launched` is a day as 2025-05-22, empty for one that nobody says."""
    start = {"startOfLifeTime": f"{launched}T00:00:00Z"} if launched else {}
    return {
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{model_id}",
        "modelId": model_id,
        "modelName": name,
        "providerName": model_id.partition(".")[0].title(),
        "inputModalities": ["TEXT"],
        "outputModalities": [output],
        "responseStreamingSupported": output == "TEXT",
        "customizationsSupported": [],
        "inferenceTypesSupported": list(inference),
        "modelLifecycle": {"status": status, **start},
    }


def listed_profile(profile_id: str, *regions: str, kind: str = "SYSTEM_DEFINED") -> Json:
    """Return an entry of ListInferenceProfiles for the model behind the area in `profile_id`; it may go to these regions."""
    area, _, model_id = profile_id.partition(".")
    arns = [f"arn:aws:bedrock:{region}::foundation-model/{model_id}" for region in regions]
    return {
        "inferenceProfileName": f"{area.upper()} {model_id}"[:64].replace(".", " ").replace(":", " "),
        "inferenceProfileArn": f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{profile_id}",
        "inferenceProfileId": profile_id,
        "models": [{"modelArn": arn} for arn in arns],
        "status": "ACTIVE",
        "type": kind,
    }


_US = ("us-east-1", "us-east-2", "us-west-2")
_ON_DEMAND = ("ON_DEMAND", "INFERENCE_PROFILE")

MODELS: Sequence[Json] = (
    listed_model("amazon.titan-embed-text-v2:0", "Titan Text Embeddings V2", inference=("ON_DEMAND",), output="EMBEDDING"),
    listed_model("amazon.nova-lite-v1:0", "Nova Lite", inference=_ON_DEMAND, launched="2024-12-03"),
    listed_model("amazon.nova-2-lite-v1:0", "Nova 2 Lite", launched="2025-12-02"),
    listed_model("amazon.nova-micro-v1:0", "Nova Micro", inference=_ON_DEMAND, launched="2024-12-03"),
    listed_model("anthropic.claude-3-5-haiku-20241022-v1:0", "Claude 3.5 Haiku", status="LEGACY", launched="2024-11-04"),
    listed_model("anthropic.claude-haiku-4-5-20251001-v1:0", "Claude Haiku 4.5", launched="2025-10-15"),
    listed_model("anthropic.claude-sonnet-4-20250514-v1:0", "Claude Sonnet 4", status="LEGACY", launched="2025-05-22"),
    listed_model("anthropic.claude-sonnet-4-6", "Claude Sonnet 4.6", launched="2026-02-17"),
    listed_model("anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude Sonnet 4.5", launched="2025-09-29"),
    listed_model("mistral.mistral-7b-instruct-v0:2", "Mistral 7B Instruct", inference=("ON_DEMAND",), launched="2024-03-01"),
)
PROFILES: Sequence[Json] = (
    listed_profile("global.anthropic.claude-haiku-4-5-20251001-v1:0", "", "us-east-1"),
    listed_profile("global.anthropic.claude-sonnet-4-6", "", "us-east-1"),
    listed_profile("us.amazon.nova-lite-v1:0", *_US),
    listed_profile("us.amazon.nova-2-lite-v1:0", *_US),
    listed_profile("us.anthropic.claude-haiku-4-5-20251001-v1:0", *_US),
    listed_profile("us.anthropic.claude-sonnet-4-20250514-v1:0", *_US),
    listed_profile("us.anthropic.claude-sonnet-4-5-20250929-v1:0", *_US),
    listed_profile("us.anthropic.claude-sonnet-4-6", *_US),
)
