"""A download's progress, drawn for a person."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pai.local.source import Progress as Report


@contextmanager
def progress_bar(name: str, console: Console | None = None) -> Iterator[Report]:
    """Yield what `fetch` reports to: a bar on stderr, or, where nobody looks, a line for each new label."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name, console)
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def report(done_bytes: int, total_bytes: int, label: str) -> None:
            bar.update(task, completed=done_bytes, total=total_bytes, description=f"{name}: {label}")

        yield report


def _lines(name: str, console: Console) -> Report:
    told = ""

    def report(done_bytes: int, total_bytes: int, label: str) -> None:
        nonlocal told
        if label != told:
            told = label
            come = f"{done_bytes / 1e6:,.0f} of {total_bytes / 1e6:,.0f} MB"
            console.print(f"{name}: {label} ({come})", highlight=False, soft_wrap=True)

    return report
