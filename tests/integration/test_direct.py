"""A connection to PostgreSQL that breaks, is refused, or is not to be had."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from chalicelib.errors import LibraryUnavailable, LibraryWaking, Misconfigured, PaiError
from chalicelib.patience import patience
from chalicelib.retriever.pgvector import direct
from chalicelib.retriever.pgvector.direct import DirectDatabase, Session
from chalicelib.settings import Settings


@pytest.fixture
def database(postgres: str) -> Iterator[DirectDatabase]:
    database = direct.build(Settings(database_url=postgres))
    assert isinstance(database, DirectDatabase)
    yield database
    database.close()


@contextmanager
def only(postgres: str, connections: int) -> Iterator[DirectDatabase]:
    """A database with so many connections, for which nobody waits long."""
    database = DirectDatabase(lambda: Session.connect(postgres, autocommit=True), connections, wait_s=0.05)
    yield database
    database.close()


def hang_up(postgres: str) -> None:
    """Have the server end every other connection."""
    with psycopg.connect(postgres, autocommit=True) as administrator:
        others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        administrator.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}")


def hang_up_on(postgres: str, statement: str) -> None:
    """Wait until this statement is at work, then have the server end its connection."""
    with psycopg.connect(postgres, autocommit=True) as administrator:
        ended = None
        while not ended:
            ended = administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s AND state = 'active'", [statement]
            ).fetchone()


def test_connection_is_kept_for_the_next_question(database: DirectDatabase) -> None:
    assert database.fetch("SELECT pg_backend_pid()") == database.fetch("SELECT pg_backend_pid()")


def test_connection_that_broke_meanwhile_is_replaced(database: DirectDatabase, postgres: str) -> None:
    database.fetch("CREATE TABLE notes (id bigint)")
    hang_up(postgres)
    with database.transaction() as connection:
        connection.fetch("INSERT INTO notes (id) VALUES (1)")
    hang_up(postgres)

    database.fetch("INSERT INTO notes (id) VALUES (2)")

    assert database.fetch("SELECT id FROM notes ORDER BY id") == [(1,), (2,)]


def test_question_that_was_cut_off_is_asked_again(database: DirectDatabase, postgres: str) -> None:
    question = "SELECT pg_sleep(0.3)::text"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(database.fetch, question)
        hang_up_on(postgres, question)

        assert answer.result() == [("",)]


def test_change_that_was_cut_off_is_not_made_again(database: DirectDatabase, postgres: str) -> None:
    database.fetch("CREATE TABLE notes (id bigint)")
    change = "INSERT INTO notes (id) SELECT 1 FROM pg_sleep(30)"
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(database.fetch, change)
        hang_up_on(postgres, change)

        with pytest.raises(LibraryUnavailable, match="was stopped"):
            answer.result()
    assert database.fetch("SELECT id FROM notes") == []


def test_connection_that_was_cut_in_a_transaction_is_told(database: DirectDatabase, postgres: str) -> None:
    with pytest.raises(LibraryUnavailable), database.transaction() as connection:  # noqa: PT012 - the block is the test
        hang_up(postgres)
        connection.fetch("SELECT 1")

    assert database.fetch("SELECT 1") == [(1,)]


def test_connection_that_hangs_is_left_when_patience_ends(database: DirectDatabase) -> None:
    [(backend,)] = database.fetch("SELECT pg_backend_pid()")
    os.kill(int(str(backend)), signal.SIGSTOP)
    try:
        with patience(0.1):
            with pytest.raises(LibraryUnavailable), database.transaction() as connection:
                connection.fetch("SELECT 1")

            assert database.fetch("SELECT 1") == [(1,)]
    finally:
        os.kill(int(str(backend)), signal.SIGCONT)


def test_who_waits_too_long_for_a_connection_is_told(postgres: str) -> None:
    with only(postgres, connections=1) as database, database.transaction(), pytest.raises(LibraryUnavailable, match="busy"):
        database.fetch("SELECT 1")


def test_refusals_give_their_connections_back(postgres: str) -> None:
    with only(postgres, connections=1) as database:
        for _ in range(3):
            with pytest.raises(PaiError):
                database.fetch("SELECT 1 / 0")
        with pytest.raises(RuntimeError), database.transaction():
            raise RuntimeError

        assert database.fetch("SELECT 1") == [(1,)]


def test_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    database = direct.build(Settings(database_url=f"postgresql://pai@127.0.0.1:{port}/pai"))

    with pytest.raises(LibraryUnavailable, match="connection to the documents' database broke"):
        database.fetch("SELECT 1")


@pytest.mark.parametrize(
    ("severity", "sqlstate", "message", "kind"),
    [
        ("FATAL", "57P03", "the database system is starting up", LibraryWaking),
        ("FATAL", "57P03", "the database system is in recovery mode", LibraryWaking),
        ("FATAL", "53300", "sorry, too many clients already", LibraryUnavailable),
        ("FATAL", "28P01", 'password authentication failed for user "pai"', Misconfigured),
    ],
)
def test_refused_connection_is_explained(severity: str, sqlstate: str, message: str, kind: type[PaiError]) -> None:
    error = f"S{severity}\0V{severity}\0C{sqlstate}\0M{message}\0\0".encode()

    with refusing(error) as url, pytest.raises(kind) as refused:
        direct.build(Settings(database_url=url)).fetch("SELECT 1")

    assert type(refused.value) is kind


def test_database_that_is_not_there_is_named(postgres: str) -> None:
    database = direct.build(Settings(database_url=make_conninfo(postgres, dbname="nowhere")))

    with pytest.raises(Misconfigured, match="no database of that name"):
        database.fetch("SELECT 1")


@pytest.mark.parametrize("address", ["", "my database", "postgresql://[nonsense"])
def test_address_that_is_none_is_named_at_once(address: str) -> None:
    with pytest.raises(Misconfigured, match="PAI_DATABASE_URL"):
        direct.build(Settings(database_url=address))


@contextmanager
def refusing(error: bytes) -> Iterator[str]:
    """A PostgreSQL that answers who connects with this ErrorResponse; its address.

    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"E" + (len(error) + 4).to_bytes(4, "big") + error)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"postgresql://pai:secret@127.0.0.1:{server.getsockname()[1]}/pai?sslmode=disable&gssencmode=disable"
        thread.join()
