"""A home as one file, and back: manifest.json first, with the SHA-256 of everything that follows it.

The archive holds master.key: whoever has it can read every conversation in it.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock, Timeout

from chalicelib.clock import iso
from chalicelib.platform.local.disk import private_folder
from pai.home import LOCK_WAIT_S, Home, HomeError, HomeInUse, check_format, locked, snapshot

MANIFEST = "manifest.json"
MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One file of a backup; `name` is its path inside the home, with `/`."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    created_at: str
    entries: tuple[Entry, ...]


def back_up(home: Home, target: Path) -> Manifest:
    """Write a backup of the home, mode 0600, while a server may be writing to it.

    The file is there whole or not at all; one that exists is not replaced. `HomeError` says what went wrong.
    """
    if not home.holds_anything():
        raise HomeError(f"{home.path} holds nothing to back up. Is PAI_HOME right?")
    if target.exists():
        raise HomeError(f"{target} exists already. Name another file, or move that one away.")
    try:
        with _workplace(home) as folder:
            snapshot(home, folder)
            return _write(folder, target.absolute())
    except OSError as error:
        raise HomeError(f"The backup could not be written: {error.strerror} ({error.filename or target}).") from error


def restore(archive: Path, home: Home, *, replace: bool) -> tuple[Manifest, Path | None]:
    """Put a backup's content in the home's place; return what it held, and where an older home went (None if none was there).

    Everything is unpacked beside the home and checked first, so that a damaged archive changes nothing. `HomeInUse` while
    a server runs.
    """
    try:
        home.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.path.parent, prefix=".restore-") as folder:
            unpacked = Home(Path(folder) / "home")
            manifest = _unpack(archive, unpacked)
            with locked(home):
                return manifest, _exchange(home, unpacked, replace=replace)
    except OSError as error:
        raise HomeError(f"The backup could not be restored: {error.strerror} ({error.filename or archive}).") from error


@contextmanager
def _workplace(home: Home) -> Iterator[Path]:
    """Yield a path inside the home for a copy of it, which is deleted afterwards. One backup at a time."""
    folder = home.backup_copy
    lock = FileLock(home.backup_lock, timeout=LOCK_WAIT_S, mode=0o600)
    try:
        with lock:
            shutil.rmtree(folder, ignore_errors=True)  # of a backup that was killed
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise HomeInUse(f"Another backup of {home.path} is being written. Wait until it ends.") from None


def _write(folder: Path, target: Path) -> Manifest:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    manifest = Manifest(iso(time.time()), tuple(_entry(folder, name) for name in names))
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest)))
    descriptor, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:  # sealed text does not compress
                for name in (MANIFEST, *names):
                    archive.add(folder / name, name, recursive=False, filter=_anonymous)
            file.flush()
            os.fsync(descriptor)
        os.replace(unfinished, target)
    except BaseException:
        os.unlink(unfinished)
        raise
    return manifest


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave this machine's user out of the archive."""
    member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
    return member


def _entry(folder: Path, name: str) -> Entry:
    with (folder / name).open("rb") as file:
        return Entry(name, (folder / name).stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _unpack(archive: Path, unpacked: Home) -> Manifest:
    """Unpack what the manifest names, each file checked, into a new folder. Nothing is taken on the archive's word."""
    unpacked.path.mkdir(mode=0o700)
    try:
        with tarfile.open(archive, "r|gz") as tar:
            manifest = _read_manifest(_next_file(tar, MANIFEST, MANIFEST_BYTES))
            for entry in manifest.entries:
                _unpack_entry(_next_file(tar, entry.name, entry.size_bytes), entry, unpacked.path)
            if tar.next():
                raise ValueError("it holds more than its manifest names")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, KeyError, TypeError) as error:
        raise HomeError(f"{archive} is not a whole PAI backup ({error}). Nothing was changed.") from error
    check_format(unpacked)
    return manifest


def _next_file(tar: tarfile.TarFile, name: str, most_bytes: int) -> IO[bytes]:
    """Return the content of the next member, which must be a file no larger than this; `name` is what should come."""
    member = tar.next()
    content = tar.extractfile(member) if member else None
    if not member or not content or member.size > most_bytes:
        raise ValueError(f"{name} is missing, or not where it belongs")
    return content


def _read_manifest(content: IO[bytes]) -> Manifest:
    data = json.load(content)
    return Manifest(str(data["created_at"]), tuple(Entry(**entry) for entry in data["entries"]))


def _unpack_entry(content: IO[bytes], entry: Entry, folder: Path) -> None:
    if not _belongs_in_a_home(entry.name):
        raise ValueError(f"{entry.name!r} is no file of a home")
    path = folder / entry.name
    private_folder(path.parent)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
    if _entry(folder, entry.name) != entry:
        raise ValueError(f"{entry.name} is damaged")


def _belongs_in_a_home(name: str) -> bool:
    """Tell whether a path is one of a home's, and stays inside it."""
    home, path = Home(Path()), PurePosixPath(name)
    known = {str(file) for file in (*home.single_files, home.store)}
    return (
        "\0" not in name
        and ".." not in path.parts
        and (name in known or (path.parts[:1] == ("files",) and len(path.parts) > 1))
    )


def _exchange(home: Home, unpacked: Home, *, replace: bool) -> Path | None:
    """Move the old home aside and the new one in, each in one step: killed in between, both are there, whole."""
    aside = None
    if {*home.path.iterdir()} - {*home.scraps}:
        if not replace:
            raise HomeError(f"{home.path} is not empty. Add --replace to move it aside, or name another folder with PAI_HOME.")
        aside = home.path.with_name(f"{home.path.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    home.path.rename(aside or unpacked.path.with_name("empty"))
    unpacked.path.rename(home.path)
    return aside
