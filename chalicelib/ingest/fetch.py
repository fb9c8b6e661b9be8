"""A document's file on this machine, for as long as it is read."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path, PurePosixPath
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from typing import BinaryIO

from chalicelib.errors import (
    DocumentLost,
    DocumentRefused,
    DocumentTooLarge,
    FileNotFound,
    FilesUnavailable,
    StorageFull,
    Unavailable,
)
from chalicelib.ingest.arrival import is_announced
from chalicelib.platform import Files
from chalicelib.records import Document

COPY_BYTES = 1 << 20


@contextmanager
def fetched(files: Files, document: Document, most_bytes: int) -> Iterator[tuple[Path, str]]:
    """Copy a document's file, if it is what was announced, for the time of the block; yield its path and SHA-256 (hex).

    Raises DocumentError, or Unavailable when it can't be copied just now.
    """
    clear_copies(document)
    with TemporaryDirectory(prefix=_copies(document)) as folder:
        path = Path(folder) / f"file{PurePosixPath(document.key).suffix}"
        yield path, _copy(files, document, path, most_bytes)


def clear_copies(document: Document) -> None:
    """Remove what a process that was killed left. Whoever calls this has the document for himself."""
    for left in Path(gettempdir()).glob(f"{_copies(document)}*"):
        rmtree(left, ignore_errors=True)


def is_there(files: Files, key: str) -> bool:
    try:
        files.open(key).close()
    except FileNotFound:
        return False
    return True


def _copies(document: Document) -> str:
    """Return how the names of temporary folders begin that hold a copy of a document's file."""
    return f"pai-{document.id}-"


def _copy(files: Files, document: Document, path: Path, most_bytes: int) -> str:
    """Copy the file; return its SHA-256 in hex."""
    if document.size_bytes > most_bytes:
        raise _too_large(most_bytes)
    try:
        with files.open(document.key) as source, path.open("wb") as copy:
            digest, size_bytes = _copied(source, copy, most_bytes + 1)
    except FileNotFound:
        raise DocumentLost("Its file is not there. Upload it again.") from None
    except OSError as error:
        raise _disk_error(error) from error
    if size_bytes > most_bytes:
        raise _too_large(most_bytes)
    if document.size_bytes and size_bytes > document.size_bytes and is_announced(document.key):
        raise DocumentRefused(f"The file has more than the {document.size_bytes:,} bytes that were announced.")
    return digest


def _copied(source: BinaryIO, copy: BinaryIO, most_bytes: int) -> tuple[str, int]:
    """Copy at most so many bytes; return the SHA-256 (hex) and how many they were."""
    digest, size_bytes = hashlib.sha256(), 0
    while size_bytes < most_bytes and (block := source.read(min(COPY_BYTES, most_bytes - size_bytes))):
        copy.write(block)
        digest.update(block)
        size_bytes += len(block)
    return digest.hexdigest(), size_bytes


def _disk_error(error: OSError) -> Unavailable:
    if error.errno in (ENOSPC, EDQUOT):
        return StorageFull("There is no room on the disk for a copy of the file. Make room; it is tried again.")
    return FilesUnavailable(f"The file could not be copied ({type(error).__name__}). It is tried again.")


def _too_large(most_bytes: int) -> DocumentTooLarge:
    return DocumentTooLarge(f"The file has more than {most_bytes:,} bytes. Split it, or raise PAI_UPLOAD_BYTES.")
