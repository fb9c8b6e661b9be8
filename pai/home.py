"""The folder of one machine ($PAI_HOME): what lies where, which format it has, and who may use it just now.

    home.json     the format's number, and what the owner was told once
    master.key    opens every conversation      keys.json   digests of the API keys
    master.key.made says that there has been one
    pai.sqlite3   the conversations, sealed     files/      documents
    api-key       the first API key             lock, server.json    held while `pai run` serves

A home of an older format is migrated when it is opened. A copy is kept until all steps are done: killed half-way, the next
start puts the copy back and begins again, so that a step may rely on meeting the format before it, and nothing else.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from filelock import FileLock, Timeout

from chalicelib.platform.local.disk import private_folder
from pai.config import write_private

LOCK_WAIT_S = 0.5
"""Long enough for someone who only looks whether the lock is free."""

UNFINISHED = ".pai-*.part"
"""Files that are still being written."""


class HomeError(click.ClickException):
    """The home can't be used as it is; the sentence says why and what to do."""


class HomeInUse(HomeError):
    """Another process serves this home, or changes it as a whole."""


@dataclass(frozen=True)
class Home:
    """Paths of one home. Making it touches nothing."""

    path: Path

    @property
    def marker(self) -> Path:
        return self.path / "home.json"

    @property
    def master_key(self) -> Path:
        return self.path / "master.key"

    @property
    def keys(self) -> Path:
        return self.path / "keys.json"

    @property
    def store(self) -> Path:
        return self.path / "pai.sqlite3"

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def api_key(self) -> Path:
        return self.path / "api-key"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def server(self) -> Path:
        return self.path / "server.json"

    @property
    def migration_copy(self) -> Path:
        return self.path / "before-migration"

    @property
    def backup_copy(self) -> Path:
        return self.path / "backup.partial"

    @property
    def backup_lock(self) -> Path:
        return self.path / "backup.lock"

    @property
    def single_files(self) -> tuple[Path, ...]:
        """The files that make up a home, but for the store, which is copied in its own way."""
        return (self.marker, self.master_key, self.path / "master.key.made", self.keys, self.api_key)

    @property
    def scraps(self) -> Sequence[Path]:
        """Files that a home may have and still be empty."""
        return (self.lock, self.backup_lock, self.path / "keys.lock")

    def store_files(self) -> Sequence[Path]:
        """The store with the files that SQLite keeps beside it."""
        return tuple(self.path.glob(f"{self.store.name}*"))

    def holds_anything(self) -> bool:
        """Tell whether there is something here that would be a loss."""
        return any(path.exists() for path in (*self.single_files, self.store, self.files))


@dataclass(frozen=True)
class Marker:
    """What home.json says. `told` names the hints that the owner has had."""

    format: int
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunningServer:
    """Who serves a home: its process and where it is reached."""

    pid: int
    url: str


Migration = Callable[[Home], None]


def _keep_from_others(home: Home) -> None:
    """0 → 1: homes from before there was a format hold the same files; only their modes were left to chance."""
    for path in (*home.single_files, *home.store_files(), home.files, *home.files.rglob("*")):
        if path.exists() and not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)


MIGRATIONS: Sequence[Migration] = (_keep_from_others,)
"""The step at n brings a home from format n to n + 1."""


def find_home(name: str) -> Home:
    """Return the home of this name, its path made absolute."""
    return Home(Path(name).expanduser().absolute())


