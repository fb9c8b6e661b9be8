"""`pai usage`: what was used, what it cost, and what is left."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from pai.commands import connected, json_option, url_option
from pai.terminal.screen import local_time, print_json, print_note, print_table, waiting

GROUPS = {"day": ("days", "date"), "model": ("models", "model"), "key": ("keys", "key_id")}
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
HEADER = ("answers", "asked", "answered", "from cache", "to cache", "dollars")

Json = Mapping[str, Any]


@click.command()
@click.option("--month", metavar="YYYY-MM", help="Which month, in UTC. Without it, this one.")
@click.option("--by", type=click.Choice(list(GROUPS)), default="day", show_default=True, help="What a line is of.")
@url_option
@json_option
def usage(month: str | None, by: str, url: str | None, as_json: bool) -> None:
    """Say what was used, what it cost, and what is left.

    Counts are tokens, by day (in UTC), model or API key, and are your own: those of the owner of this key. Dollars are by the
    price list that the server names. A model that is not in it shows tokens only.
    """
    with connected(url, as_json=as_json) as client, waiting():
        report = client.usage(month)
    if as_json:
        print_json(report)
        return
    group, name = GROUPS[by]
    total = [("total", *_counts(report["total"]))] if len(report[group]) > 1 else []
    print_table((by, *HEADER), [(line[name], *_counts(line)) for line in report[group]] + total)
    if not report[group]:
        print_note(f"Nothing was used in {report['month']}.")
    for note in _notes(report):
        print_note(note)


def _counts(line: Json) -> tuple[str, ...]:
    known = f"{line['dollars_known']:.4f}"
    dollars = known if line["dollars"] is not None else f"{known} + ?" if line["dollars_known"] else "?"
    return (f"{line['turns']:,}", *(f"{line['tokens'].get(count, 0):,}" for count in COUNTS), dollars)


def _notes(report: Json) -> Iterator[str]:
    prices = report["prices"]
    if prices["unknown"]:
        yield f"No price is known of {', '.join(prices['unknown'])}. PAI_PRICES can name one."
    yield f"Prices are as of {prices['as_of']}."
    budget = report["budget"]
    for whose, periods in (("This deployment", budget), ("This key", budget["key"])):
        for period in ("day", "month"):
            for unit, left in periods[period].items():
                amounts = f"{_amount(unit, left['left'])} of {_amount(unit, left['limit'])}"
                yield f"{whose} has {amounts} left this {period}, which ends {local_time(left['resets_at'])}."


def _amount(unit: str, value: float) -> str:
    return f"${value:,.2f}" if unit == "dollars" else f"{value:,} tokens"
