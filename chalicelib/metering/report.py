"""What GET /usage says: one owner's own counters of a month, and what is left of budgets. Pure, but for reading the days."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.clock import iso
from chalicelib.errors import BadRequest
from chalicelib.http import Reply, Request
from chalicelib.metering import Meter
from chalicelib.metering.ledger import Day, Line, date_of, name_of, payer_of, reset_at
from chalicelib.metering.limits import Budget, Limits
from chalicelib.metering.prices import NANO, Price, Prices
from chalicelib.records import Principal, Usage

MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")

Json = dict[str, Any]


@dataclass(frozen=True)
class Priced:
    """A line with what it cost by today's prices, where it had none when it was counted; `nano_dollars` None is unknown."""

    date: str
    line: Line
    nano_dollars: int | None


def usage_reply(meter: Meter, request: Request) -> Reply:
    """Return what the asking owner used in a month (`month`, by default this one). Raises BadRequest."""
    month = request.query.get("month", "")
    if month and not MONTH.fullmatch(month):
        raise BadRequest("month", "must be a year and a month, such as 2026-11")
    return Reply(report(meter, Principal(request.owner, request.key_id), month))


def report(meter: Meter, who: Principal, month: str = "") -> Json:
    """Return the reply's body. Nothing of another owner's is in it but how much of the deployment's budgets is left."""
    now, prices = meter.now(), meter.prices()
    today = date_of(now)
    this_month = meter.ledger.days(today[:7])
    shown = this_month if month in ("", today[:7]) else meter.ledger.days(month)
    lines = [_priced(day.date, line, prices) for day in shown for line in day.lines() if line.owner == who.owner]
    return {
        "month": month or today[:7],
        "days": [
            {"date": date, **_sum(group), "models": _models(group)} for date, group in _grouped(lines, lambda one: one.date)
        ],
        "models": [{"model": model, **_sum(group)} for model, group in _grouped(lines, lambda one: one.line.model)],
        "keys": [{"key_id": key, **_sum(group)} for key, group in _grouped(lines, lambda one: one.line.payer)],
        "total": _sum(lines),
        "budget": _budget(meter.limits(), payer_of(who), _standing(this_month, today, now), now),
        "prices": {"as_of": prices.as_of, "source": prices.source, "unknown": _unknown(lines)},
    }


def _priced(date: str, line: Line, prices: Prices) -> Priced:
    if line.nano_dollars is not None:
        return Priced(date, line, line.nano_dollars)
    price: Price | None = prices.of(line.model)
    return Priced(date, line, price.cost(line.usage) if price else None)


def _grouped(lines: Iterable[Priced], key: Any) -> Sequence[tuple[str, list[Priced]]]:
    groups: dict[str, list[Priced]] = defaultdict(list)
    for line in lines:
        groups[key(line)].append(line)
    return sorted(groups.items())


def _sum(lines: Iterable[Priced]) -> Json:
    """Return tokens, answers and dollars. `dollars` is null if any of it has no price; `dollars_known` is what has."""
    lines = list(lines)
    known = _dollars(sum(line.nano_dollars or 0 for line in lines))
    return {
        "tokens": vars(_usage(lines)),
        "turns": sum(line.line.turns for line in lines),
        "dollars": None if _unknown(lines) else known,
        "dollars_known": known,
    }


def _models(lines: Iterable[Priced]) -> list[str]:
    return sorted({line.line.model for line in lines})


def _usage(lines: Iterable[Priced]) -> Usage:
    total: dict[str, int] = vars(Usage()).copy()
    for line in lines:
        for name, tokens in vars(line.line.usage).items():
            total[name] += tokens
    return Usage(**total)


def _unknown(lines: Iterable[Priced]) -> list[str]:
    """Return the models whose tokens have no price."""
    return _models(line for line in lines if line.nano_dollars is None)


def _standing(days: Iterable[Day], today: str, now: float) -> Mapping[str, Mapping[str, int]]:
    """Return what counts against budgets, by period and counter."""
    standing: dict[str, dict[str, int]] = {"day": {}, "month": {}}
    for day in days:
        for name, count in day.standing(now).items():
            for period in ("month", "day") if day.date == today else ("month",):
                standing[period][name] = standing[period].get(name, 0) + count
    return standing


def _budget(limits: Limits, payer: str, standing: Mapping[str, Mapping[str, int]], now: float) -> Json:
    """Return every limit with what is left of it: of the deployment by day and month, and under `key` of the asking key."""
    shown: Json = {"day": {}, "month": {}, "key": {"day": {}, "month": {}, "requests_per_minute": limits.requests or None}}
    for budget in limits.budgets:
        place = shown if budget.scope == "deployment" else shown["key"]
        place[budget.period][budget.unit] = _left(budget, standing[budget.period].get(name_of(budget, payer), 0), now)
    return {**shown, "soft_percent": limits.soft_percent, "cheaper_model": limits.model or None}


def _left(budget: Budget, used: int, now: float) -> Json:
    """Return a limit, what is used of it (reservations of answers under way and all), and what is left."""
    counts = {"limit": budget.limit, "used": used, "left": max(budget.limit - used, 0)}
    amounts = {name: _dollars(count) for name, count in counts.items()} if budget.unit == "dollars" else counts
    return {**amounts, "resets_at": iso(reset_at(budget, now))}


def _dollars(nano: int) -> float:
    return round(nano / NANO, 6)
