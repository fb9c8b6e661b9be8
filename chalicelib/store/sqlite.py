"""The store in one SQLite file, `<home>/pai.sqlite3`: safe for many threads and several processes at once."""

import base64
import errno
import itertools
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from chalicelib.errors import Misconfigured, StorageFull, StoreUnavailable
from chalicelib.settings import Settings
from chalicelib.store import Item, Key, Page, Store, Value, When
from chalicelib.store.items import Change, can_exist, check, holds, live
from chalicelib.store.queries import Query, read_query

MIGRATIONS: Sequence[Sequence[str]] = (
    (
        "CREATE TABLE items (pk TEXT NOT NULL, sk TEXT NOT NULL, list_pk TEXT, list_sk TEXT, expires_at INTEGER,"
        " rest TEXT NOT NULL, PRIMARY KEY (pk, sk))",
        "CREATE INDEX by_activity ON items (list_pk, list_sk, pk, sk) WHERE list_pk IS NOT NULL",
        "CREATE INDEX by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL",
    ),
)
"""The statements that lead from each version of the file to the next; its `PRAGMA user_version` counts those done.

Add at the end, and never change one that was released.
"""

COLUMNS = ("pk", "sk", "list_pk", "list_sk", "expires_at")
"""Attributes that have a column; the others are one JSON object in `rest`. Each value is stored once: a row that was given
another's `rest` has strange contents under its own keys, which the vault notices."""
SELECT = f"SELECT {', '.join(COLUMNS)}, rest FROM items"
REPLACE = f"REPLACE INTO items ({', '.join(COLUMNS)}, rest) VALUES (?, ?, ?, ?, ?, ?)"

PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # readers and the writer do not wait for each other
    "PRAGMA synchronous = FULL",  # what we say is stored is on disk: NORMAL loses the last commits with the power
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten
    "PRAGMA journal_size_limit = 0",  # a log that begins anew keeps no tail of old pages
)
WRITES_PER_PURGE = 500
PURGED_AT_ONCE = 1000


def build(settings: Settings) -> Store:
    return SqliteStore(Path(settings.home) / "pai.sqlite3")


