"""Which files are meant by paths, folders and globs, and which are left out."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path

import click

from pai.documents.kinds import content_type, sniffed_type


@dataclass(frozen=True)
class File:
    """A file as it was when it was looked at. Its path is absolute; `content_type` is empty where PAI has no reader."""

    path: Path
    size_bytes: int
    mtime_ns: int
    content_type: str


@dataclass
class Found:
    """The files to send, and how many were passed over in folders: hidden ones, and by suffix those nothing reads."""

    files: list[File] = field(default_factory=list)
    hidden: int = 0
    unsupported: dict[str, int] = field(default_factory=dict)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    """Folders and files that can't be looked at, with what the system says."""

    def skipped(self) -> str:
        """Say what was passed over; nothing when nothing was."""
        kinds = ", ".join(suffix or "without a suffix" for suffix in sorted(self.unsupported)[:SHOWN_KINDS])
        more = ", …" if len(self.unsupported) > SHOWN_KINDS else ""
        parts = (
            f"{self.hidden} hidden" if self.hidden else "",
            f"{sum(self.unsupported.values())} of a kind that PAI does not read ({kinds}{more})" if self.unsupported else "",
            f"{len(self.unreadable)} unreadable ({self.unreadable[0][0]}: {self.unreadable[0][1]})" if self.unreadable else "",
        )
        return f"Passed over: {', '.join(filter(None, parts))}." if any(parts) else ""


SHOWN_KINDS = 8


def find_files(given: Sequence[Path]) -> Found:
    """Return the files that these paths, folders and globs mean, each once, in the order of their names.

    A file that is named itself is taken whatever it is called; in folders, hidden ones and those nothing reads are
    passed over. Raises `click.UsageError` for what is not there.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()
    for path in (path for word in given for path in _meant(word)):
        if os.path.isdir(path):
            _walk(path, found, seen)
        else:
            _take(path, found, seen, named=True)
    return found


def _meant(word: Path) -> list[Path]:
    """Return what a word of the command line stands for: the path that is called so, else what fits it as a glob."""
    path = word.expanduser()
    if os.path.lexists(path):
        return [Path(os.path.abspath(path))]
    fitting = sorted(glob(str(path), recursive=True)) if has_magic(str(path)) else []
    if not fitting:
        raise click.UsageError(f"There is no file or folder {str(word)!r}.")
    return [Path(os.path.abspath(name)) for name in fitting]


def _walk(folder: Path, found: Found, seen: set[tuple[int, int]]) -> None:
    """Take the files in a folder and those below it. Links are followed, and each folder is entered once."""
    for path in _entries(folder, found, seen):
        if path.name.startswith("."):
            found.hidden += 1
        elif os.path.isdir(path):
            _walk(path, found, seen)
        else:
            _take(path, found, seen, named=False)


def _entries(folder: Path, found: Found, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        if _first_time(folder.stat(), seen):
            yield from sorted(folder.iterdir())
    except OSError as error:
        found.unreadable.append((folder, error.strerror or "can't be read"))


def _take(path: Path, found: Found, seen: set[tuple[int, int]], *, named: bool) -> None:
    kind = content_type(path.name)
    try:
        status = path.stat()
        if named and not kind and stat.S_ISREG(status.st_mode):
            kind = sniffed_type(path)
    except OSError as error:  # a link to nowhere, a file of somebody else's
        found.unreadable.append((path, error.strerror or "can't be read"))
        return
    if not stat.S_ISREG(status.st_mode) or not (kind or named):
        suffix = path.suffix.lower()
        found.unsupported[suffix] = found.unsupported.get(suffix, 0) + 1
    elif _first_time(status, seen):
        found.files.append(File(path, status.st_size, status.st_mtime_ns, kind))


def _first_time(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    place = (status.st_dev, status.st_ino)
    first = place not in seen
    seen.add(place)
    return first
