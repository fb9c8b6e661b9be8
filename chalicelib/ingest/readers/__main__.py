"""The child process: reads one file under limits and writes what it found to standard output, one JSON object a line.

    {"title", "pages", "parts"}            first
    {"page", "headings", "blocks"}         for each part from `first` on; blocks are [level, text]
    {"error", "message", "page", "where"}  instead of whatever would have come next
    {"cpu_seconds"}                        last: what reading took, the start of this process not counted

The task comes by standard input, so that no list of processes shows a file's name.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from chalicelib.errors import DocumentCorrupt, DocumentError, DocumentTooLarge
from chalicelib.ingest.readers.clean import clean, clean_part
from chalicelib.ingest.readers.contract import Limits, Opened, Task
from chalicelib.ingest.readers.kinds import reader_of
from chalicelib.records import Part

LONGEST_CPU_SECONDS = 900
"""As long as a Lambda function lives."""

Write = Callable[[dict[str, Any]], None]


def main() -> None:
    write = _claim_output()
    task = Task.from_json(sys.stdin.buffer.readline())
    _limit(task.limits)
    started = time.process_time()
    try:
        open_document = reader_of(task)
        started = time.process_time()
        _read(task, open_document(task), write)
    except DocumentError as error:
        _write_error(write, error)
    except (MemoryError, RecursionError) as error:
        _write_error(write, DocumentTooLarge("The file unfolds to more than can be read. Split it, or simplify it."), error)
    except ImportError:
        raise  # a defect of the installation, not of the file
    except Exception as error:  # noqa: BLE001 - on a file that anybody may have made, a library may raise anything
        _write_error(write, DocumentCorrupt("The file can't be read: it is damaged. Save it anew and add it again."), error)
    write({"cpu_seconds": time.process_time() - started})


def _claim_output() -> Write:
    """Keep the pipe to the parent for ourselves: what a library prints goes nowhere.

    The pipe stays open until this process is gone, so that its end tells the parent that the exit status is there.
    """
    pipe = os.dup(sys.stdout.fileno())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())

    def write(line: dict[str, Any]) -> None:
        data = memoryview(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        while data:
            data = data[os.write(pipe, data) :]

    return write


def _limit(limits: Limits) -> None:
    """Bound what this process and those it starts may take. Files it may only read."""
    memory_bytes = limits.memory_mb * 1_000_000
    for kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, LONGEST_CPU_SECONDS),
    ):
        hard = resource.getrlimit(kind)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (wanted, wanted))
    _allow_cpu(limits.cpu_seconds)


def _allow_cpu(seconds: int) -> None:
    """Let this process run so much longer; the system ends it when it does not get to its next part."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (min(int(used.ru_utime + used.ru_stime) + 1 + seconds, hard), hard))


def _read(task: Task, document: Opened, write: Write) -> None:
    limits = task.limits
    if document.parts > limits.parts:
        raise DocumentTooLarge(f"The document has more than {limits.parts:,} parts. Split it, and add the pieces.")
    write({"title": clean(document.title), "pages": document.pages, "parts": document.parts})
    characters = 0
    for index in range(task.first, document.parts):
        _allow_cpu(limits.cpu_seconds)
        part = clean_part(document.part(index))
        characters += _size(part, limits)
        if characters > limits.characters:
            raise DocumentTooLarge(f"The document has more than {limits.characters:,} characters. Split it.", page=part.page)
        blocks = [[block.level, block.text] for block in part.blocks]
        write({"page": part.page, "headings": part.headings, "blocks": blocks})


def _size(part: Part, limits: Limits) -> int:
    size = sum(len(block.text) for block in part.blocks)
    if size > limits.part_characters:
        sentence = f"One page or part of the document has more than {limits.part_characters:,} characters. Split it."
        raise DocumentTooLarge(sentence, page=part.page)
    return size


def _write_error(write: Write, error: DocumentError, cause: BaseException | None = None) -> None:
    """Tell the parent; of the cause its class and place only, since its text may hold content."""
    where = ""
    if cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)[-1:]
        where = " ".join([type(cause).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in frames)])
    write({"error": error.code, "message": error.message, "page": error.page, "where": where})


if __name__ == "__main__":
    main()
