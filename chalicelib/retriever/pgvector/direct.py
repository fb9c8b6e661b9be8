"""A connection to PostgreSQL itself, by psycopg: one's own server (PAI_DATABASE_URL), or the one of `pai.local.postgres`.

Values travel in binary form, statements are prepared from their second use on, and connections are kept for the next use.
"""

import math
import select
import time
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import Any, TypeVar

import psycopg
from psycopg import sql as syntax
from psycopg.abc import PQGen
from psycopg.adapt import Buffer, Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.types import TypeInfo

from chalicelib.errors import LibraryUnavailable, Misconfigured
from chalicelib.patience import patience_left
from chalicelib.retriever.pgvector import halfvec
from chalicelib.retriever.pgvector.database import Connection, Database, Row, Value
from chalicelib.retriever.pgvector.refusals import meaning_of
from chalicelib.retriever.pgvector.statements import check_names, for_psycopg
from chalicelib.settings import Settings

Result = TypeVar("Result")

CONNECTIONS = 8
"""Connections of one process; further threads wait."""
WAIT_S = 10.0
"""How long a thread waits for a connection."""
CONNECT_S = 5
STATEMENT_S = 45
"""What a statement may take, as with the Data API. `SET LOCAL statement_timeout` in a transaction allows more."""
LEAST_S = 3.0
"""What an answer is waited for even if the patience of who asks is over: connecting may have used it up."""
ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""A server that vanished without a word is missed after a minute (seconds; the last in ms)."""
CANCEL_S = 1.0
"""How long a server may take to hear that an answer is not waited for any more."""
PREPARE_AFTER = 1


class Session(psycopg.Connection[Any]):
    """A connection that is not waited for longer than who asks has patience: a server that hangs keeps no limit itself."""

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        if (left := patience_left(unsaid=math.inf)) == math.inf:
            return super().wait(gen, interval, timeout)
        limit = max(left, LEAST_S)
        started = time.monotonic()
        try:
            return super().wait(gen, interval, timeout or limit)
        except psycopg.OperationalError as error:
            if error.sqlstate or time.monotonic() - started < limit:
                raise
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_S)  # or it would go on, and keep its locks
            raise psycopg.errors.QueryCanceled from None


Connect = Callable[[], Session]
"""Opens a session in autocommit mode. Raises `Unavailable`, `Misconfigured`, or psycopg's OperationalError."""


def build(settings: Settings) -> Database:
    if not settings.database_url:
        raise Misconfigured("PAI_DATABASE_URL is empty. Set it to postgresql://user@host/database, or choose PAI_DATABASE.")
    try:
        address: dict[str, Any] = {"connect_timeout": CONNECT_S, **ALIVE, **conninfo_to_dict(settings.database_url)}
    except psycopg.Error:
        raise Misconfigured("PAI_DATABASE_URL can't be read. Set it to postgresql://user@host/database.") from None
    return DirectDatabase(lambda: Session.connect(**address, autocommit=True))


class DirectDatabase:
    """Up to `connections` sessions, each lent to one thread at a time."""

    def __init__(self, connect: Connect, connections: int = CONNECTIONS, wait_s: float = WAIT_S) -> None:
        self._connect = connect
        self._wait_s = wait_s
        self._places = BoundedSemaphore(connections)
        self._idle: list[Session] = []
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with _refusals(), self._lent() as session, session.transaction():
            yield DirectConnection(session)

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        with _refusals():
            with self._lent() as session:
                try:
                    return _run(session, sql, parameters)
                except psycopg.OperationalError as error:
                    if not (_was_cut(error) and _only_reads(sql)):
                        raise
            with self._lent() as session:
                return _run(session, sql, parameters)

    def close(self) -> None:
        """Close the sessions that nobody uses just now. The database may be used again."""
        _close(self._idle)

    @contextmanager
    def _lent(self) -> Iterator[Session]:
        """Lend a session; afterwards it is kept, unless it broke."""
        if not self._places.acquire(timeout=self._wait_s):
            raise LibraryUnavailable("The documents' database is busy with other questions. Try again in a moment.")
        try:
            session = self._kept() or self._opened()
            try:
                yield session
            finally:
                self._take_back(session)
        finally:
            self._places.release()

    def _kept(self) -> Session | None:
        """Return a session from before that is whole: a server says nothing to one that asks nothing, except farewell."""
        with suppress(IndexError):
            while True:
                session = self._idle.pop()
                if not _has_news(session):
                    return session
                session.close()
        return None

    def _opened(self) -> Session:
        session = self._connect()
        session.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
        session.prepare_threshold = PREPARE_AFTER
        session.adapters.register_dumper(array, HalfvecDumper)
        return session

    def _take_back(self, session: Session) -> None:
        if session.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(session)
        else:
            session.close()


