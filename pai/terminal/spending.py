"""What a month has used, cost and left over, for a person to see."""

from collections.abc import Iterator, Mapping
from typing import Any

from pai.terminal.screen import local_time, print_note, print_table

GROUPS = {"day": ("days", "date"), "model": ("models", "model"), "key": ("keys", "key_id")}
"""What a line may be of → where the reply has these, and what they are called by."""
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
HEADER = ("answers", "asked", "answered", "from cache", "to cache", "dollars")

Json = Mapping[str, Any]


def print_usage(report: Json, by: str) -> None:
    """Print a reply of GET /usage, a line for each `by` (day, model or key). What the server left out stays out."""
    group, name = GROUPS[by]
    lines = [line for line in _list(report.get(group)) if isinstance(line, Mapping)]
    total = [("total", *_counts(_object(report, "total")))] if len(lines) > 1 else []
    print_table((by, *HEADER), [(str(line.get(name, "")), *_counts(line)) for line in lines] + total)
    if not lines:
        print_note(f"Nothing was used in {report.get('month', 'this month')}.")
    for note in (*_price_notes(_object(report, "prices")), *_budget_notes(_object(report, "budget"))):
        print_note(note)


def _counts(line: Json) -> tuple[str, ...]:
    tokens, known = _object(line, "tokens"), line.get("dollars_known") or 0
    dollars = f"{known:.4f}" if line.get("dollars") is not None else f"{known:.4f} + ?" if known else "?"
    return (f"{line.get('turns', 0):,}", *(f"{tokens.get(count, 0):,}" for count in COUNTS), dollars)


def _price_notes(prices: Json) -> Iterator[str]:
    if unknown := _list(prices.get("unknown")):
        yield f"No price is known of {', '.join(map(str, unknown))}. PAI_PRICES can name one."
    if as_of := prices.get("as_of"):
        yield f"Prices are as of {as_of}."


def _budget_notes(budget: Json) -> Iterator[str]:
    for whose, periods in (("This deployment", budget), ("This key", _object(budget, "key"))):
        for period in ("day", "month"):
            for unit, left in _object(periods, period).items():
                amounts = f"{_amount(unit, left['left'])} of {_amount(unit, left['limit'])}"
                yield f"{whose} has {amounts} left this {period}, which ends {local_time(left['resets_at'])}."


def _amount(unit: str, value: float) -> str:
    return f"${value:,.2f}" if unit == "dollars" else f"{value:,} tokens"


def _object(value: Json, member: str) -> Json:
    found = value.get(member)
    return found if isinstance(found, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
