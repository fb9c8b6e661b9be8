"""Which model a family means: pure choices over what Bedrock lists.

A family (`claude-sonnet`, `nova-lite`) is the words that its models' ids have in common, and means the newest of them that
is ACTIVE. https://docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import ModelEndOfLife, ModelRejected

_GLOBAL = "global."
_ADVICE = "Set PAI_MODEL to another family, such as claude-sonnet, claude-haiku or nova-lite, or to a model's full id."


@dataclass(frozen=True)
class Listed:
    """A model that answers in text and can stream. `launched` is its first day (YYYYMMDD), empty when nobody says."""

    id: str
    name: str
    active: bool
    on_demand: bool
    launched: str


@dataclass(frozen=True)
class Profile:
    """An inference profile that AWS made: `models` are the ids it serves, `regions` how many regions it may send them to."""

    id: str
    models: frozenset[str]
    regions: int


@dataclass(frozen=True)
class Listing:
    """What Bedrock offers in one region."""

    models: Sequence[Listed]
    profiles: Sequence[Profile]


@dataclass(frozen=True)
class Choice:
    """What to call: the id of a profile or a model, and the model's name for people."""

    id: str
    name: str


def is_family(name: str) -> bool:
    """Whether a name is a family: not an ARN and not an id, which has the provider in front (`amazon.nova-lite-v1:0`)."""
    return re.search(r":|\.[a-z]", name) is None


def choose(family: str, listing: Listing) -> Choice:
    """Return the newest active model of a family, in the form that can be called here.

    Raises ModelRejected when no model has the family's words, ModelEndOfLife when none of them is active.
    """
    members = [model for model in listing.models if _belongs(model.id, family)]
    for model in newest_first(model for model in members if model.active):
        callable_id = _callable_id(model, listing.profiles)
        if callable_id:
            return Choice(callable_id, model.name)
    if members:
        raise ModelEndOfLife(f"Every model of the family {family} is withdrawn or can't be called in this region. {_ADVICE}")
    raise ModelRejected(f"Bedrock has no model of the family {family} in this region. {_ADVICE}")


def newest_first(models: Iterable[Listed]) -> list[Listed]:
    """Sort by the day of launch; by the numbers in the ids (3-5 before 4) where a launch is not known."""
    models = list(models)
    known = all(model.launched for model in models)
    return sorted(models, key=lambda model: (model.launched if known else "", _version(model.id)), reverse=True)


def listing_of(summaries: Iterable[Mapping[str, Any]], profiles: Iterable[Mapping[str, Any]]) -> Listing:
    """Return what ListFoundationModels (modelSummaries) and ListInferenceProfiles (inferenceProfileSummaries) say."""
    return Listing(
        models=[_listed(summary) for summary in summaries if _talks(summary)],
        profiles=[_profile(profile) for profile in profiles if profile.get("status") == "ACTIVE"],
    )


def _talks(summary: Mapping[str, Any]) -> bool:
    return "TEXT" in summary.get("outputModalities", ()) and bool(summary.get("responseStreamingSupported"))


def _listed(summary: Mapping[str, Any]) -> Listed:
    lifecycle = summary.get("modelLifecycle", {})
    start = lifecycle.get("startOfLifeTime")
    date_in_id = re.search(r"-(20\d{6})\b", summary["modelId"])
    return Listed(
        id=summary["modelId"],
        name=summary.get("modelName", summary["modelId"]),
        active=lifecycle.get("status") == "ACTIVE",
        on_demand="ON_DEMAND" in summary.get("inferenceTypesSupported", ()),
        launched=start.strftime("%Y%m%d") if start else date_in_id[1] if date_in_id else "",
    )


def _profile(profile: Mapping[str, Any]) -> Profile:
    arns = [model["modelArn"] for model in profile.get("models", ())]
    return Profile(profile["inferenceProfileId"], frozenset(arn.rpartition("/")[2] for arn in arns), len(arns))


def _belongs(model_id: str, family: str) -> bool:
    """Whether the family's words stand in the id, in their order: claude-sonnet in claude-3-5-sonnet-20241022-v2:0 too."""
    words = iter(re.split(r"[-.:]", model_id))
    return all(word in words for word in re.split(r"[-.]", family.lower()))


def _version(model_id: str) -> tuple[list[int], str]:
    """Return the numbers of a model's generation, then the whole id: claude-sonnet-4-5-20250929-v1:0 → [4, 5]."""
    generation = re.sub(r"-20\d{6}\b|-v\d+(:.*)?$", "", model_id)
    return [int(number) for number in re.findall(r"\d+", generation)], model_id


def _callable_id(model: Listed, profiles: Iterable[Profile]) -> str:
    """Return the id to call a model by, empty when there is none.

    First the profile of this area that may send it to the fewest regions: more throughput than the region alone, and what
    is said stays in the area. Then the model itself, in this region. Last the global profile, which may answer anywhere.
    https://docs.aws.amazon.com/bedrock/latest/userguide/cross-region-inference.html
    """
    serving = [profile for profile in profiles if model.id in profile.models]
    area = [profile for profile in serving if not profile.id.startswith(_GLOBAL)]
    if area:
        return min(area, key=lambda profile: (profile.regions, profile.id)).id
    if model.on_demand:
        return model.id
    return serving[0].id if serving else ""
