"""Reading a folder of documents, by PAI and by pypdf, each file in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import DocumentError, DocumentWithoutText
from chalicelib.ingest.read import Spent, reading
from chalicelib.records import Part
from tests.standins.processes import ROOT

PYPDF_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """How one file ended: ready, failed with a code that says why, or other: with an error that nobody foresaw.

    `pages` is None in formats without pages.
    """

    file: str
    outcome: str
    code: str
    seconds: float
    peak_mb: float
    pages: int | None
    characters: int
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Compared:
    """Pages read and CPU seconds it took."""

    pages: int
    cpu_seconds: float


def documents_in(folder: Path) -> list[Path]:
    """Return the files of a folder and of those in it, but for hidden ones."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def read(path: Path) -> Outcome:
    started = time.perf_counter()
    pages, characters, outcome, code, spent = None, 0, "ready", "", Spent()
    try:
        with reading(path, path.name, "") as found:
            pages = found.pages
            characters = sum(map(_size, found))
            spent = found.spent()
        if not characters:
            outcome, code = "failed", DocumentWithoutText.__name__
    except DocumentError as error:
        outcome, code = "failed", error.code
    except Exception as error:  # noqa: BLE001 - neither text nor a reason: the benchmark is to say so of this file, and go on
        outcome, code = "other", type(error).__name__
    seconds = round(time.perf_counter() - started, 3)
    return Outcome(path.name, outcome, code, seconds, round(spent.peak_mb, 1), pages, characters, spent.cpu_seconds)


def _size(part: Part) -> int:
    return sum(len(block.text) for block in part.blocks)


def read_by_pypdf(path: Path) -> Compared | None:
    """Read a PDF with pypdf; None when it fails or takes longer than a minute."""
    command = [sys.executable, "-m", "benchmarks.support.pypdf_pages", str(path)]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PYPDF_SECONDS)
    except subprocess.SubprocessError:
        return None
    found = json.loads(run.stdout)
    return Compared(found["pages"], found["cpu_seconds"])


def compare(paths: Sequence[Path], outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, Compared]]:
    """Yield what both needed for each PDF that both read."""
    for path, ours in zip(paths, outcomes, strict=True):
        if path.suffix.lower() == ".pdf" and ours.cpu_seconds:
            theirs = read_by_pypdf(path)
            if theirs:
                yield ours, theirs
