"""`pai logs`: what a stage on AWS writes."""

import time
from datetime import datetime

import click

from pai.operate import cloud_stage_option
from pai.terminal.screen import print_note, printable


@click.command(short_help="Show what a stage on AWS writes.")
@cloud_stage_option
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--since", default="10m", show_default=True, help="How far back: 90s, 10m, 2h, 1d.")
@click.option(
    "--filter", "pattern", default="", metavar="PATTERN", help="Only lines that CloudWatch's filter pattern finds, as ERROR."
)
def logs(stage: str, follow: bool, since: str, pattern: str) -> None:
    """Show the logs of all functions of a stage and of its API, in the order of time.

    They hold ids, counts and codes, never what was said. Below a line that tells of a known trouble stands what to do.
    """
    from pai.operate import watch
    from pai.operate.deployed import log_groups

    span_s = watch.seconds_of(since)
    if span_s is None:
        raise click.UsageError(f"--since {since!r} is no span. Write 90s, 10m, 2h or 1d.")
    groups = log_groups(stage)
    if not groups:
        raise click.ClickException(f"Stage {stage} has no logs here. `pai deploy --stage {stage}` brings it up.")
    since_ms = int((time.time() - span_s) * 1000)
    told: set[str] = set()
    lines = watch.follow(groups, since_ms, pattern) if follow else iter(watch.read(groups, since_ms, pattern))
    for line in lines:
        at = datetime.fromtimestamp(line.at_ms / 1000).astimezone()
        click.echo(f"{at:%H:%M:%S} {line.group.rpartition('/')[2]}  {printable(line.text)}")
        if line.trouble and line.trouble.name not in told:
            told.add(line.trouble.name)
            print_note(f"  → {line.trouble.name}: {line.trouble.what_to_do}")
