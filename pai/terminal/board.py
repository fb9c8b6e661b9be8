"""How far files are on their way to becoming documents: bars on a screen, a line for each in a pipe."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pai.documents.adding import Board, Outcome
from pai.documents.finding import File
from pai.documents.looking import document_name, size
from pai.terminal.screen import console, for_people

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pai.client.wire import Document

SAID = {"ready": "ready", "there": "already there", "sent": "sent", "failed": "failed", "refused": "not sent"}
MARKS = {"ready": "✔", "there": "=", "sent": "↑", "failed": "✘", "refused": "✘"}
STYLES = {"ready": "green", "there": "dim", "sent": "green", "failed": "red", "refused": "red"}
NAME_COLUMNS = 30
MOST_BARS = 10


class QuietBoard:
    """Shows nothing: for programs, which get it all at the end."""

    def expect(self, files: int) -> None: ...
    def sending(self, file: File, done_bytes: int) -> None: ...
    def following(self, file: File, document: "Document") -> None: ...
    def ended(self, outcome: Outcome) -> None: ...


class LineBoard(QuietBoard):
    """A line for each file once it has come to its end: what came of it, its id, its name, why."""

    def ended(self, outcome: Outcome) -> None:
        cells = (SAID[outcome.result], outcome.document_id, document_name(outcome.path), outcome.detail)
        click.echo("\t".join(cells))


class BarBoard:
    """A bar for each file under way, one for all, and a line for each that has come to its end."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._bars: dict[Path, TaskID] = {}
        self._all = progress.add_task("all files", visible=False, amount="")
        self._expected = self._ended = 0

    def expect(self, files: int) -> None:
        self._expected = files
        self._show_all()

    def sending(self, file: File, done_bytes: int) -> None:
        amount = f"{size(done_bytes)} of {size(file.size_bytes)} sent"
        self._show(file.path, done_bytes, file.size_bytes, amount)

    def following(self, file: File, document: "Document") -> None:
        progress = document.get("progress")
        done, parts = (progress["parts_done"], progress["parts"]) if progress else (0, 0)
        trouble = document.get("error")
        if document["state"] == "waiting" and trouble:
            self._show(file.path, 0, None, f"waiting: {trouble['Message']}")
        elif document["state"] == "waiting":
            self._drop(file.path)  # hundreds may wait; those at work are shown
        else:
            amount = f"{document['state']}, {done:,} of {parts:,} parts" if parts else document["state"]
            self._show(file.path, done, parts or None, amount)

    def ended(self, outcome: Outcome) -> None:
        from rich.text import Text

        self._drop(outcome.path)
        self._ended += 1
        self._show_all()
        name, said = document_name(outcome.path), outcome.detail or SAID[outcome.result]
        line = Text.assemble((f"{MARKS[outcome.result]} ", STYLES[outcome.result]), name, (f"  {said}", "dim"))
        self._progress.console.print(line)

    def _show_all(self) -> None:
        ended, all_ = self._ended, self._expected
        self._progress.update(self._all, completed=ended, total=all_, visible=all_ > 1, amount=f"{ended:,} of {all_:,}")

    def _show(self, path: Path, done: int, total: int | None, amount: str) -> None:
        with self._lock:
            if path not in self._bars:
                if len(self._bars) >= MOST_BARS:
                    return
                name = document_name(path)
                short = name if len(name) <= NAME_COLUMNS else f"{name[: NAME_COLUMNS - 1]}…"
                self._bars[path] = self._progress.add_task(short, amount="")
            self._progress.update(self._bars[path], completed=done, total=total, amount=amount)

    def _drop(self, path: Path) -> None:
        with self._lock:
            if path in self._bars:
                self._progress.remove_task(self._bars.pop(path))


@contextmanager
def board(*, as_json: bool) -> Iterator[Board]:
    """Yield a board that fits where the output goes."""
    if as_json or not for_people():
        yield QuietBoard() if as_json else LineBoard()
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[amount]}", markup=False, style="dim"),
    )
    with Progress(*columns, console=console(), transient=True) as progress:
        yield BarBoard(progress)
