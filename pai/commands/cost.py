"""`pai cost`: what a stage on AWS costs, idle and this month."""

import time
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from pai.commands import json_option
from pai.operate import cloud_stage_option
from pai.terminal.screen import print_json, print_note, print_table

if TYPE_CHECKING:
    from pai.operate.cost import Line, Month


@click.command(short_help="Say what a stage on AWS costs.")
@cloud_stage_option
@json_option
def cost(stage: str, as_json: bool) -> None:
    """Say what a stage costs a month when nobody uses it, with documents off and on, and what this month has cost so far.

    The first is worked out from infrastructure/resources.yaml, the second from the counters that budgets are held against:
    the model's dollars as counted, AWS's by what one answer takes. Your bill has the last word; docs/cost.md has more.
    """
    from pai.operate.cost import floor
    from pai.operate.template import load_template
    from pai.stage import enter_stage, explained, project_folder

    template = load_template(project_folder() / "infrastructure" / "resources.yaml")
    floors = {name: floor(template, rag=rag) for name, rag in (("off", False), ("on", True))}
    with explained():
        month = _month(enter_stage(stage))
    if as_json:
        print_json(
            {"idle": {name: _plain(lines) for name, lines in floors.items()}, "month": _month_json(month, floors["off"])}
        )
        return
    for name, lines in floors.items():
        _show_floor(name, lines)
    _show_month(month, floors["off"])


def _month(settings: Any) -> "Month":
    """Return what the stage's ledger has counted of this month."""
    from chalicelib.metering.ledger import Ledger
    from chalicelib.metering.prices import NANO
    from chalicelib.wiring import parts
    from pai.operate.cost import Month

    now = datetime.now(UTC)
    days = Ledger(parts(settings).store, time.time).days(f"{now:%Y-%m}")
    lines = [line for day in days for line in day.lines()]
    unpriced = sorted({line.model for line in lines if line.nano_dollars is None})
    dollars = sum(line.nano_dollars or 0 for line in lines) / NANO
    share = (now.day - 1 + now.hour / 24) / monthrange(now.year, now.month)[1]
    return Month(sum(line.turns for line in lines), dollars, unpriced, share)


def _show_floor(name: str, lines: "list[Line]") -> None:
    from pai.operate.cost import total
    from pai.operate.prices import aws_prices

    prices = aws_prices()
    print_note(f"Idle for a month, documents {name} (prices of {prices.as_of}, {prices.region}):")
    rows = [(line.what, f"${line.dollars:.2f}", line.formula, line.why) for line in lines]
    print_table(("", "dollars", "formula", ""), [*rows, ("total", f"${total(lines):.2f}", "", "")])


def _show_month(month: "Month", idle: "list[Line]") -> None:
    shown = _month_json(month, idle)
    print_note(f"This month so far, after {month.share:.0%} of it:")
    rows = [
        ("model", f"${shown['model']:.4f}", f"{month.turns:,} answers, as counted"),
        ("AWS for them", f"${shown['aws']:.4f}", f"{month.turns:,} answers × ${shown['aws_per_answer']:.6f}"),
        ("idle, documents off", f"${shown['idle']:.2f}", f"{month.share:.0%} of the month"),
    ]
    print_table(("", "dollars", "formula"), [*rows, ("total", f"${shown['total']:.2f}", "")])
    if month.unpriced:
        print_note(f"No price is known of {', '.join(month.unpriced)}: it is not in this. PAI_PRICES can name one.")


def _month_json(month: "Month", idle: "list[Line]") -> Mapping[str, Any]:
    from pai.operate.cost import Turn, per_turns, total

    turn = Turn()
    passed, aws = total(idle) * month.share, month.aws(turn)
    return {
        "answers": month.turns,
        "model": month.model,
        "unpriced": list(month.unpriced),
        "aws": aws,
        "aws_per_answer": total(per_turns(1, turn)),
        "idle": passed,
        "total": month.model + aws + passed,
    }


def _plain(lines: "list[Line]") -> Mapping[str, Any]:
    from pai.operate.cost import total

    shown = [{"what": line.what, "dollars": line.dollars, "formula": line.formula} for line in lines]
    return {"lines": shown, "dollars": total(lines)}
