"""`pai doctor`: what is wrong, and how to fix it."""

import sys
from dataclasses import asdict

import click

from pai.commands import json_option
from pai.stage import LOCAL, enter_stage, stage_option
from pai.terminal.screen import print_json, printable


@click.command(short_help="Say what is wrong and how to fix it.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Where `pai run` is to listen.")
@stage_option
@json_option
def doctor(port: int, stage: str, as_json: bool) -> None:
    """Look at everything that can be wrong with PAI here, and say how to fix it. Exit status 1 if something is wrong."""
    from chalicelib.wiring import parts
    from pai.doctor import cloud_checks, examine, local_checks
    from pai.home import find_home

    settings = enter_stage(stage)
    ours = parts(settings)
    local = stage == LOCAL
    findings = []
    for finding in examine(local_checks(ours, find_home(settings.home), port) if local else cloud_checks(ours)):
        findings.append(finding)
        if not as_json:
            click.secho("✔ " if finding.ok else "✘ ", fg="green" if finding.ok else "red", nl=False)
            click.echo(f"{finding.name}: {printable(finding.detail)}")
            if finding.fix:
                click.echo(f"    → {printable(finding.fix)}")
    if as_json:
        print_json([asdict(finding) for finding in findings])
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
