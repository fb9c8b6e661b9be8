"""A file → its parts, read in a child process that can neither hang, flood nor take this one down.

`subprocess` and pipes only: Lambda has no /dev/shm, which multiprocessing needs. The child has no credentials in its
environment, limits on memory, time and output (`readers/__main__.py` sets those that the system keeps), and a process group of
its own, so that it goes with all it started.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib import errors
from chalicelib.errors import (
    DocumentCorrupt,
    DocumentError,
    DocumentTooLarge,
    DocumentTooSlow,
    InternalError,
    LibraryUnavailable,
)
from chalicelib.ingest.readers.contract import Limits, Task
from chalicelib.logs import log
from chalicelib.records import Block, Part
from chalicelib.settings import child_environment

__all__ = ["Limits", "Reading", "Spent", "reading"]

READER = (sys.executable, "-P", "-B", "-m", "chalicelib.ingest.readers")
"""-P: what lies in the current folder is not imported. -B: a folder of code may be read-only."""
LIMITS = Limits()
PIPE_BYTES = 1 << 16
BYTES_A_CHARACTER = 8
"""At most, in JSON."""
OVERHEAD_BYTES = 1 << 16
MALLOC = {"MALLOC_TOP_PAD_": str(8 << 20)}
"""glibc keeps so many bytes at hand: else it gives memory back, and asks for it again, with each page of a PDF."""
TOO_SLOW = "Reading the file takes too long. Split it, or save it in a simpler form, and add that."
TOO_MUCH_MEMORY = "Reading the file takes more memory than it may. Split it, or save it in a simpler form, and add that."
BROKE = "The file can't be read: its reader breaks on it. Save it anew, in another format if possible, and add that."


@dataclass(frozen=True)
class Spent:
    """What a child took: CPU of reading without its own start (0 when it did not get to the end), and its peak of memory."""

    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


@contextmanager
def reading(path: Path, name: str, content_type: str, *, first: int = 0, limits: Limits = LIMITS) -> Iterator["Reading"]:
    """Open a document and read its parts from `first` on, while the block lasts.

    DocumentError with what to do, on entering or while iterating; FileNotFoundError; LibraryUnavailable when no process can
    be started here.
    """
    path.stat()  # a file that is not there is no defect of the document
    task = Task(str(path), name, content_type, first, limits, shutil.which("tesseract") or "")
    with running(READER, task) as found:
        yield found


@contextmanager
def running(command: Sequence[str], task: Task) -> Iterator["Reading"]:
    """Run a reader program on a task while the block lasts."""
    child = Child(command, task)
    try:
        yield Reading(child, task.first)
    finally:
        child.end()


class Reading:
    """An open document. Iterating reads its parts, once, in constant memory.

    `parts` is how many it has, those before the first asked for too. `pages` is None in formats without pages.
    """

    def __init__(self, child: "Child", first: int) -> None:
        self._child = child
        self._next = first
        head = child.next_line()
        self.title: str = head["title"]
        self.pages: int | None = head["pages"]
        self.parts: int = head["parts"]

    def __iter__(self) -> Iterator[Part]:
        while self._next < self.parts:
            line = self._child.next_line()
            blocks = tuple(Block(text, level) for level, text in line["blocks"])
            yield Part(self._next, line["page"], tuple(line["headings"]), blocks)
            self._next += 1

    def spent(self) -> Spent:
        """End the child, and say what it took."""
        cpu_seconds = 0.0
        with suppress(DocumentError, InternalError, KeyError):
            cpu_seconds = self._child.next_line()["cpu_seconds"] if self._next == self.parts else 0.0
        return Spent(cpu_seconds, self._child.end())


class Child:
    """A process that writes JSON lines; every way it can go wrong is a typed error of `next_line`."""

    def __init__(self, command: Sequence[str], task: Task) -> None:
        self._limits = task.limits
        self._bytes_left = BYTES_A_CHARACTER * task.limits.characters + OVERHEAD_BYTES
        self._read = b""
        self._peak_mb: float | None = None
        environment = {**child_environment(), **MALLOC, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise LibraryUnavailable("No process can be started to read documents. Try again.") from error
        self._output = self._process.stdout.fileno() if self._process.stdout else -1
        self._send(task.to_json() + b"\n")

    def _send(self, data: bytes) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it died at once: next_line says why
            self._process.stdin.write(data)
            self._process.stdin.close()

    def next_line(self) -> Any:
        """Return the next line that the child writes, waiting for as long as one part may take."""
        line, newline, self._read = self._received().partition(b"\n")
        if not newline:
            raise self._failure()
        found = json.loads(line)
        if "error" in found:
            raise _told(found)
        return found

    def _received(self) -> bytes:
        """Return what has come, up to one whole line at least; less when the child has ended."""
        deadline = time.monotonic() + self._limits.seconds
        pieces = [self._read]
        longest = BYTES_A_CHARACTER * self._limits.part_characters + OVERHEAD_BYTES
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while b"\n" not in pieces[-1]:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise DocumentTooSlow(TOO_SLOW)
                pieces.append(os.read(self._output, PIPE_BYTES))
                longest -= len(pieces[-1])
                self._bytes_left -= len(pieces[-1])
                if min(longest, self._bytes_left) < 0:
                    raise DocumentTooLarge("The document has more text than can be indexed. Split it.")
                if not pieces[-1]:
                    break
        return b"".join(pieces)

    def _failure(self) -> Exception:
        """Say why there is no line: the child's end of the pipe is closed, so it has ended or is about to."""
        self.end()
        status = self._process.returncode
        log.warning("reader_ended", extra={"status": status})
        if status == -signal.SIGXCPU:
            return DocumentTooSlow(TOO_SLOW)
        if status in (-signal.SIGKILL, -signal.SIGABRT):  # the system's out-of-memory killer; a library that got no memory
            return DocumentTooLarge(TOO_MUCH_MEMORY)
        if status < 0:
            return DocumentCorrupt(BROKE)
        return InternalError(f"The reader of documents ended with status {status}.")

    def end(self) -> float:
        """End the child with all it started; return its peak of memory, in MB. Harmless when called again."""
        if self._peak_mb is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # how it ended by itself, if it did, stays its exit status
            _, status, usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            self._peak_mb = usage.ru_maxrss * unit / 1_000_000
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()
        return self._peak_mb


def _told(found: dict[str, Any]) -> DocumentError:
    """Make the error that the child tells of."""
    log.info("unreadable", extra={"error": found["error"], "where": found["where"]})
    kind: type[DocumentError] = getattr(errors, found["error"])
    return kind(found["message"], page=found["page"])
