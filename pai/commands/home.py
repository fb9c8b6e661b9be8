"""`pai backup` and `pai restore`: all that one machine keeps, as one file."""

from datetime import UTC, datetime
from pathlib import Path

import click

from pai.backup import Manifest, back_up
from pai.backup import restore as put_back
from pai.commands import json_option
from pai.home import Home, check_format, find_home
from pai.stage import LOCAL, enter_stage
from pai.terminal.screen import print_json, print_note


@click.command(short_help="Save everything this machine keeps to one file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option
def backup(file: Path | None, as_json: bool) -> None:
    """Save everything in $PAI_HOME to FILE: conversations, documents, API keys, and the key that opens them.

    Works while PAI runs. Models are left out: they can be fetched again. Whoever has the file can read every conversation
    in it, so keep it where nobody else gets to.
    """
    home = _home()
    check_format(home)
    target = file or Path(f"pai-backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    manifest = back_up(home, target)
    if as_json:
        print_json({"file": str(target.absolute()), "home": str(home.path), **_summary(manifest)})
        return
    click.echo(f"{target}: {_in_words(manifest)} of {home.path}.")
    print_note("Whoever has this file can read every conversation in it: keep it where nobody else gets to.")


@click.command(short_help="Bring a backup back.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Move what is in the home now aside, and say where to.")
@json_option
def restore(file: Path, replace: bool, as_json: bool) -> None:
    """Put what `pai backup` saved to FILE into $PAI_HOME.

    The file is checked from beginning to end before anything changes. A home that is not empty is only replaced with
    --replace, and never deleted; one that is being served, not at all.
    """
    home = _home()
    manifest, aside = put_back(file, home, replace=replace)
    if as_json:
        moved = str(aside) if aside else None
        print_json({"file": str(file.absolute()), "home": str(home.path), "moved_aside": moved, **_summary(manifest)})
        return
    click.echo(f"{home.path}: {_in_words(manifest)}, saved {manifest.created_at}.")
    if aside:
        print_note(f"What was there before is in {aside}.")


def _home() -> Home:
    return find_home(enter_stage(LOCAL).home)


def _summary(manifest: Manifest) -> dict[str, object]:
    return {"created_at": manifest.created_at, "files": len(manifest.entries), "size_bytes": _size_bytes(manifest)}


def _in_words(manifest: Manifest) -> str:
    return f"{len(manifest.entries)} files, {_size_bytes(manifest) / 1e6:.1f} MB"


def _size_bytes(manifest: Manifest) -> int:
    return sum(entry.size_bytes for entry in manifest.entries)
