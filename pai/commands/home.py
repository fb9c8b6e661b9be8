"""`pai backup` and `pai restore`: all that one machine keeps, as one file."""

from datetime import UTC, datetime
from pathlib import Path

import click

from chalicelib.errors import PaiError
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.backup import Manifest, back_up
from pai.backup import restore as put_back
from pai.commands import json_option
from pai.home import Home, check_format, find_home
from pai.stage import LOCAL, enter_stage
from pai.terminal.screen import print_json, print_note

DOCUMENTS = "files/documents/"


@click.command(short_help="Save everything this machine keeps to one file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option
def backup(file: Path | None, as_json: bool) -> None:
    """Save everything in $PAI_HOME to FILE: conversations, documents, API keys, and the key that opens them.

    Works while PAI runs. Models are left out: they can be fetched again. So is the documents' search index: `pai restore`
    has it built anew from the documents. Whoever has the file can read every conversation and document in it, so keep it
    where nobody else gets to.
    """
    home = _home()
    check_format(home)
    target = file or Path(f"pai-backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    manifest = back_up(home, target)
    if as_json:
        print_json({"file": str(target.absolute()), "home": str(home.path), **_summary(manifest)})
        return
    click.echo(f"{target}: {_in_words(manifest)} of {home.path}.")
    if _documents(manifest):
        print_note("The search index is left out: `pai restore` has it built anew from the documents.")
    print_note("Whoever has this file can read every conversation in it: keep it where nobody else gets to.")


@click.command(short_help="Bring a backup back.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Move what is in the home now aside, and say where to.")
@json_option
def restore(file: Path, replace: bool, as_json: bool) -> None:
    """Put what `pai backup` saved to FILE into $PAI_HOME.

    The file is checked from beginning to end before anything changes. A home that is not empty is only replaced with
    --replace, and never deleted; one that is being served, not at all.

    Documents are queued to be indexed anew: the next `pai run` does that beside its other work, and until a document is
    done (`pai docs list`) it is not found.
    """
    settings = enter_stage(LOCAL)
    home = find_home(settings.home)
    manifest, aside = put_back(file, home, replace=replace)
    queued, problem = _index_anew(settings) if _documents(manifest) else (0, "")
    if as_json:
        moved = str(aside) if aside else None
        again = {"moved_aside": moved, "documents_queued": queued}
        print_json({"file": str(file.absolute()), "home": str(home.path), **again, **_summary(manifest)})
    else:
        click.echo(f"{home.path}: {_in_words(manifest)}, saved {manifest.created_at}.")
        if aside:
            print_note(f"What was there before is in {aside}.")
        if queued:
            print_note(
                f"{queued:,} of the documents are to be indexed anew: `pai run` does it, `pai docs list` shows how far."
            )
    if problem:
        print_note(f"The documents are not queued to be indexed ({problem}) Once PAI runs, `pai docs reindex` does it.")


def _index_anew(settings: Settings) -> tuple[int, str]:
    """Queue the documents for the next server; return how many, or what stands in the way. The home itself is whole."""
    if settings.retriever == "none":
        return 0, "They are turned off: PAI_RETRIEVER is none."
    from pai.reindex import queue_documents

    ours = Parts(settings)
    try:
        return queue_documents(ours, everything=True), ""
    except PaiError as error:
        return 0, error.message
    finally:
        if close := getattr(ours.store, "close", None):
            close()


def _home() -> Home:
    return find_home(enter_stage(LOCAL).home)


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "created_at": manifest.created_at,
        "files": len(manifest.entries),
        "documents": _documents(manifest),
        "size_bytes": _size_bytes(manifest),
    }


def _in_words(manifest: Manifest) -> str:
    documents = f", {_documents(manifest):,} of them documents" if _documents(manifest) else ""
    return f"{len(manifest.entries):,} files{documents}, {_size_bytes(manifest) / 1e6:.1f} MB"


def _documents(manifest: Manifest) -> int:
    return sum(entry.name.startswith(DOCUMENTS) for entry in manifest.entries)


def _size_bytes(manifest: Manifest) -> int:
    return sum(entry.size_bytes for entry in manifest.entries)
