"""Files that only their owner can read, written whole or not at all."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO

from chalicelib.errors import Unavailable

# What a full disk, a quota and a file size limit say.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# How often to try to move a file into a folder that others remove, being empty, at the same time.
_TRIES = 20

_PREFIX, _SUFFIX = ".pai-", ".part"
_PART_LIVES_S = 24 * 3600


@contextmanager
def disk_failures(kind: type[Unavailable], what: str) -> Iterator[None]:
    """Turn an OSError of this block into a `kind`. `what` begins the sentence: a folder of the owner's, never a file's key."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise kind(f"{what}: the disk is full. Make room and try again.", retry_after_s=60) from error
        reason = error.strerror or type(error).__name__
        raise kind(f"{what}: {reason}. Check that the folder is there and yours to read and write.") from error


def private_folder(path: Path) -> Path:
    """Make the folder, and those it is in, for the owner alone; return it."""
    if not path.is_dir():
        private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


def is_unfinished(path: Path) -> bool:
    """Tell whether this is a file that is still being written, or was left so."""
    return path.name.startswith(_PREFIX) and path.name.endswith(_SUFFIX)


def create_file(path: Path, content: BinaryIO) -> None:
    """Write a new file (mode 0600). Raises FileExistsError: no call of this can ever replace what is there."""
    with _written(content, private_folder(path.parent)) as part:
        os.link(part, path)
        _sync_folder(path.parent)


def replace_file(path: Path, content: BinaryIO, scratch: Path) -> None:
    """Write a file (mode 0600) in place of what is there. `scratch`: a folder on the same disk, for the time being."""
    with _written(content, private_folder(scratch)) as part:
        _move(part, path)
        _sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let no other thread or process into a block locked by the same file."""
    private_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _written(content: BinaryIO, folder: Path) -> Iterator[Path]:
    """Have all of `content` on the disk, in a new file that is gone after the block unless the block moved it."""
    _sweep(folder)
    file = NamedTemporaryFile(dir=folder, prefix=_PREFIX, suffix=_SUFFIX, delete=False)  # noqa: SIM115 - closed below
    part = Path(file.name)
    try:
        with file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written."""
    for part in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            if part.stat().st_mtime < time.time() - _PART_LIVES_S:
                part.unlink()


def _move(part: Path, path: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            private_folder(path.parent)
            os.replace(part, path)
            return
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise


def _sync_folder(folder: Path) -> None:
    """Have a new name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
