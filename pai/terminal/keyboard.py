"""The edit line: what a person types."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.shortcuts import CompleteStyle

from pai.config import config_folder
from pai.terminal.screen import print_note

HISTORY_NOTE = (
    "What you type is kept in {path}, which only you can read, so that the arrow keys bring it back. Deleting a "
    "conversation does not delete it there. `pai chat --no-history` keeps nothing; `history = false` in config.toml "
    "says so for good."
)


def typed_lines(words: Sequence[str], *, keep_history: bool) -> Iterator[str]:
    """Yield what is typed until Ctrl-D. Enter sends, Alt-Enter and pasting make further lines, Ctrl-C empties the line.

    `words` are what Tab completes at the beginning of a line.
    """
    session: PromptSession[str] = PromptSession(
        history=_history() if keep_history else None,
        key_bindings=_keys(),
        multiline=True,
        completer=WordCompleter(list(words), sentence=True),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,
    )
    while True:
        try:
            yield session.prompt([("bold", "> ")], prompt_continuation="  ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


class PrivateHistory(FileHistory):
    """What was typed, in a file. A full disk does not end the conversation."""

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError as error:
            print_note(f"This line is not kept for the arrow keys: {error.strerror}.")


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    path = config_folder() / "history"
    try:
        if _make_private(path):
            print_note(HISTORY_NOTE.format(path=path))
        return PrivateHistory(str(path))
    except OSError as error:
        print_note(f"What you type is not kept: {path}: {error.strerror}.")
        return InMemoryHistory()


def _make_private(path: Path) -> bool:
    """See to it that the file is there and only its owner can read it; tell whether it is new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = not path.exists()
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    path.chmod(0o600)
    return new
