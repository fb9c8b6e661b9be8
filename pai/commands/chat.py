"""`pai chat`: a conversation, message by message."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from pai.commands import asking_options, chosen_conversation, connected, failure, url_option
from pai.config import Preset, load_config
from pai.terminal.pipe import piped_lines
from pai.terminal.screen import for_people, print_error, print_note, printable

if TYPE_CHECKING:
    from pai.terminal.session import Session


@click.command()
@asking_options
@click.option("--no-history", is_flag=True, help="Do not keep what you type for the arrow keys.")
@url_option
def chat(preset: Preset, conversation: str | None, latest: bool, no_history: bool, url: str | None) -> None:
    """Talk with PAI, message by message.

    Enter sends; Alt-Enter begins a new line, and a pasted text may have many. Ctrl-C stops an answer without leaving, Ctrl-D
    leaves. A line that begins with / is a command: /help lists them.

    An answer goes on when the connection breaks off or the server starts anew: what was missed is fetched.

    What you type is kept for the arrow keys, in a file of the settings' folder that only you can read; --no-history keeps
    nothing, and `history = false` in config.toml says so for good.

    When stdin is not a keyboard, each of its lines is a message or a command, and the first failure ends it.
    """
    from pai.terminal.session import SLASHES, Session

    interactive = sys.stdin is not None and sys.stdin.isatty() and for_people()
    config = load_config()
    with connected(url) as client:
        session = Session(client, config, preset, _confirmed if interactive else lambda text: True)
        if chosen := chosen_conversation(client, conversation, latest=latest):
            session.open(chosen)
        if interactive:
            from pai.terminal.keyboard import typed_lines

            client.conversations(limit=1)  # better to learn now than after typing that nothing answers
            print_note(f"PAI at {client.address}. /help lists the commands, Ctrl-D leaves.")
            _talk(session, typed_lines(tuple(SLASHES), keep_history=config.history and not no_history))
        else:
            _follow(session, piped_lines())


def _talk(session: "Session", lines: Iterable[str]) -> None:
    """Handle lines until the person leaves. What goes wrong is said, and it goes on."""
    from pai.client.errors import ClientError
    from pai.terminal.session import Left

    for line in lines:
        try:
            session.handle(line)
        except Left:
            return
        except KeyboardInterrupt as how:
            session.stopped(how)
        except ClientError as error:
            print_error(failure(error).format_message())
        except click.ClickException as error:
            print_error(error.format_message())


def _follow(session: "Session", lines: Iterable[str]) -> None:
    """Handle the lines of a script, up to its end, /quit or the first failure."""
    from pai.terminal.session import Left

    try:
        for line in lines:
            session.handle(line)
    except Left:
        return


def _confirmed(text: str) -> bool:
    try:
        return click.confirm(printable(text))
    except click.Abort:
        click.echo()
        return False
