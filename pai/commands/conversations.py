"""`pai conversations`: looking through what was said."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pai.commands import connected, conversation_argument, json_option, make_sure, url_option
from pai.terminal.screen import (
    for_people,
    local_time,
    print_conversation,
    print_json,
    print_note,
    print_table,
    print_text,
    printable,
    waiting,
)

if TYPE_CHECKING:
    from pai.client.conversations import ExportFormat
    from pai.client.wire import Listing, Match

EVERYTHING = sys.maxsize
SHOWN_ID_CHARS = 8

limit_option = click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to list.")
all_option = click.option("--all", "everything", is_flag=True, help="List all there are.")
cursor_option = click.option("--cursor", help="Go on where an earlier list ended.")


@click.group()
def conversations() -> None:
    """List, read, search, rename, export and delete conversations.

    ID is a conversation's id, or as much of its beginning as no other has.
    """


@conversations.command("list")
@limit_option
@all_option
@cursor_option
@click.option("--user-id", metavar="LABEL", help="Only those that were begun with this user_id.")
@url_option
@json_option
def list_(limit: int, everything: bool, cursor: str | None, user_id: str | None, url: str | None, as_json: bool) -> None:
    """List conversations, the latest first.

    On a screen ids are shortened; piped, a line is the whole id, the time of the last message and the title, with tabs
    between.
    """
    with connected(url, as_json=as_json) as client, waiting():
        page = client.conversations(user_id=user_id, limit=EVERYTHING if everything else limit, cursor=cursor)
    _print_listing(page, as_json=as_json)


@conversations.command()
@click.argument("words", nargs=-1, required=True)
@limit_option
@all_option
@cursor_option
@url_option
@json_option
def search(words: tuple[str, ...], limit: int, everything: bool, cursor: str | None, url: str | None, as_json: bool) -> None:
    """List the conversations that hold these words.

    They must stand so, in this order, in the title or in one message; capitals do not matter. Everything
    is stored sealed, so a search opens conversation after conversation: with thousands of them it takes a while.
    """
    with connected(url, as_json=as_json) as client, waiting():
        page = client.conversations(q=" ".join(words), limit=EVERYTHING if everything else limit, cursor=cursor)
    _print_listing(page, as_json=as_json)


@conversations.command()
@conversation_argument
@url_option
@json_option
def show(conversation: str, url: str | None, as_json: bool) -> None:
    """Print a conversation with all its messages, the oldest first."""
    with connected(url, as_json=as_json) as client:
        found = client.conversation(client.full_id(conversation))
    if as_json:
        print_json(found)
    else:
        print_conversation(found)


@conversations.command()
@conversation_argument
@click.argument("title")
@url_option
@json_option
def rename(conversation: str, title: str, url: str | None, as_json: bool) -> None:
    """Give a conversation another title."""
    with connected(url, as_json=as_json) as client:
        renamed = client.change_conversation(client.full_id(conversation), title=title)
    if as_json:
        print_json(renamed)
    else:
        print_note(f"It is now called: {renamed['title']}")


@conversations.command()
@conversation_argument
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@url_option
@json_option
def delete(conversation: str, yes: bool, url: str | None, as_json: bool) -> None:
    """Delete a conversation for good.

    Its key is deleted first: from then on nobody can read it. The receipt says when the last backup that still has it ends.
    """
    with connected(url, as_json=as_json) as client:
        conversation_id = client.full_id(conversation)
        if not yes:
            title = client.conversation(conversation_id, newest=1).get("title") or "without a title"
            make_sure(f"Delete the conversation {printable(title)!r} for good?")
        receipt = client.delete_conversation(conversation_id)
    if as_json:
        print_json(receipt)
    else:
        backups = f" Backups have it until {local_time(receipt['backups_until'])}." if receipt.get("backups_until") else ""
        print_note(f"Deleted {conversation_id} with {receipt['messages']} messages.{backups}")


@conversations.command()
@conversation_argument
@click.option(
    "--format", "-f", "form", type=click.Choice(["json", "markdown"]), help="[default: by FILE's ending, else markdown]"
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save it in this file.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@url_option
@json_option
def export(
    conversation: str, form: "ExportFormat | None", output: Path | None, force: bool, url: str | None, as_json: bool
) -> None:
    """Print everything of a conversation, all branches, or save it in a file that only you can read."""
    from pai.terminal.export import format_of, save_export

    with connected(url, as_json=as_json) as client:
        content = client.export_conversation(client.full_id(conversation), "json" if as_json else format_of(form, output))
    if output:
        save_export(output, content, replace=force)
    else:
        print_text(content.rstrip("\n"))


def _print_listing(page: "Listing", *, as_json: bool) -> None:
    if as_json:
        print_json(page)
        return
    shown = SHOWN_ID_CHARS if for_people() else None
    rows = [
        (item["conversation_id"][:shown], local_time(item["updated_at"]), _described(item["title"], item.get("match")))
        for item in page["items"]
    ]
    print_table(("id", "last message", "title"), rows)
    if page["next_cursor"] is not None:
        print_note(f"There are more: --all, or --cursor {page['next_cursor']}")


def _described(title: str, match: "Match | None") -> str:
    return " · ".join(filter(None, (title, match and f"…{match['excerpt']}…"))) or "(no title)"
