"""The models of a stage that is deployed: found, pinned, told with their prices, and asked whether they answer."""

from dataclasses import replace

from chalicelib.errors import PaiError
from chalicelib.llm.bedrock import build, control_client
from chalicelib.llm.bedrock.directory import Directory
from chalicelib.metering.prices import Prices, prices_of
from chalicelib.settings import Settings, read_settings
from pai.doctor import Wrong, check_model_access
from pai.operate.deployed import environment
from pai.operate.pin import MODEL, Pins, pin, price_line
from pai.operate.steps import remark, step
from pai.stage import explained, stage_config


def pinned_models(stage: str, model: str) -> Pins:
    """Resolve the families that the stage names, but for those that it has pinned; `model` is empty or a new choice."""
    configured = stage_config(stage).environment_variables
    prices = prices_of(Settings(prices=configured.get("PAI_PRICES", "")))
    with step("models") as say, explained():
        directory = Directory(control_client)
        before = environment(stage)
        pins = pin(configured, before, lambda name: directory.resolve(name).id, model=model)
        say(", ".join(dict.fromkeys(pins.ids.values())))
    _tell_prices(pins, before.get(MODEL, ""), configured.get(MODEL, ""), prices, stage)
    _try(pins, read_settings(configured), stage)
    return pins


def _tell_prices(pins: Pins, before: str, name: str, prices: Prices, stage: str) -> None:
    now = pins.ids.get(name, name)
    if before and before != now:
        remark(f"The model changes from {price_line(prices, before)} to {price_line(prices, now)}.")
    for family, newer in pins.newer.items():
        kept = price_line(prices, pins.ids[family])
        remark(
            f"{family} now means {price_line(prices, newer)}; this stage keeps {kept}. "
            f"`pai deploy --stage {stage} --model {name}` changes to the newest."
        )


def _try(pins: Pins, settings: Settings, stage: str) -> None:
    """Have each model say a word.

    The first call to a model of the marketplace subscribes the account to it, with the rights of whoever calls: who deploys
    may, the functions may not. https://docs.aws.amazon.com/bedrock/latest/userguide/model-access.html
    """
    answering, problems = [], []
    with step("model access") as say:
        for model in dict.fromkeys(pins.ids.values()):
            try:
                check_model_access(build(replace(settings, model=model, models="", fallback_models="")))
                answering.append(model)
            except (PaiError, Wrong) as error:
                problems.append(f"{model} does not answer you yet: {error}")
        say(f"{len(answering)} of {len(answering) + len(problems)} answer")
    for problem in problems:
        remark(f"{problem} The deployment goes on. `pai doctor --stage {stage}` tries again.")
