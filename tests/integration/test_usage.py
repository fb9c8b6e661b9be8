"""GET /usage, `pai usage` and `pai budget`: what was used, what it cost, what is left, and what is refused."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from chalicelib.llm import Finish, Text
from chalicelib.records import Usage
from pai.cli import main
from pai.local.gateway import Gateway
from tests.integration.conftest import DEPLOYMENTS, Api, served
from tests.standins.processes import ROOT

PRICES = '{"as_of": "2027-01-01", "models": {"scripted": {"input": 3, "output": 15}}}'
ONE_TURN = {"input_tokens": 10, "output_tokens": 2, "cache_read_tokens": 0, "cache_write_tokens": 0}
ONE_TURNS_DOLLARS = 10 * 3e-6 + 2 * 15e-6

Pai = Callable[..., "subprocess.CompletedProcess[str]"]


def serving(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, kind: str = "memory", **environment: str) -> Any:
    """Serve the product with these settings, and no titles, which a model would be asked for too."""
    return served(gateway, {**DEPLOYMENTS[kind], "PAI_TITLES": "0", **environment}, monkeypatch)


@pytest.fixture(params=DEPLOYMENTS)
def api(request: pytest.FixtureRequest, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    if request.param == "aws":
        request.getfixturevalue("aws")
    home = str(tmp_path / "home")
    with serving(gateway, monkeypatch, request.param, PAI_PRICES=PRICES, PAI_HOME=home, PAI_BUDGET="day-tokens=1k") as api:
        yield api


@pytest.fixture
def priced_api(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    with serving(gateway, monkeypatch, PAI_PRICES=PRICES, PAI_BUDGET="month-dollars=1, key-day-tokens=5k") as api:
        yield api


def ask(client: httpx.Client, message: str = "Hello", **more: object) -> httpx.Response:
    return client.post("/chat", json={"message": message, "max_tokens": 50, **more})


def usage(client: httpx.Client, **parameters: str) -> Any:
    return client.get("/usage", params=parameters).raise_for_status().json()


def this_month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


# GET /usage


def test_usage_says_what_was_used_today_and_what_is_left(me: httpx.Client) -> None:
    ask(me).raise_for_status()
    ask(me).raise_for_status()

    report = usage(me)

    assert report["month"] == this_month()
    (day,) = report["days"]
    assert (day["tokens"], day["turns"], day["models"]) == ({name: 2 * n for name, n in ONE_TURN.items()}, 2, ["scripted"])
    assert day["dollars"] == report["total"]["dollars"] == pytest.approx(2 * ONE_TURNS_DOLLARS)
    assert {name: report["budget"]["day"]["tokens"][name] for name in ("limit", "used", "left")} == {
        "limit": 1000,
        "used": 24,
        "left": 976,
    }
    assert report["budget"]["day"]["tokens"]["resets_at"].endswith("T00:00:00.000Z")


def test_usage_is_by_model_and_key_too(priced_api: Api) -> None:
    with priced_api.client("me") as phone, priced_api.client("me") as laptop:
        ask(phone)
        priced_api.llm.acts = [lambda request: [Text("Yes."), Finish(Usage(100, 1), "end", "new-1")]]
        ask(laptop)

        report = usage(phone)

    assert [(line["model"], line["turns"]) for line in report["models"]] == [("new-1", 1), ("scripted", 1)]
    assert sorted(line["tokens"]["input_tokens"] for line in report["keys"]) == [10, 100]
    assert report["budget"]["key"]["day"]["tokens"]["used"] == 12


def test_a_model_without_a_price_shows_tokens_and_no_guess(priced_api: Api) -> None:
    with priced_api.client("me") as me:
        ask(me)
        priced_api.llm.acts = [lambda request: [Text("Yes."), Finish(Usage(100, 1), "end", "new-1")]]
        ask(me)

        report = usage(me)

    assert (report["models"][0]["dollars"], report["models"][0]["tokens"]["input_tokens"]) == (None, 100)
    assert (report["total"]["dollars"], report["total"]["dollars_known"]) == (None, pytest.approx(ONE_TURNS_DOLLARS))
    assert (report["prices"]["as_of"], report["prices"]["unknown"]) == ("2027-01-01", ["new-1"])


def test_what_had_no_price_when_it_was_used_has_the_one_that_was_added_since(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = str(tmp_path / "home")
    with serving(gateway, monkeypatch, "one machine", PAI_HOME=home) as api, api.client("me") as me:
        ask(me)
        assert usage(me)["total"]["dollars"] is None

    with serving(gateway, monkeypatch, "one machine", PAI_HOME=home, PAI_PRICES=PRICES) as api, api.client("me") as me:
        ask(me)
        assert usage(me)["total"]["dollars"] == pytest.approx(2 * ONE_TURNS_DOLLARS)


def test_nobody_sees_what_others_use_but_how_much_is_left_for_all(api: Api) -> None:
    with api.client("anna") as anna, api.client("me") as me:
        ask(anna)

        report = usage(me)

        assert (report["days"], report["models"], report["keys"], report["total"]["turns"]) == ([], [], [], 0)
        assert report["budget"]["day"]["tokens"]["left"] == 988
        assert "anna" not in json.dumps(report)


def test_another_month_has_its_own_numbers(priced_api: Api) -> None:
    with priced_api.client("me") as me:
        ask(me)

        report = usage(me, month="2026-01")

    assert (report["month"], report["days"], report["total"]["turns"]) == ("2026-01", [], 0)
    assert report["budget"]["month"]["dollars"]["used"] == pytest.approx(ONE_TURNS_DOLLARS)


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-1", "now", "2026-01-01", "1026-01"])
def test_a_month_that_is_none_is_named(priced_api: Api, month: str) -> None:
    with priced_api.client("me") as me:
        answer = me.get("/usage", params={"month": month})

    assert (answer.status_code, answer.json()["field"]) == (400, "month")


def test_usage_without_a_key_is_refused(priced_api: Api) -> None:
    assert httpx.get(f"{priced_api.url}/usage").status_code == 401


# What is refused


def test_who_passes_the_budget_is_told_when_it_resets_and_no_model_is_asked(api: Api, me: httpx.Client) -> None:
    api.llm.acts = [lambda request: [Text("Yes."), Finish(Usage(940, 10), "end", "scripted")]]
    ask(me).raise_for_status()
    asked = len(api.llm.requests)

    refused = ask(me)

    assert (refused.status_code, refused.json()["Code"], refused.json()["budget"]) == (429, "BudgetSpent", "day-tokens")
    midnight = datetime.now(UTC).timestamp() // 86_400 * 86_400 + 86_400
    assert int(refused.headers["Retry-After"]) == pytest.approx(midnight - time.time(), abs=60)
    assert refused.json()["resets_at"].endswith("T00:00:00.000Z")
    assert len(api.llm.requests) == asked


def test_who_asks_too_often_is_told_to_wait_a_minute_at_most(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(gateway, monkeypatch, PAI_BUDGET="key-minute-requests=1") as api, api.client("me") as me:
        answers = [ask(me) for _ in range(3)]

    refused = answers[-1]  # a minute may have ended between two of them, not between all
    assert (refused.status_code, refused.json()["Code"]) == (429, "RateLimited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


# The commands


@pytest.fixture
def pai(tmp_path: Path) -> Pai:
    """Run `pai …` in a process of its own, as on this machine."""

    def pai(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        return subprocess.run(
            [sys.executable, "-m", "pai", *arguments],
            cwd=ROOT,
            env={**environment, "PAI_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return pai


def used_once(api: Api) -> str:
    """Ask with a new key of the owner `me`, and return that."""
    _, token = api.key("me")
    with httpx.Client(base_url=api.url, headers={"Authorization": f"Bearer {token}"}) as client:
        ask(client).raise_for_status()
    return token


def usage_command(api: Api, tmp_path: Path, token: str, *arguments: str) -> Result:
    environment = {"PAI_URL": api.url, "PAI_API_KEY": token, "PAI_CONFIG_HOME": str(tmp_path / "settings")}
    return CliRunner().invoke(main, ["usage", *arguments], env=environment)


def test_pai_usage_prints_a_line_for_each_day_and_what_is_left(priced_api: Api, tmp_path: Path) -> None:
    token = used_once(priced_api)

    shown = usage_command(priced_api, tmp_path, token)

    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert shown.stdout == f"{today}\t1\t10\t2\t0\t0\t0.0001\n"
    assert "This deployment has $1.00 of $1.00 left this month" in shown.stderr
    assert "This key has 4,988 tokens of 5,000 tokens left this day" in shown.stderr
    assert "Prices are as of 2027-01-01." in shown.stderr


def test_pai_usage_goes_by_model_and_says_which_has_no_price(priced_api: Api, tmp_path: Path) -> None:
    token = used_once(priced_api)
    priced_api.llm.acts = [lambda request: [Text("Yes."), Finish(Usage(100, 1), "end", "new-1")]]
    used_once(priced_api)

    shown = usage_command(priced_api, tmp_path, token, "--by", "model")

    assert shown.stdout.splitlines() == [
        "new-1\t1\t100\t1\t0\t0\t?",
        "scripted\t1\t10\t2\t0\t0\t0.0001",
        "total\t2\t110\t3\t0\t0\t0.0001 + ?",
    ]
    assert "No price is known of new-1. PAI_PRICES can name one." in shown.stderr


def test_pai_usage_gives_programs_what_the_server_says(priced_api: Api, tmp_path: Path) -> None:
    _, token = priced_api.key("me")

    shown = usage_command(priced_api, tmp_path, token, "--month", "2026-01", "--json")

    assert (shown.exit_code, json.loads(shown.stdout)["month"]) == (0, "2026-01")


def test_pai_usage_of_a_month_that_is_none_is_wrong_usage(priced_api: Api, tmp_path: Path) -> None:
    _, token = priced_api.key("me")

    shown = usage_command(priced_api, tmp_path, token, "--month", "then")

    assert (shown.exit_code, "month: must be a year and a month" in shown.stderr) == (2, True)


def test_a_budget_that_the_owner_sets_holds(
    pai: Pai, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = pai("budget", "set", "--day-tokens", "20")
    assert done.returncode == 0, done.stderr

    with serving(gateway, monkeypatch, "one machine", PAI_HOME=str(tmp_path / "home")) as api, api.client("me") as me:
        refused = ask(me)

    assert (refused.status_code, refused.json()["budget"]) == (429, "day-tokens")


def test_pai_budget_show_says_who_set_each_limit_and_what_is_used(
    pai: Pai, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with serving(gateway, monkeypatch, "one machine", PAI_HOME=str(tmp_path / "home")) as api, api.client("me") as me:
        ask(me).raise_for_status()
    pai("budget", "set", "--day-tokens", "2k", "--month-dollars", "2.50")

    shown = json.loads(pai("budget", "show", "--json").stdout)

    assert shown["day-tokens"] == {"limit": 2000, "used": 12, "set_by": "owner"}
    assert shown["month-dollars"] == {"limit": 2.5, "used": 0, "set_by": "owner"}
    assert shown["key-day-tokens"] == {"limit": None, "used": None, "set_by": "stage"}


def test_limits_that_are_not_named_stay_and_default_is_the_stages_own(pai: Pai) -> None:
    pai("budget", "set", "--day-tokens", "2k", "--model", "echo")

    lines = pai("budget", "set", "--day-tokens", "default", "--key-minute-requests", "5").stdout.splitlines()

    shown = {name: (limit, who) for name, limit, _, who in (line.split("\t") for line in lines)}
    assert shown["day-tokens"] == ("none", "the stage")
    assert shown["model"] == ("echo", "pai budget set")
    assert shown["key-minute-requests"] == ("5", "pai budget set")


@pytest.mark.parametrize("arguments", [(), ("--day-dollars", "much"), ("--soft-percent", "0"), ("--day-tokens", "-1")])
def test_a_budget_that_is_none_is_wrong_usage_and_changes_nothing(pai: Pai, arguments: tuple[str, ...]) -> None:
    assert pai("budget", "set", *arguments).returncode == 2


def test_pai_budget_works_on_a_stages_own_store(pai: Pai, aws: str) -> None:
    done = pai("budget", "set", "--day-dollars", "0.25", "--stage", "dev", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["day-dollars"] == {"limit": 0.25, "used": 0, "set_by": "owner"}
    assert json.loads(done.stdout)["month-dollars"] == {"limit": 20, "used": 0, "set_by": "stage"}
