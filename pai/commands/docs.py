"""`pai docs`: the documents that PAI answers from."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pai.commands import connected, json_option, make_sure, on_wait, url_option
from pai.stage import enter_stage, explained, stage_option
from pai.terminal.screen import print_error, print_json, print_note, printable, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pai.client import Client
    from pai.documents.adding import Outcome
    from pai.documents.finding import File, Found
    from pai.documents.remembered import Remembered

document_argument = click.argument("words", metavar="ID|NAME...", nargs=-1, required=True)


@click.group(short_help="Add, list and remove the documents that PAI answers from.")
def docs() -> None:
    """Add, list, show and remove the documents that PAI answers from.

    A document is named by its id or its name; where two have the same name, PAI asks which one is meant.
    """


@docs.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--watch", "watching", is_flag=True, help="Go on looking: add what is new or changed, remove what is deleted.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the documents can be searched.")
@url_option
@json_option
def add(paths: tuple[Path, ...], watching: bool, no_wait: bool, url: str | None, as_json: bool) -> None:
    """Add files, folders with all that is in them, and globs.

    A file that is there already with the same bytes is not sent again; one that changed replaces its earlier self once it
    is ready. In folders, hidden files and kinds that PAI does not read are passed over. PAI reads PDF, Word, PowerPoint,
    Excel, OpenDocument, EPUB, HTML, Markdown, RTF, CSV, e-mail and plain text.

    Ctrl-C ends the sending; what was sent goes on being read by the server. Exit status 1 if a file did not make it.

    \b
    Examples:
      pai docs add ~/papers
      pai docs add lease.pdf 'notes/**/*.md'
      pai docs add --watch ~/inbox
    """
    from pai.documents.finding import find_files
    from pai.terminal.library import print_outcomes

    if watching and (as_json or no_wait):
        raise click.UsageError("--watch goes on until Ctrl-C: it has no use for --json or --no-wait.")
    found = find_files(paths)
    with _library(url, as_json=as_json) as (client, known):
        client.documents(limit=1)  # better to learn now than file by file that there is no library
        outcomes = _add(client, known, found.files, wait=not no_wait, as_json=as_json)
        if as_json:
            files = [{**vars(outcome), "path": str(outcome.path)} for outcome in outcomes]
            unreadable = [{"path": str(path), "detail": reason} for path, reason in found.unreadable]
            print_json({"files": files, "unreadable": unreadable, "hidden": found.hidden, "unsupported": found.unsupported})
        else:
            print_outcomes(outcomes, found)
        if watching:
            _watch(client, known, paths, found)
    if found.unreadable or any(outcome.bad for outcome in outcomes):
        click.get_current_context().exit(1)


@docs.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many to list.")
@click.option("--all", "everything", is_flag=True, help="List all there are.")
@click.option("--cursor", help="Go on where an earlier list ended.")
@url_option
@json_option
def list_(limit: int, everything: bool, cursor: str | None, url: str | None, as_json: bool) -> None:
    """List the documents, the newest first, with how far each has come.

    Piped, a line is the id, state, pages, passages, bytes, time and name of a document, with tabs between.
    """
    from pai.documents.looking import EVERYTHING
    from pai.terminal.library import print_documents

    with connected(url, as_json=as_json) as client, waiting():
        page = client.documents(limit=EVERYTHING if everything else limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    print_documents(page["items"])
    if page["next_cursor"] is not None:
        print_note(f"There are more: --all, or --cursor {page['next_cursor']}")


@docs.command()
@click.argument("word", metavar="ID|NAME")
@url_option
@json_option
def show(word: str, url: str | None, as_json: bool) -> None:
    """Show everything about a document but its text."""
    from pai.documents.looking import find_document
    from pai.terminal.library import print_document

    with connected(url, as_json=as_json) as client, waiting():
        document = find_document(client, word)
    if as_json:
        print_json(document)
    else:
        print_document(document)


@docs.command()
@document_argument
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@url_option
@json_option
def rm(words: tuple[str, ...], yes: bool, url: str | None, as_json: bool) -> None:
    """Delete documents for good.

    Every version of the file goes, what is in the index, and the name. The receipt says what was there, and that it was
    looked for again and is gone. Your own file stays where it is.
    """
    from pai.documents.looking import find_document
    from pai.terminal.library import receipt_in_words

    with connected(url, as_json=as_json) as client, waiting():
        found = [find_document(client, word) for word in words]
    documents = list({document["document_id"]: document for document in found}.values())
    if not yes:
        names = ", ".join(repr(printable(document["name"])) for document in documents)
        make_sure(f"Delete {names} for good?")
    receipts = []
    with _library(url, as_json=as_json) as (client, known):
        for document in documents:
            with waiting() as say:
                receipt = client.delete_document(document["document_id"], on_wait(say))
            known.forget([document["document_id"]])
            receipts.append(receipt)
            if not as_json:
                print_note(receipt_in_words(document, receipt))
    if as_json:
        print_json(receipts)
    if not all(receipt.get("verified", True) for receipt in receipts):
        raise click.ClickException("Something is left of a document; `pai doctor --orphans` finds it.")


@docs.command()
@click.argument("words", metavar="[ID|NAME]...", nargs=-1)
@click.option("--failed", is_flag=True, help="All that failed.")
@url_option
@json_option
def retry(words: tuple[str, ...], failed: bool, url: str | None, as_json: bool) -> None:
    """Have documents that failed read again."""
    from pai.documents.looking import EVERYTHING, find_document

    if bool(words) == failed:
        raise click.UsageError("Name documents, or --failed for all that failed.")
    with connected(url, as_json=as_json) as client, waiting():
        named = [find_document(client, word) for word in words]
        wanted = named or [item for item in client.documents(limit=EVERYTHING)["items"] if item["state"] == "failed"]
        retried = [client.retry_document(document["document_id"]) for document in wanted]
    if as_json:
        print_json(retried)
    else:
        print_note(f"{len(retried)} to be read again; `pai docs list` shows how far they are.")


@docs.command()
@click.option("--all", "everything", is_flag=True, help="Every document, not only those that the index lacks.")
@stage_option
@json_option
def reindex(everything: bool, stage: str, as_json: bool) -> None:
    """Index documents anew from their files, without a new upload.

    After the embedder has changed, the index is emptied first: until a document is done, it is not found. Otherwise what is
    there answers meanwhile. Works on the stage's parts themselves, for all owners; the server does the reading.
    """
    from chalicelib.wiring import parts
    from pai.documents.looking import counted
    from pai.reindex import empty_foreign_index, queue_documents

    ours = parts(enter_stage(stage))
    with explained(), waiting("looking at the index"):
        emptied = empty_foreign_index(ours)
        queued = queue_documents(ours, everything=everything or emptied)
    if as_json:
        print_json({"emptied": emptied, "queued": queued})
        return
    why = "The index was built with another embedder, and was emptied. " if emptied else ""
    print_note(f"{why}{counted(queued, 'document')} to be indexed anew; `pai docs list` shows how far they are.")


@contextmanager
def _library(url: str | None, *, as_json: bool) -> "Iterator[tuple[Client, Remembered]]":
    """Yield a client, and the memory of what this machine has sent to its address."""
    from pai.config import config_folder
    from pai.documents.remembered import remembered

    with connected(url, as_json=as_json) as client, remembered(config_folder(), client.address) as known:
        yield client, known


def _add(
    client: "Client", known: "Remembered", files: "Sequence[File]", *, wait: bool = True, as_json: bool = False
) -> "Sequence[Outcome]":
    """Add files before the person's eyes; when that is interrupted, say what goes on without us."""
    from pai.documents.adding import Adding
    from pai.terminal.board import board

    adding = None
    try:
        with board(as_json=as_json) as shown:
            adding = Adding(client, known, shown, wait=wait)
            return adding.add(files)
    except BaseException:
        if adding and adding.going_on:
            print_note(f"{adding.going_on} sent and not ready yet: the server goes on. `pai docs list` shows how far it is.")
        raise


def _watch(client: "Client", known: "Remembered", paths: "Sequence[Path]", found: "Found") -> None:
    from pai.documents.looking import document_name
    from pai.documents.watching import watch

    def remove(path: Path) -> None:
        sent = known.get(path)
        known.forget_path(path)
        if sent and not known.paths(sent.document_id):  # the same file may lie in another place too
            client.delete_document(sent.document_id)
            print_note(f"− {document_name(path)}  removed")

    print_note("Watching. Ctrl-C ends it.")
    watch(paths, found.files, lambda files: _add(client, known, files), remove, print_error)
