"""`pai usage`: what was used, what it cost, and what is left."""

import click

from pai.commands import connected, json_option, url_option
from pai.terminal.screen import print_json, waiting
from pai.terminal.spending import GROUPS, print_usage


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
    print_usage(report, by)
