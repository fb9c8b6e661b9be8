"""Which models a stage answers with: families resolved once, kept by later deployments, changed by nothing but a command."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import ModelRejected, PaiError
from chalicelib.llm.bedrock.families import Listed, Listing, choose, is_family
from chalicelib.metering.prices import Prices
from pai.operate.package import infrastructure

MODEL = "PAI_MODEL"
LISTS = (MODEL, "PAI_MODELS", "PAI_FALLBACK_MODELS")
BUDGET = "PAI_BUDGET"
_BUDGET_MODEL = re.compile(r"(\bmodel=)([^,\s]+)")

Environment = Mapping[str, str]
Resolve = Callable[[str], str]
"""Family, id or ARN → the id to call, as Bedrock has it today."""


@dataclass(frozen=True)
class Pins:
    """`ids` is what each name of the stage's configuration means. `newer`: name → the id that it would mean today."""

    ids: Mapping[str, str]
    newer: Mapping[str, str]

    def applied(self, environment: Environment) -> dict[str, str]:
        """Return those variables that name models, with ids for names."""
        found = {name: ",".join(self._id(one) for one in _names(environment[name])) for name in LISTS if environment.get(name)}
        if BUDGET in environment:
            found[BUDGET] = _BUDGET_MODEL.sub(lambda part: part[1] + self._id(part[2]), environment[BUDGET])
        return found

    def _id(self, name: str) -> str:
        return self.ids.get(name, name)


def pin(configured: Environment, deployed: Environment, resolve: Resolve, *, model: str = "") -> Pins:
    """Return what the names in `configured` mean: what `deployed` has pinned them to, else what they mean today.

    A `model` takes the place of the stage's own, and has every other name resolved anew too. What `resolve` raises when the
    stage has pins already only means that nobody knows whether something newer is there.
    """
    names = list(dict.fromkeys(_named({**configured, **({MODEL: model} if model else {})})))
    default = model or configured.get(MODEL, "")
    ids, newer = {}, {}
    for name in names:
        kept = "" if model else _kept(name, deployed, own=name == default)
        today = _today(name, resolve, needed=not kept)
        ids[name] = kept or today
        if kept and today and today != kept:
            newer[name] = today
    if model:
        ids[configured.get(MODEL, model)] = ids[model]
    return Pins(ids, newer)


def environments(template: Any) -> Iterator[dict[str, Any]]:
    """Yield the variables of each function of a template, to be read and changed in place."""
    functions = [entry for entry in template.get("Resources", {}).values() if entry.get("Type", "").endswith("::Function")]
    for holder in (*functions, *({"Properties": entry} for entry in template.get("Globals", {}).values())):
        variables = holder.get("Properties", {}).get("Environment", {}).get("Variables")
        if isinstance(variables, dict):
            yield variables


def write(template: Any, pins: Pins) -> None:
    """Put ids in the place of names, in the variables of every function of a template."""
    for variables in environments(template):
        plain = {name: value for name, value in variables.items() if isinstance(value, str)}
        variables.update(pins.applied(plain))


def narrow(template: Any, pins: Pins, embedder: str) -> None:
    """Let the functions ask these models and no others. An ARN does not tell which model is behind it: then any."""
    ids = set(pins.ids.values())
    for statement in infrastructure("checks").statements(template):
        if "bedrock:InvokeModelWithResponseStream" in statement["Action"] and not any(one.startswith("arn:") for one in ids):
            statement["Resource"] = _arns(ids)
        elif "bedrock:InvokeModel" in statement["Action"] and not embedder.startswith("arn:"):
            statement["Resource"] = _arns({embedder})


def _arns(ids: Iterable[str]) -> list[dict[str, str]]:
    """Return what stands for these ids in IAM: a profile and, behind its area's name, the model in each of its regions."""
    account = "arn:${AWS::Partition}:bedrock:${AWS::Region}:${AWS::AccountId}:inference-profile/"
    anywhere = "arn:${AWS::Partition}:bedrock:*::foundation-model/"
    found = {account + one for one in ids} | {anywhere + name for one in ids for name in (one, one.partition(".")[2])}
    return [{"Fn::Sub": arn} for arn in sorted(found)]


def price_line(prices: Prices, model: str) -> str:
    """Return a model with what it costs, as people compare it."""
    price = prices.of(model)
    if price is None:
        return f"{model} (its price is not known)"
    return f"{model} (${price.input:g} asked, ${price.output:g} answered, per million tokens)"


def _today(name: str, resolve: Resolve, *, needed: bool) -> str:
    if not is_family(name):
        return name
    if needed:
        return resolve(name)
    try:
        return resolve(name)
    except PaiError:
        return ""


def _kept(name: str, deployed: Environment, *, own: bool) -> str:
    """Return what the deployed stage has for a name: for its own model whatever was chosen, else an id with its words."""
    if not is_family(name):
        return name
    pinned = [one for one in _named(deployed) if not is_family(one)]
    if own and pinned and (first := _names(deployed.get(MODEL, ""))) and not is_family(first[0]):
        return first[0]
    return _of_family(name, pinned)


def _of_family(family: str, ids: Iterable[str]) -> str:
    models = [Listed(id, id, active=True, on_demand=True, launched="") for id in ids]
    try:
        return choose(family, Listing(models, ())).id
    except ModelRejected:
        return ""


def _named(environment: Environment) -> Iterator[str]:
    for variable in LISTS:
        yield from _names(environment.get(variable, ""))
    for _, name in _BUDGET_MODEL.findall(environment.get(BUDGET, "")):
        yield name


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