class DirectConnection:
    """One session in a transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        with _refusals():
            return _run(self._session, sql, parameters)

    def load(self, table: str, columns: Mapping[str, str], rows: Iterable[Row]) -> int:
        names = syntax.SQL(", ").join(map(syntax.Identifier, columns))
        statement = syntax.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(syntax.Identifier(*table.split(".")), names)
        types = [name.partition("(")[0] for name in columns.values()]
        with _refusals():
            if "halfvec" in types:
                _know_halfvec(self._session)
            cursor = self._session.cursor()
            with cursor.copy(statement) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
            return cursor.rowcount


def _run(session: Session, sql: str, parameters: Mapping[str, Value] | None) -> Sequence[Row]:
    parameters = parameters or {}
    check_names(sql, parameters)
    cursor = session.execute(for_psycopg(sql), parameters, binary=True)
    return cursor.fetchall() if cursor.description else ()


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn psycopg's errors into PAI's. Nothing of the statement or its values goes along, not even as the cause."""
    try:
        yield
    except psycopg.Error as error:
        raise meaning_of(error.sqlstate or _state_of(error)) from None


def _state_of(error: psycopg.Error) -> str:
    """Return what is the SQLSTATE of an error without one: the server did not answer, or not yet as a database."""
    said = str(error)
    for words, sqlstate in _SAID_ON_CONNECTING.items():
        if words in said:
            return sqlstate
    return "08006" if isinstance(error, psycopg.OperationalError) else type(error).__name__


_SAID_ON_CONNECTING = {
    "the database system is": "57P03",  # starting up, in recovery mode, shutting down
    "authentication failed": "28P01",
    "no password supplied": "28P01",
    "does not exist": "3D000",
    "too many": "53300",
    "remaining connection slots": "53300",
}
"""What a server says to who connects, as libpq hands it on: without the SQLSTATE."""


def _has_news(session: Session) -> bool:
    socket = select.poll()
    socket.register(session.fileno(), select.POLLIN)
    return bool(socket.poll(0))


def _was_cut(error: psycopg.OperationalError) -> bool:
    """Tell whether the connection broke, or the server was stopped, in the middle of a statement."""
    return error.sqlstate in (None, "57P01", "57P02")


def _only_reads(sql: str) -> bool:
    return sql.lstrip()[:6].upper() == "SELECT"


def _close(sessions: list[Session]) -> None:
    with suppress(IndexError):
        while True:
            sessions.pop().close()


class HalfvecDumper(Dumper):
    """As a parameter: its type is what the statement casts it to."""

    format = Format.BINARY

    def dump(self, obj: "array[float]") -> Buffer:
        return halfvec.to_binary(obj)


def _know_halfvec(session: Session) -> None:
    """Teach a session to load the type that pgvector brings: each database has a number of its own for it."""
    if session.adapters.types.get("halfvec"):
        return
    if info := TypeInfo.fetch(session, "halfvec"):
        info.register(session)
        encode = staticmethod(halfvec.bulk_encoder())
        session.adapters.register_dumper(None, type("HalfvecColumn", (HalfvecDumper,), {"oid": info.oid, "dump": encode}))
