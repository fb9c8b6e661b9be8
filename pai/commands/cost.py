"""`pai cost`: what a stage on AWS costs, idle and this month."""

import time
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from chalicelib.metering import ledger
from chalicelib.metering.prices import NANO, prices_of
from chalicelib.settings import Settings
from chalicelib.wiring import parts
from pai.commands import json_option
from pai.operate import cloud_stage_option
from pai.operate.cost import FOLLOWED, Line, Month, Part, floor, per_turns, total
from pai.operate.prices import aws_prices
from pai.operate.template import load_template
from pai.stage import enter_stage, explained, project_folder
from pai.terminal.screen import print_json, print_note, print_table

Floors = Mapping[str, Sequence[Line]]
"""What an idle month costs, line by line, with documents "off" and "on"."""


@click.command(short_help="Say what a stage on AWS costs.")
@cloud_stage_option
@json_option
def cost(stage: str, as_json: bool) -> None:
    """Say what a stage costs a month when nobody uses it, with documents off and on, and what this month has cost so far.

    The first is worked out from infrastructure/resources.yaml, the second from the counters that budgets are held against:
    the model's dollars as counted, AWS's by what one answer takes. Your bill has the last word; docs/cost.md has more.
    """
    template = load_template(project_folder() / "infrastructure" / "resources.yaml")
    floors = {name: floor(template, rag=rag) for name, rag in (("off", False), ("on", True))}
    month, problem = None, None
    try:
        month = _month(stage, floors)
    except click.ClickException as error:  # what is idle costs the same where nothing can be asked, or is deployed
        problem = error
    if as_json:
        print_json(_json(floors, month))
    else:
        _show(floors, month)
    if problem:
        raise problem


def _month(stage: str, floors: Floors) -> Month:
    """Return what the stage's ledger has counted of this month, and what it costs idle, as it is deployed."""
    now = datetime.now(UTC)
    settings = enter_stage(stage)
    with explained():
        days = ledger.Ledger(parts(settings).store, time.time).days(f"{now:%Y-%m}")
        used = [(line, _nano_dollars(line, settings)) for day in days for line in day.lines()]
    documents = _documents(stage)
    return Month(
        turns=sum(line.turns for line, _ in used),
        model=sum(dollars or 0 for _, dollars in used) / NANO,
        unpriced=sorted({line.model for line, dollars in used if dollars is None}),
        share=(now.day - 1 + now.hour / 24) / monthrange(now.year, now.month)[1],
        documents=documents,
        idle=total(floors["off" if documents is False else "on"]),
    )


def _nano_dollars(used: ledger.Line, settings: Settings) -> int | None:
    """Return what it cost as it was counted, or by today's price where there was none."""
    if used.nano_dollars is not None:
        return used.nano_dollars
    price = prices_of(settings).of(used.model)
    return price.cost(used.usage) if price else None


def _documents(stage: str) -> bool | None:
    """Tell whether the stage is deployed with documents; None, and a note, where it may not be looked at."""
    from pai.operate.deploy import has_library  # takes a while, and --help need not wait for it

    try:
        with explained():
            return has_library(stage)
    except click.ClickException as error:
        print_note(f"{error.message} Until then, this is reckoned as if documents were on.")
        return None


def _show(floors: Floors, month: Month | None) -> None:
    for name, lines in floors.items():
        _show_floor(name, lines)
    if month:
        _show_month(month)


def _show_floor(name: str, lines: Sequence[Line]) -> None:
    prices = aws_prices()
    print_note(f"Idle for a month, documents {name} (prices of {prices.as_of}, {prices.region}):")
    rows = [(line.what, f"${line.dollars:.2f}", line.formula, line.why) for line in lines]
    print_table(("", "dollars", "formula", ""), [*rows, ("total", f"${total(lines):.2f}", "", "")])


def _show_month(month: Month) -> None:
    print_note(f"This month so far, after {month.share:.0%} of it:")
    rows = [(part.what, f"${part.dollars:.4f}", part.formula, part.why) for part in month.parts()]
    print_table(("", "dollars", "formula", ""), [*rows, ("total", f"${month.dollars:.2f}", "", "")])
    if month.unpriced:
        print_note(f"No price is known of {', '.join(month.unpriced)}: it is not in this. PAI_PRICES can name one.")
    if month.documents is not False:
        print_note("What documents take while they are used is not in this: docs/cost.md says what they may.")


def _json(floors: Floors, month: Month | None) -> Mapping[str, Any]:
    prices = {"as_of": aws_prices().as_of, "region": aws_prices().region}
    idle = {name: {"lines": [_plain(line) for line in lines], "dollars": total(lines)} for name, lines in floors.items()}
    return {"prices": prices, "idle": idle, "month": _month_json(month) if month else None}


def _month_json(month: Month) -> Mapping[str, Any]:
    model, aws, idle = month.parts()
    return {
        "answers": month.turns,
        "model": model.dollars,
        "unpriced": list(month.unpriced),
        "aws": aws.dollars,
        "aws_per_answer": total(per_turns(1, FOLLOWED)),
        "documents": month.documents,
        "share": month.share,
        "idle": idle.dollars,
        "lines": [_plain(part) for part in (model, aws, idle)],
        "total": month.dollars,
    }


def _plain(entry: Line | Part) -> Mapping[str, Any]:
    return {"what": entry.what, "dollars": entry.dollars, "formula": entry.formula, "why": entry.why}
