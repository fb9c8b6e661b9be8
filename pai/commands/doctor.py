"""`pai doctor`: what is wrong, and how to fix it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pai.commands import json_option, make_sure
from pai.stage import LOCAL, enter_stage, explained, stage_option
from pai.terminal.screen import print_json, print_note, print_table, printable, waiting

if TYPE_CHECKING:
    from chalicelib.settings import Settings
    from chalicelib.wiring import Parts
    from pai.orphans import Stray


@click.command(short_help="Say what is wrong and how to fix it.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Where `pai run` is to listen.")
@click.option("--orphans", is_flag=True, help="Look for strays among the documents instead: index, files, registry.")
@click.option("--fix", is_flag=True, help="With --orphans: put right what was found, after asking.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@stage_option
@json_option
def doctor(port: int, orphans: bool, fix: bool, yes: bool, stage: str, as_json: bool) -> None:
    """Look at everything that can be wrong with PAI here, and say how to fix it. Exit status 1 if something is wrong.

    --orphans compares what the index, the files and the registry of documents have of each other, for all owners, and lists
    by id what has lost its other half: after a crash, or after something was deleted by hand.
    """
    if (fix or yes) and not orphans:
        raise click.UsageError("--fix and --yes go with --orphans.")
    from chalicelib.wiring import parts

    settings = enter_stage(stage)
    if orphans:
        sys.exit(_orphans(parts(settings), fix=fix, yes=yes, as_json=as_json))
    sys.exit(_examine(parts(settings), settings, port, local=stage == LOCAL, as_json=as_json))


def _examine(ours: "Parts", settings: "Settings", port: int, *, local: bool, as_json: bool) -> int:
    """Show the finding of each check as it comes; return the exit status."""
    from pai.doctor import cloud_checks, examine, local_checks
    from pai.home import find_home

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
    return 0 if all(finding.ok for finding in findings) else 1


def _orphans(ours: "Parts", *, fix: bool, yes: bool, as_json: bool) -> int:
    """Show the strays and, where that is wanted, put them right; return the exit status."""
    from pai.orphans import find_strays, mend

    with explained(), waiting("looking at index, files and registry"):
        found = find_strays(ours)
    if as_json:
        print_json([asdict(stray) for stray in found])
    else:
        _print_strays(found)
    if not found or not fix:
        return 1 if found else 0
    if not yes:
        make_sure(f"Put {len(found)} right, as it says there?", "Nothing was changed.")
    with explained(), waiting("putting it right"):
        for stray in found:
            mend(ours, stray)
    print_note(f"{len(found)} put right. What is to be read again is read by the server; look again when it is done.")
    return 0


def _print_strays(found: "Sequence[Stray]") -> None:
    rows = [(stray.owner, stray.document_id or stray.key, stray.fix, stray.what) for stray in found]
    print_table(("owner", "what", "to put it right", "why"), rows)
    print_note(f"{len(found)} found. `pai doctor --orphans --fix` puts them right." if found else "There are no strays.")
