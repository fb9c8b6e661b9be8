"""What is printed. For people, with Rich; when stdout is a file or another program, the plain text and no codes."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from pai.client.wire import Citation, WireConversation
    from pai.terminal.markdown import Answer

Say = Callable[[str], None]
CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n"), ord("\t")})
NAMES = {"user": "You", "assistant": "PAI"}


def for_people() -> bool:
    """Tell whether stdout is a screen, and not a file or another program."""
    return sys.stdout.isatty()


def printable(text: str) -> str:
    """Return text without the control characters that could steer a terminal; line ends and tabs stay."""
    return text.translate(CONTROLS)


def print_json(value: object) -> None:
    """Print one JSON value, in ASCII: any locale carries it."""
    click.echo(json.dumps(value, indent=2))


def print_answer(text: str) -> None:
    """Print an answer: rendered from Markdown on a screen, else exactly as it came."""
    if for_people():
        console().print(rendered(text))
    else:
        click.echo(text)


def rendered(text: str) -> "Answer":
    """Return an answer as Rich prints it."""
    from pai.terminal.markdown import Answer

    return Answer(printable(text))


def can_redraw() -> bool:
    """Tell whether stdout is a screen on which what was printed can be printed over."""
    if not for_people():
        return False
    screen = console()
    return not screen.is_dumb_terminal and not screen.legacy_windows


def print_text(text: str, style: str = "") -> None:
    """Print text as it is, but for what could steer the terminal. `style` is one of Rich's."""
    if for_people():
        console().print(printable(text), style=style, markup=False, emoji=False)
    else:
        click.echo(text)


def print_note(text: str) -> None:
    """Print a remark beside the answer, on stderr."""
    _print_beside(text, "dim")


def print_error(text: str) -> None:
    """Print what went wrong, on stderr."""
    _print_beside(text, "red")


def _print_beside(text: str, style: str) -> None:
    if sys.stderr.isatty():
        console(stderr=True).print(printable(text), style=style, markup=False, emoji=False)
    else:
        click.echo(printable(text), err=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header on a screen; else one line a row with tabs between."""
    if not for_people():
        for row in rows:
            click.echo("\t".join(" ".join(printable(cell).split()) for cell in row))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False, show_header=any(header))
    for name in header:
        table.add_column(name, overflow="ellipsis", no_wrap=name != header[-1])
    for row in rows:
        table.add_row(*(Text(" ".join(printable(cell).split())) for cell in row))
    console().print(table)


def print_conversation(conversation: "WireConversation") -> None:
    """Print a conversation: its title, and the messages that are here, each with who said it and when."""
    print_text(conversation.get("title") or "(no title)", "bold")
    if conversation["next_cursor"] is not None:
        print_note("… earlier messages are not shown")
    for message in conversation["messages"]:
        print_text(f"\n{NAMES[message['role']]} · {local_time(message['timestamp'])}", "cyan")
        print_answer(message["content"])
        print_citations(message.get("citations", ()))
        if "error" in message:
            print_note(f"No answer: {message['error']['Message']}")


def print_citations(citations: "Sequence[Citation]") -> None:
    """Print what an answer rests on, each with its marker, where it stands and its words."""
    if citations:
        click.echo()
    for citation in citations:
        page = f", p. {citation['page']}" if citation["page"] else ""
        print_text(f"[{citation['marker']}] {citation['name']}{page}: “{' '.join(citation['quote'].split())}”", "dim")


def local_time(timestamp: str) -> str:
    """Return an ISO-8601 time as the clock on this machine's wall shows it, to the minute."""
    with suppress(ValueError):
        return datetime.fromisoformat(timestamp).astimezone().strftime("%Y-%m-%d %H:%M")
    return timestamp


@contextmanager
def waiting(words: str = "") -> Iterator[Say]:
    """Show on stderr, where that is a screen, that something is under way and since when.

    What is yielded changes the words beside it.
    """
    if not sys.stderr.isatty():
        yield lambda words: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn

    screen = console(stderr=True)
    spinner = SpinnerColumn("line" if screen.options.ascii_only else "dots")
    columns = (spinner, TextColumn("{task.elapsed:.0f} s {task.description}", style="dim", markup=False))
    with keys_unseen(), Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(words)
        yield lambda words: progress.update(task, description=printable(words))


@contextmanager
def keys_unseen() -> Iterator[None]:
    """Keep what is typed ahead, and the ^C, from being printed into the spinner; the next prompt reads what was typed."""
    if sys.platform == "win32" or not _keyboard_is_ours():
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    unseen: list[Any] = [*before]
    unseen[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, unseen)
        yield
    finally:
        if _keyboard_is_ours():
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _keyboard_is_ours() -> bool:
    """Tell whether stdin is the keyboard of this process. A background job that changes the terminal is stopped."""
    return sys.stdin is not None and sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()


def console(*, stderr: bool = False) -> "Console":
    """Return Rich's view of stdout or stderr, in our colours."""
    from rich.console import Console

    from pai.terminal.markdown import THEME

    return Console(stderr=stderr, highlight=False, theme=THEME)
