"""What may be spent, as owners write it."""

import json
from pathlib import Path

import pytest

from chalicelib.errors import Misconfigured
from chalicelib.metering.limits import SAFE, Budget, Limits, limits_of, set_by_owner, set_by_stage, shown, value_of
from chalicelib.settings import Settings, read_settings
from tests.standins.processes import ROOT


def limits(text: str, stage: str = "dev") -> Limits:
    return limits_of(set_by_stage(Settings(stage=stage, budget=text)))


def test_each_limit_has_its_scope_period_and_unit() -> None:
    assert limits(
        "day-dollars=2, key-month-tokens=500k,key-minute-requests=60, soft-percent=50, model=claude-haiku"
    ) == Limits(
        (Budget("deployment", "day", "dollars", 2 * 10**9), Budget("key", "month", "tokens", 500_000)), 60, 50, "claude-haiku"
    )


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("day-dollars", "2", 2 * 10**9),
        ("day-dollars", "$0.50", 5 * 10**8),
        ("day-dollars", "0.000000001", 1),
        ("day-dollars", "none", 0),
        ("day-tokens", "2M", 2_000_000),
        ("day-tokens", "1_500", 1_500),
        ("key-minute-requests", "60", 60),
        ("soft-percent", "100", 100),
        ("model", "none", ""),
        ("model", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ],
)
def test_amounts_are_read_as_people_write_them(name: str, text: str, value: object) -> None:
    assert value_of(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("day-dollars", "-1"),
        ("day-dollars", "two"),
        ("day-dollars", "1e3"),
        ("day-dollars", "99999999"),
        ("day-tokens", "1.5M"),
        ("day-tokens", "-5"),
        ("day-tokens", ""),
        ("day-tokens", "9999999999M"),
        ("soft-percent", "0"),
        ("soft-percent", "101"),
        ("soft-percent", "none"),
    ],
)
def test_an_amount_that_is_none_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is '{text}'; write "):
        value_of(name, text)


@pytest.mark.parametrize("name", ["day-dollars", "day-tokens", "soft-percent", "model"])
def test_what_is_shown_can_be_set_again(name: str) -> None:
    value = value_of(name, {"model": "nova-lite", "day-dollars": "1234.5", "soft-percent": "70"}.get(name, "12k"))

    assert value_of(name, shown(name, value).replace(",", "")) == value


@pytest.mark.parametrize("text", ["day-dollar=2", "day-dollars", "day-dollars=", "day-dollars=much", "2"])
def test_a_budget_that_can_not_be_read_names_its_variable(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"^PAI_BUDGET is wrong: "):
        limits(text)


def test_this_machine_has_no_limit_unless_its_owner_sets_one() -> None:
    assert limits("", stage="local") == Limits()
    assert limits("day-tokens=5", stage="local").budgets == (Budget("deployment", "day", "tokens", 5),)


def test_a_new_deployment_has_a_safe_cap_until_its_owner_says_otherwise() -> None:
    assert {budget.name for budget in limits("", stage="anything").budgets} == {
        "day-dollars",
        "month-dollars",
        "day-tokens",
        "month-tokens",
    }
    assert limits("none", stage="anything") == Limits()


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_stages_have_the_safe_cap_and_a_cheaper_model_of_their_own(stage: str) -> None:
    config = json.loads((Path(ROOT) / ".chalice" / "config.json").read_text())
    settings = read_settings(config["stages"][stage]["environment_variables"])
    set_there, safe = limits_of(set_by_stage(settings)), limits(SAFE)

    assert (set_there.budgets, set_there.requests) == (safe.budgets, safe.requests)
    assert set_there.model in settings.models.split(",")


def test_what_the_owner_has_set_is_only_what_limits_have_names_for() -> None:
    assert set_by_owner({"pk": "B#", "sk": "~", "day-tokens": 5, "unknown": 7}) == {"day-tokens": 5}
    assert set_by_owner(None) == {}