class SqliteStore:
    """One file of mode 0600, in a folder of mode 0700 unless it was there before.

    Writers of this process queue for a lock; for those of other processes each waits up to `busy_s`. Opening brings a file of
    an older PAI up to date, all or nothing; one of a newer PAI is Misconfigured.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.time,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
        busy_s: float = 10.0,
    ) -> None:
        self._path = path.absolute()
        self._now = now
        self._busy_s = busy_s
        self._writer = threading.Lock()
        self._writes = itertools.count()
        self._scrub_due = True  # a process before us may have been killed before it could
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        weakref.finalize(self, _close, self._idle)  # Python 3.13 warns of connections that nobody closed
        _make_private(self._path)
        self._migrate(migrations)

    def put(self, item: Item, when: Iterable[When] = ()) -> bool:
        key, when = check(item), tuple(when)
        with self._writing() as connection:
            if when and not holds(when, self._live(connection, key)):
                return False
            _write(connection, item)
        return True

    def get(self, pk: str, sk: str) -> Item | None:
        if not can_exist((pk, sk)):
            return None
        with self._connected() as connection:
            return self._live(connection, (pk, sk))

    def query(
        self,
        pk: str,
        *,
        index: bool = False,
        first: str = "",
        last: str = "",
        newest_first: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        query = read_query(pk, index=index, first=first, last=last, newest_first=newest_first, limit=limit, cursor=cursor)
        if query.finds_nothing:
            return Page(())
        with self._connected() as connection:
            rows = connection.execute(*_select(query, self._now())).fetchall()
        page = [query.shown(self._item(row)) for row in rows[:limit]]
        return Page(page, query.cursor(page[-1]) if len(rows) > limit else None)

    def update(
        self,
        pk: str,
        sk: str,
        *,
        set: Item | None = None,
        add: Mapping[str, int] | None = None,
        remove: Iterable[str] = (),
        when: Iterable[When] = (),
    ) -> Item | None:
        change, when = Change(pk, sk, set or {}, add or {}, tuple(remove)), tuple(when)
        with self._writing() as connection:
            item = self._live(connection, (pk, sk))
            if not holds(when, item):
                return None
            changed = change.applied(item)
            _write(connection, changed)
        return changed

    def delete(self, keys: Iterable[Key]) -> None:
        """Delete these, all or none, and overwrite them: in the file at once, in the log as soon as nobody reads it."""
        possible = [key for key in keys if can_exist(key)]
        with self._writing() as connection:
            connection.executemany("DELETE FROM items WHERE pk = ? AND sk = ?", possible)
            self._scrub_due = True

    def close(self) -> None:
        """Close every connection: the idle ones now, one at work when it is done. The store may be used again."""
        self._closed = True
        _close(self._idle)

    def _live(self, connection: sqlite3.Connection, key: Key) -> Item | None:
        row = connection.execute(f"{SELECT} WHERE pk = ? AND sk = ?", key).fetchone()
        return live(self._item(row), self._now()) if row else None

    def _item(self, row: Sequence[Value]) -> Item:
        *columns, text = row
        try:
            rest = _read_rest(str(text))
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # anything but our JSON
            raise StoreUnavailable(f"An item in {self._path} is damaged. {RESTORE}") from error
        return {**{name: value for name, value in zip(COLUMNS, columns, strict=True) if value is not None}, **rest}

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for one transaction: it is committed at the end, or rolled back by any error."""
        with self._writer, self._connected() as connection:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                if next(self._writes) % WRITES_PER_PURGE == 0:
                    self._purge(connection)
            if self._scrub_due:
                self._scrub(connection)

    def _purge(self, connection: sqlite3.Connection) -> None:
        """Delete some of what expired: of each write at most one item comes, so this keeps up."""
        old = "SELECT rowid FROM items WHERE expires_at <= ? LIMIT ?"
        purged = connection.execute(f"DELETE FROM items WHERE rowid IN ({old})", (self._now(), PURGED_AT_ONCE))
        self._scrub_due = self._scrub_due or purged.rowcount > 0

    def _scrub(self, connection: sqlite3.Connection) -> None:
        """Empty the write-ahead log, where images of the pages before a deletion are; after the next write if it is in use."""
        connection.execute("PRAGMA busy_timeout = 0")
        with suppress(sqlite3.OperationalError):  # the write itself is done: a full disk must not make it look undone
            self._scrub_due = bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        connection.execute(f"PRAGMA busy_timeout = {self._busy_s * 1000:.0f}")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that nobody else has meanwhile."""
        try:
            connection = self._borrow()
            try:
                yield connection
            finally:
                self._give_back(connection)
        except sqlite3.DatabaseError as error:
            raise _explained(error, self._path) from error

    def _borrow(self) -> sqlite3.Connection:
        with suppress(IndexError):
            return self._idle.pop()
        # `mode=rw` never makes a file: one that was taken away under us must be missed, not begun anew.
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", uri=True, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in PRAGMAS:
                self._set(connection, pragma)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _set(self, connection: sqlite3.Connection, pragma: str) -> None:
        """Set it, also where SQLite does not wait for others: while several of them give a new file its journal."""
        end = time.monotonic() + self._busy_s
        while True:
            try:
                connection.execute(pragma)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                    raise
            time.sleep(0.01)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _migrate(self, migrations: Sequence[Sequence[str]]) -> None:
        with self._writing() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(migrations):
                raise Misconfigured(
                    f"{self._path} was written by a newer PAI (format {version}; this one knows {len(migrations)}). "
                    "Update PAI, or set PAI_HOME to another folder."
                )
            for statement in itertools.chain.from_iterable(migrations[version:]):
                connection.execute(statement)
            if version < len(migrations):
                connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _write(connection: sqlite3.Connection, item: Item) -> None:
    rest = {name: value for name, value in item.items() if name not in COLUMNS}
    text = json.dumps(rest, ensure_ascii=False, separators=(",", ":"), default=_json_of_bytes)
    connection.execute(REPLACE, [*(item.get(name) for name in COLUMNS), text])


def _json_of_bytes(value: bytes) -> dict[str, str]:
    return {"B": base64.b64encode(value).decode()}


def _read_rest(text: str) -> dict[str, Value]:
    return {name: _read_value(value) for name, value in json.loads(text).items()}


def _read_value(value: Any) -> Value:
    return base64.b64decode(value["B"], validate=True) if isinstance(value, dict) else value


def _select(query: Query, now: float) -> tuple[str, list[Value | float]]:
    """Return the statement for one item more than the page may have, and its parameters."""
    sort, columns = query.order[0], ", ".join(query.order)
    way, beyond = ("DESC", "<") if query.newest_first else ("ASC", ">")
    clauses: dict[str, Sequence[Value | float]] = {
        f"{query.partition} = ?": [query.pk],
        f"{sort} >= ?": [query.first],
        "(expires_at IS NULL OR expires_at > ?)": [now],
    }
    if query.last:
        clauses[f"{sort} <= ?"] = [query.last]
    if query.after:
        clauses[f"({columns}) {beyond} ({', '.join('?' * len(query.after))})"] = query.after
    order = ", ".join(f"{name} {way}" for name in query.order)
    statement = f"{SELECT} WHERE {' AND '.join(clauses)} ORDER BY {order} LIMIT {query.limit + 1}"
    return statement, [value for values in clauses.values() for value in values]


def _make_private(path: Path) -> None:
    """Make the folder and the file, for the owner alone. SQLite gives its log the mode of the file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An existing file must not be opened here: closing it would drop the locks that this process holds on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        path.chmod(0o600)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (StorageFull if full else StoreUnavailable)(f"{path} can't be made: {error.strerror}.") from error


def _close(connections: list[sqlite3.Connection]) -> None:
    with suppress(IndexError):
        while True:
            connections.pop().close()


RESTORE = "Stop PAI and bring back a backup with `pai restore`."
_FAILURES: Mapping[tuple[str, ...], tuple[type[StoreUnavailable], str]] = {
    ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"): (
        StorageFull,
        "The disk takes no more of {path}. Free some space; what was stored before is safe.",
    ),
    ("SQLITE_BUSY", "SQLITE_LOCKED"): (
        StoreUnavailable,
        "Another program keeps {path} locked. Try again, or end that program.",
    ),
    ("SQLITE_CORRUPT", "SQLITE_NOTADB"): (StoreUnavailable, "{path} is damaged. " + RESTORE),
    ("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY"): (
        StoreUnavailable,
        "{path} can't be opened for reading and writing. See that it is there and yours; " + RESTORE,
    ),
    ("SQLITE_IOERR", "SQLITE_PROTOCOL"): (
        StoreUnavailable,
        "The disk fails under {path} ({name}). Check the disk. " + RESTORE,
    ),
}
"""SQLite's extended error names (https://sqlite.org/rescode.html), by their beginning."""


def _explained(error: sqlite3.DatabaseError, path: Path) -> Exception:
    """Return the error to raise; SQLite's own when it is a defect of ours."""
    name = getattr(error, "sqlite_errorname", "")
    for beginnings, (kind, sentence) in _FAILURES.items():
        if name.startswith(beginnings):
            return kind(sentence.format(path=path, name=name))
    return error
