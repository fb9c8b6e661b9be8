"""`pai status`: how a stage on AWS is."""

import sys
from dataclasses import asdict

import click

from pai.commands import json_option
from pai.operate import cloud_stage_option
from pai.terminal.screen import print_json, printable


@click.command(short_help="Say how a stage on AWS is.")
@cloud_stage_option
@json_option
def status(stage: str, as_json: bool) -> None:
    """Say how a stage on AWS is: stack, address, functions, model, queues, alarms. Exit status 1 if something is wrong.

    `pai doctor --stage STAGE` goes further: it uses each part, and has the model say a word.
    """
    from pai.operate.status import status as look
    from pai.stage import project_folder

    lines = []
    for line in look(stage, project_folder()):
        lines.append(line)
        if not as_json:
            click.secho("✔ " if line.ok else "✘ ", fg="green" if line.ok else "red", nl=False)
            click.echo(f"{line.name}: {printable(line.said)}")
            if not line.ok:
                click.echo(f"    → {line.fix}")
    if as_json:
        print_json([asdict(line) for line in lines])
    sys.exit(0 if all(line.ok for line in lines) else 1)
