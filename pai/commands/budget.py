"""`pai budget`: what a stage may spend, changed in its store itself: over HTTP a leaked key could raise its own limits."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from chalicelib.metering.ledger import Ledger, date_of, name_of
from chalicelib.metering.limits import (
    BUDGETS,
    KEY,
    NAMES,
    Limits,
    limits_of,
    set_by_owner,
    set_by_stage,
    shown,
    value_of,
)
from chalicelib.metering.prices import NANO
from chalicelib.settings import Settings
from chalicelib.store import Store, Value
from chalicelib.wiring import parts
from pai.commands import json_option
from pai.home import check_format, find_home
from pai.stage import enter_stage, explained, stage_option
from pai.terminal.screen import print_json, print_note, print_table

HELP = {
    "key-minute-requests": "Requests of one key in a minute.",
    "soft-percent": "From how much of a budget on the cheaper model answers.",
    "model": "The cheaper model: one of the deployment's. It answers requests that name none.",
}
DEFAULT = "default"


@click.group(short_help="Show and set what may be spent.")
def budget() -> None:
    """Show and set what may be spent.

    Each limit is of the whole deployment or of every single API key (key-…), of a day or a month in UTC, in tokens or dollars.
    An answer that could pass one is refused (429, BudgetSpent) until the next day or month begins.
    """


@budget.command()
@stage_option
@json_option
def show(stage: str, as_json: bool) -> None:
    """Show the limits, who set them, and what is used."""
    settings = enter_stage(stage)
    with explained():
        store = _store(settings)
        by_stage, by_owner = set_by_stage(settings), set_by_owner(store.get(*KEY))
        used = _used(Ledger(store, time.time), limits_of({**by_stage, **by_owner}))
    values = {"soft-percent": Limits.soft_percent, **by_stage, **by_owner}
    if as_json:
        print_json({name: _plain(name, values, used, by_owner) for name in NAMES})
        return
    rows = [
        (name, shown(name, values.get(name, 0)), shown(name, used[name]) if used.get(name) else "", _who(name, by_owner))
        for name in NAMES
    ]
    print_table(("limit", "", "used", "set by"), rows)


def _described(name: str) -> str:
    scope, period, unit = BUDGETS[name]
    what = "Dollars" if unit == "dollars" else "Tokens"
    return f"{what} that {'each key' if scope == 'key' else 'the deployment'} may use in a {period}."


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one option for each limit."""
    for name in reversed(NAMES):
        said = HELP.get(name) or _described(name)
        command = click.option(f"--{name}", metavar="NAME" if name == "model" else "AMOUNT", help=said)(command)
    return command


@budget.command("set")
@_options
@stage_option
@json_option
@click.pass_context
def set_budget(context: click.Context, /, stage: str, as_json: bool, **given: str | None) -> None:
    """Set limits; those that are not named stay as they are.

    AMOUNT is a number such as 2, 0.50, 500k or 2M; `none` is no limit, `default` is what the stage has set.
    """
    texts = {name: text for name in NAMES if (text := given[name.replace("-", "_")]) is not None}
    if not texts:
        raise click.UsageError("Name a limit, such as --day-dollars 2.")
    try:
        changed = {name: value_of(name, text) for name, text in texts.items() if text != DEFAULT}
    except ValueError as error:
        raise click.UsageError(f"--{error}") from error
    settings = enter_stage(stage)
    with explained():
        _store(settings).update(*KEY, set=changed, remove=[name for name in texts if name not in changed])
    context.invoke(show, stage=stage, as_json=as_json)
    print_note("It holds within a minute.")


def _store(settings: Settings) -> Store:
    if settings.platform == "local":
        check_format(find_home(settings.home))
    return parts(settings).store


def _used(ledger: Ledger, limits: Limits) -> Mapping[str, int]:
    """Return what the deployment has used of its own limits, by their names."""
    now = time.time()
    today = date_of(now)
    days = [(day.date, day.standing(now)) for day in ledger.days(today[:7])]
    used = {}
    for one in limits.budgets:
        if one.scope == "deployment":
            counts = [counted.get(name_of(one, ""), 0) for date, counted in days if one.period == "month" or date == today]
            used[one.name] = sum(counts)
    return used


def _who(name: str, by_owner: Mapping[str, Value]) -> str:
    return "pai budget set" if name in by_owner else "the stage"


def _plain(name: str, values: Mapping[str, Value], used: Mapping[str, int], by_owner: Mapping[str, Value]) -> object:
    """Return a limit as JSON: dollars as dollars, null for none."""
    scale = NANO if name.endswith("dollars") else 1
    limit, spent = values.get(name) or None, used.get(name)
    return {
        "limit": limit / scale if isinstance(limit, int) and scale > 1 else limit,
        "used": None if spent is None else spent / scale if scale > 1 else spent,
        "set_by": "owner" if name in by_owner else "stage",
    }