def open_home(home: Home, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Make the home, or bring it to the newest format. The caller holds its lock. `HomeError` when it can't be used."""
    try:
        make_folder(home)
        _settle_earlier_migration(home)
        check_format(home, len(migrations))
        marker = read_marker(home, len(migrations))
        if marker.format < len(migrations):
            _migrate(home, marker, migrations)
        elif not home.marker.exists():
            _write_marker(home, marker)
    except OSError as error:
        raise HomeError(f"{home.path} can't be made ready: {error.strerror} ({error.filename}).") from error


def make_folder(home: Home) -> None:
    """Make the home's folder, for nobody else's eyes."""
    private_folder(home.path).chmod(0o700)


def check_format(home: Home, newest: int = len(MIGRATIONS)) -> None:
    """Refuse a home that a newer PAI has written: what is in there, this one would misread."""
    found = read_marker(home, newest).format
    if found > newest:
        raise HomeError(
            f"{home.path} was written by a newer PAI (format {found}; this one knows {newest}). "
            "Update PAI, or name another folder with PAI_HOME."
        )


def read_marker(home: Home, newest: int = len(MIGRATIONS)) -> Marker:
    """Return what home.json says; without one, format 0 for a home with something in it and the newest for an empty one."""
    try:
        entries = json.loads(home.marker.read_text())
        return Marker(int(entries["format"]), tuple(entries.get("told", ())))
    except FileNotFoundError:
        return Marker(0 if home.holds_anything() else newest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HomeError(
            f"{home.marker} can't be read, so the home's format is unknown. Bring it back from a backup (`pai restore`)."
        ) from error


def tell_once(home: Home, hint: str) -> bool:
    """Return whether this hint is still to be told, and remember that it was."""
    marker = read_marker(home)
    if hint in marker.told:
        return False
    _write_marker(home, Marker(marker.format, (*marker.told, hint)))
    return True


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the home against other servers and restores. The lock is the kernel's: it ends with its process, in any case."""
    lock = FileLock(home.lock, timeout=LOCK_WAIT_S, mode=0o600)
    try:
        make_folder(home)
        lock.acquire()
    except Timeout:
        raise HomeInUse(_in_use(home)) from None
    except OSError as error:
        raise HomeError(f"{home.path} can't be used: {error.strerror} ({error.filename}).") from error
    try:
        yield
    finally:
        home.server.unlink(missing_ok=True)
        lock.release()


def announce(home: Home, url: str) -> None:
    """Leave word of where this process serves the home, for those who meet its lock."""
    write_private(home.server, json.dumps(asdict(RunningServer(os.getpid(), url))).encode())


def running_server(home: Home) -> RunningServer | None:
    """Return who serves this home, None when nobody does."""
    if not home.lock.exists():
        return None
    with suppress(Timeout), FileLock(home.lock, timeout=0, mode=0o600):
        return None
    try:
        return RunningServer(**json.loads(home.server.read_text()))
    except (OSError, ValueError, TypeError):
        return RunningServer(0, "")


def _in_use(home: Home) -> str:
    try:
        server = RunningServer(**json.loads(home.server.read_text()))
    except (OSError, ValueError, TypeError):
        return f"Another pai command is at work in {home.path}. Wait until it ends."
    return (
        f"PAI already serves {home.path} at {server.url} (process {server.pid}). "
        "Use that one, stop it, or name another folder with PAI_HOME."
    )


def snapshot(home: Home, folder: Path) -> None:
    """Copy what makes up the home into a new folder beside or in it, consistently, while a server may be writing.

    The store comes first: a document it names was stored before it. Files are never changed in place, so that a link is
    as good as a copy. `HomeError` when the store can't be read.
    """
    folder.mkdir(mode=0o700)
    if home.store.exists():
        _copy_store(home.store, folder / home.store.name)
    for path in home.single_files:
        with suppress(FileNotFoundError):
            shutil.copy2(path, folder / path.name)
    _link_tree(home.files, folder / home.files.name)


def _copy_store(source: Path, target: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as store,
            closing(sqlite3.connect(target)) as copy,
        ):
            store.backup(copy)
    except sqlite3.Error as error:
        raise HomeError(f"{source} can't be copied: {error}.") from error
    target.chmod(0o600)


def _link_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        # A file may be deleted between our seeing it and our linking it: then it is not in the copy.
        if path.is_file() and not path.is_symlink() and not path.match(UNFINISHED):
            copy = target / path.relative_to(source)
            private_folder(copy.parent)
            with suppress(FileNotFoundError):
                _link_or_copy(path, copy)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)  # a filesystem without links


def _migrate(home: Home, marker: Marker, migrations: Sequence[Migration]) -> None:
    """Take every step from the home's format to the newest. Writing the marker is what makes it done."""
    unfinished = home.migration_copy.with_suffix(".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    snapshot(home, unfinished)
    unfinished.rename(home.migration_copy)
    for migrate in migrations[marker.format :]:
        migrate(home)
    _write_marker(home, Marker(len(migrations), marker.told))
    _discard(home.migration_copy)


def _settle_earlier_migration(home: Home) -> None:
    """Undo a migration that was cut short, from its copy; drop the copy of one that was done."""
    copy = Home(home.migration_copy)
    if copy.path.exists():
        done = home.marker.exists() and read_marker(home).format != read_marker(copy).format
        if not done:
            _put_back(home, copy)
        _discard(copy.path)
    shutil.rmtree(copy.path.with_suffix(".discarded"), ignore_errors=True)


def _put_back(home: Home, copy: Home) -> None:
    """Make the home what it was when the copy was taken. The marker has not changed since then."""
    kept = tuple(path for path in home.single_files if path != home.marker)
    for path in (*kept, *home.store_files()):
        path.unlink(missing_ok=True)
    shutil.rmtree(home.files, ignore_errors=True)
    for path in (*kept, home.store):
        with suppress(FileNotFoundError):
            shutil.copy2(copy.path / path.name, path)
    _link_tree(copy.files, home.files)


def _discard(folder: Path) -> None:
    """Delete a folder; half-way killed, nobody takes what is left of it for the whole."""
    shutil.rmtree(folder.rename(folder.with_suffix(".discarded")))


def _write_marker(home: Home, marker: Marker) -> None:
    write_private(home.marker, json.dumps(asdict(marker)).encode())
