"""What a long command tells while it works: each step, what came of it, and how long it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from pai.terminal.screen import print_note, printable, waiting

Result = Callable[[str], None]


@contextmanager
def step(name: str) -> Iterator[Result]:
    """Do one step. What is yielded says what came of it, or what it waits for: the last words stand in its line."""
    said = ""
    started = time.monotonic()
    with waiting(name) as spinner:

        def say(words: str) -> None:
            nonlocal said
            said = words
            spinner(f"{name}: {words}")

        try:
            yield say
        except BaseException:
            mark, colour = "✘", "red"
            raise
        else:
            mark, colour = "✔", "green"
        finally:
            took_s = time.monotonic() - started
            click.secho(f"{mark} ", fg=colour, nl=False, err=True)
            click.echo(f"{name}{': ' if said else ''}{printable(said)} ({took_s:.1f} s)", err=True)


def remark(text: str) -> None:
    """Print something that does not end the command, but that whoever runs it should know."""
    print_note(f"  → {text}")
