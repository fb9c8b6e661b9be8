"""`pai backup` and `pai restore`: all that one machine, or a stage on AWS, keeps, as one file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.errors import PaiError
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.archive import Manifest
from pai.backup import back_up
from pai.backup import restore as put_back
from pai.commands import json_option
from pai.home import Home, check_format, find_home
from pai.stage import LOCAL, enter_stage, stage_option
from pai.terminal.screen import print_json, print_note

if TYPE_CHECKING:
    from pai.operate.restore import Restored

DOCUMENTS = "files/documents/"


@click.command(short_help="Save everything that this machine, or a stage on AWS, keeps to one file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@stage_option
@click.option("--from-table", default="", metavar="NAME", help="With --stage: a table that DynamoDB has recovered it to.")
@json_option
def backup(file: Path | None, stage: str, from_table: str, as_json: bool) -> None:
    """Save everything in $PAI_HOME to FILE: conversations, documents, API keys, and the key that opens them.

    Works while PAI runs. Models are left out: they can be fetched again. So is the documents' search index: `pai restore`
    has it built anew from the documents. Whoever has the file can read every conversation and document in it, so keep it
    where nobody else gets to.

    With --stage dev or prod, save what that stage keeps in your AWS account. Who has that file can read the documents in it,
    but not the conversations: these stay sealed under the stage's KMS key, and only who may use that key can open them. When
    the key is gone for good, nobody can. It takes room for the documents twice while it is being written.
    """
    target = file or Path(f"pai-backup-{'' if stage == LOCAL else f'{stage}-'}{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    if stage != LOCAL:
        _back_up_stage(stage, target, from_table, as_json=as_json)
    elif from_table:
        raise click.UsageError("--from-table is for a stage on AWS: add --stage.")
    else:
        _back_up_home(target, as_json=as_json)


@click.command(short_help="Bring a backup back to this machine, or to a stage.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Move what is in the home now aside, and say where to.")
@stage_option
@json_option
def restore(file: Path, replace: bool, stage: str, as_json: bool) -> None:
    """Put what `pai backup` saved to FILE into $PAI_HOME.

    The file is checked from beginning to end before anything changes. A home that is not empty is only replaced with
    --replace, and never deleted; one that is being served, not at all.

    Documents are queued to be indexed anew: the next `pai run` does that beside its other work, and until a document is
    done (`pai docs list`) it is not found.

    With --stage dev or prod, put back into that stage what it lacks: conversations and messages, API keys, documents. What is
    there stays as it is, so that this may be repeated, and goes on where another run was cut short. But what was deleted
    since comes back too. It is refused where the KMS key of the backup can't be used any more.
    """
    if stage == LOCAL:
        _restore_home(file, replace=replace, as_json=as_json)
    elif replace:
        raise click.UsageError("--replace is for one machine: in a stage on AWS nothing is replaced.")
    else:
        _restore_stage(stage, file, as_json=as_json)


# ---- One machine ----


def _back_up_home(target: Path, *, as_json: bool) -> None:
    home = _home()
    check_format(home)
    manifest = back_up(home, target)
    if as_json:
        print_json({"file": str(target.absolute()), "home": str(home.path), **_summary(manifest)})
        return
    click.echo(f"{target}: {_in_words(manifest)} of {home.path}.")
    if _documents(manifest):
        print_note("The search index is left out: `pai restore` has it built anew from the documents.")
    print_note("Whoever has this file can read every conversation in it: keep it where nobody else gets to.")


def _restore_home(file: Path, *, replace: bool, as_json: bool) -> None:
    settings = enter_stage(LOCAL)
    home = find_home(settings.home)
    manifest, aside = put_back(file, home, replace=replace)
    queued, problem = _index_anew(settings, everything=True) if _documents(manifest) else (0, "")
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


def _home() -> Home:
    return find_home(enter_stage(LOCAL).home)


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "created_at": manifest.created_at,
        "files": len(manifest.entries),
        "documents": _documents(manifest),
        "size_bytes": manifest.size_bytes,
    }


def _in_words(manifest: Manifest) -> str:
    documents = f", {_documents(manifest):,} of them documents" if _documents(manifest) else ""
    return f"{len(manifest.entries):,} files{documents}, {manifest.size_bytes / 1e6:.1f} MB"


def _documents(manifest: Manifest) -> int:
    return sum(entry.name.startswith(DOCUMENTS) for entry in manifest.entries)


# ---- A stage on AWS ----


def _back_up_stage(stage: str, target: Path, from_table: str, *, as_json: bool) -> None:
    from pai.operate.backup import back_up as save

    saved = save(stage, target, from_table)
    if as_json:
        about = {
            "created_at": saved.origin.created_at,
            "kms_key": saved.origin.kms_key,
            "size_bytes": saved.manifest.size_bytes,
        }
        counts = {"items": saved.items, "api_keys": saved.api_keys, "documents": saved.files}
        print_json({"file": str(target.absolute()), "stage": stage, **about, **counts})
        return
    held = f"{saved.items:,} items, {saved.api_keys:,} API keys, {saved.files:,} documents"
    click.echo(f"{target}: {held}, {saved.manifest.size_bytes / 1e6:.1f} MB of {stage}.")
    print_note("Whoever has this file can read the documents in it: keep it where nobody else gets to.")
    print_note(f"Conversations are sealed in it: only who may use the KMS key {saved.origin.kms_key} can open them.")


def _restore_stage(stage: str, file: Path, *, as_json: bool) -> None:
    from pai.operate.restore import restore as put_back_missing

    done = put_back_missing(stage, file)
    queued, problem = _index_anew(done.settings, everything=False) if done.has_documents else (0, "")
    if as_json:
        print_json({"file": str(file.absolute()), "stage": stage, "documents_queued": queued, **_outcome(done)})
    else:
        counts = {"items": done.items, "API keys": done.api_keys, "files": done.files}
        back = ", ".join(f"{count['put']:,} {what}" for what, count in counts.items())
        there = ", ".join(f"{count['there']:,} {what}" for what, count in counts.items())
        click.echo(f"{stage}: {back} put back, as saved {done.origin.created_at}; {there} were there and stay as they are.")
        if done.items["expired"]:
            print_note(f"{done.items['expired']:,} items have expired since, and were left out.")
        if queued:
            print_note(f"{queued:,} documents are to be indexed anew; `pai docs list` shows how far they are.")
    if problem:
        print_note(f"The documents are not queued to be indexed. {problem} Later, `pai docs reindex --stage {stage}` does it.")


def _outcome(done: "Restored") -> dict[str, object]:
    counts = {"items": done.items, "api_keys": done.api_keys, "files": done.files}
    named = {what: {"put": count["put"], "there": count["there"]} for what, count in counts.items()}
    return {"created_at": done.origin.created_at, "expired": done.items["expired"], **named}


# ---- Both ----


def _index_anew(settings: Settings, *, everything: bool) -> tuple[int, str]:
    """Queue the documents for whoever serves; return how many, or what stands in the way. What was put back is whole.

    Without `everything`, those that the index does not have.
    """
    if settings.retriever == "none":
        return 0, "They are turned off: PAI_RETRIEVER is none."
    from pai.reindex import queue_documents

    ours = Parts(settings)
    try:
        return queue_documents(ours, everything=everything), ""
    except PaiError as error:
        return 0, error.message
    finally:
        if close := getattr(ours.store, "close", None):
            close()
