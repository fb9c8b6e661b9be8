"""A backup's file: a compressed tar with manifest.json first, which has the SHA-256 of everything that follows it.

It is written whole or not at all, and unpacked only as its manifest says; nothing is taken on its word.
"""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import click
from filelock import FileLock, Timeout

from chalicelib.clock import iso
from chalicelib.platform.local.disk import private_folder

MANIFEST = "manifest.json"
MANIFEST_BYTES = 1024 * 1024 * 1024
TAKEN = "{target} exists already. Name another file, or move that one away."
STAGE = "stage.json"
"""What a backup of a stage on AWS holds, and one of a home never does."""
LOCK_WAIT_S = 0.5


class ArchiveError(click.ClickException):
    """A backup can't be written or brought back; the sentence says why and what to do."""


@dataclass(frozen=True)
class Entry:
    """One file of a backup; `name` is its path inside, with `/`."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    created_at: str
    entries: tuple[Entry, ...]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.entries)


@contextmanager
def written_to(target: Path) -> Iterator[None]:
    """Refuse a file that exists, or has no folder; turn what the disk can't do in this block into `ArchiveError`."""
    if target.exists():
        raise ArchiveError(TAKEN.format(target=target))
    try:
        target.absolute().parent.stat()
        yield
    except OSError as error:
        raise ArchiveError(f"The backup could not be written: {error.strerror} ({error.filename or target}).") from error


@contextmanager
def read_from(archive: Path) -> Iterator[None]:
    """Turn what the disk can't do in this block into `ArchiveError`."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"The backup could not be restored: {error.strerror} ({error.filename or archive}).") from error


@contextmanager
def workplace(folder: Path, lock: Path, busy: str) -> Iterator[Path]:
    """Yield the path of a folder to be made, which is deleted afterwards, and before: what a killed process left.

    One process at a time: the next one meets `busy`.
    """
    try:
        with FileLock(lock, timeout=LOCK_WAIT_S, mode=0o600):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)  # whoever waits for it notices, and begins again
    except Timeout:
        raise ArchiveError(busy) from None


def write(folder: Path, target: Path, scratch: Path) -> Manifest:
    """Write the files of a folder as one backup, mode 0600. `scratch`: where it is until it is whole, on the target's disk."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(iso(time.time()), tuple(_entry(folder, name) for name in names))
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest)))
    descriptor, unfinished = tempfile.mkstemp(dir=scratch, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:  # sealed text does not compress
                for name in (MANIFEST, *names):
                    archive.add(folder / name, name, recursive=False, filter=_anonymous)
            file.flush()
            os.fsync(descriptor)
        if target.exists():  # it came while this was written, which can take hours
            raise ArchiveError(TAKEN.format(target=target))
        os.replace(unfinished, target)
    except BaseException:
        os.unlink(unfinished)
        raise
    return manifest


def is_of_a_stage(archive: Path) -> bool:
    """Tell whether this is a backup of a stage on AWS, and not of one machine."""
    with understood(archive), tarfile.open(archive, "r|gz") as tar:
        return STAGE in {entry.name for entry in _read_manifest(tar).entries}


def unpack(archive: Path, folder: Path, belongs: Callable[[str], bool]) -> Manifest:
    """Unpack what the manifest names, each file checked, into a new folder; `belongs` says which names are good."""
    folder.mkdir(mode=0o700)
    with understood(archive), tarfile.open(archive, "r|gz") as tar:
        manifest = _read_manifest(tar)
        for entry in manifest.entries:
            if not belongs(entry.name):
                raise ValueError(f"{entry.name!r} does not belong in it")
            _unpack_entry(_next_file(tar, entry.name, entry.size_bytes), entry, folder)
        if tar.next():
            raise ValueError("it holds more than its manifest names")
    return manifest


@contextmanager
def understood(archive: Path) -> Iterator[None]:
    """Turn what makes no sense in a backup, in this block, into `ArchiveError`."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, LookupError, TypeError) as error:
        raise ArchiveError(f"{archive} is not a whole PAI backup ({error}). Nothing was changed.") from error


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave this machine's user out of the archive."""
    member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
    return member


def _entry(folder: Path, name: str) -> Entry:
    with (folder / name).open("rb") as file:
        return Entry(name, (folder / name).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    data = json.load(_next_file(tar, MANIFEST, MANIFEST_BYTES))
    return Manifest(str(data["created_at"]), tuple(Entry(**entry) for entry in data["entries"]))


def _next_file(tar: tarfile.TarFile, name: str, most_bytes: int) -> IO[bytes]:
    """Return the content of the next member, which must be a file no larger than this; `name` is what should come."""
    member = tar.next()
    content = tar.extractfile(member) if member else None
    if not member or not content or member.size > most_bytes:
        raise ValueError(f"{name} is missing, or not where it belongs")
    return content


def _unpack_entry(content: IO[bytes], entry: Entry, folder: Path) -> None:
    path = folder / entry.name
    private_folder(path.parent)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
    if _entry(folder, entry.name) != entry:
        raise ValueError(f"{entry.name} is damaged")
