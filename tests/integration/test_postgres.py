"""PAI's own PostgreSQL: there when it is asked, for one user only, whoever is killed, and gone when nobody uses it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from chalicelib.errors import LibraryUnavailable, Misconfigured
from chalicelib.retriever.pgvector.direct import DirectDatabase
from pai.local.postgres.binaries import find_binaries
from pai.local.postgres.server import Server

PATIENCE_S = 20.0
QUICK = {"fsync": "off"}
"""Nothing here asks more of the disk than that a killed process leaves behind what it had written."""
GUEST = """
import sys, time
from pathlib import Path
from pai.local.postgres.server import Server

server = Server(Path(sys.argv[1]), {"fsync": "off"})
with server.connect("pai") as connection:
    connection.execute("SELECT 1")
print("in", flush=True)
sys.stdin.read()
server.close()
"""
"""A process that uses the database of the home in its first argument until its standard input ends."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a database that every test here uses, starting it and leaving it stopped."""
    home = tmp_path_factory.mktemp("made") / "home"
    server = Server(home, QUICK)
    server.connect("pai").close()
    server.close()
    return home


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    server = Server(home, QUICK)
    yield server
    server.close()


@pytest.fixture
def spoiled(home: Path, tmp_path: Path) -> Server:
    """A copy of it, which a test may spoil."""
    subprocess.run(["cp", "-a", home, tmp_path / "home"], check=True)
    return Server(tmp_path / "home", QUICK)


@pytest.fixture
def guest() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Start processes that use a home's database; they are gone after the test."""
    with ExitStack() as started:

        def start(home: Path) -> "subprocess.Popen[str]":
            command = [sys.executable, "-c", GUEST, str(home)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def is_in(process: "subprocess.Popen[str]") -> bool:
    """Wait until a guest has been answered."""
    assert process.stdout
    return process.stdout.readline() == "in\n"


def leave(process: "subprocess.Popen[str]") -> None:
    process.communicate()


def answer(server: Server) -> object:
    with server.connect("pai") as connection:
        return connection.execute("SELECT 42").fetchone()


def postmaster(server: Server) -> int:
    return int((server.folder / "data" / "postmaster.pid").read_text().split()[0])


def keeper(server: Server) -> int:
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0]) for line in listed.splitlines() if f"keeper.py {server.folder} " in line)


def ends(server: Server) -> bool:
    """Wait until the server, or at least its keeper, is no longer there."""
    deadline = time.monotonic() + PATIENCE_S
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not server.is_running()


def test_database_is_made_and_started_by_the_first_question(tmp_path: Path) -> None:
    server = Server(tmp_path / "home")
    assert not server.is_running()

    assert answer(server) == (42,)

    assert server.is_running()
    with server.connect("pai") as connection:
        assert connection.execute("SELECT current_setting('fsync'), current_setting('synchronous_commit')").fetchone() == (
            "on",
            "on",
        )
    server.close()
    assert not server.is_running()
    assert not (server.folder / "data" / "postmaster.pid").exists()


def test_nothing_is_made_for_who_only_asks_whether_it_runs(tmp_path: Path) -> None:
    assert not Server(tmp_path / "home").is_running()

    assert not list(tmp_path.iterdir())


def test_what_was_stored_is_there_after_a_restart(server: Server) -> None:
    with server.connect("pai") as connection:
        connection.execute("CREATE TABLE kept0 AS SELECT 7 AS number")
    server.close()

    with server.connect("pai") as connection:
        assert connection.execute("SELECT number FROM kept0").fetchone() == (7,)


def test_what_was_stored_survives_that_everything_is_killed(server: Server) -> None:
    with server.connect("pai") as connection:
        connection.execute("CREATE TABLE kept1 AS SELECT 7 AS number")
    os.kill(keeper(server), signal.SIGKILL)
    os.kill(postmaster(server), signal.SIGKILL)
    assert ends(server)

    with server.connect("pai") as connection:
        assert connection.execute("SELECT number FROM kept1").fetchone() == (7,)


def test_processes_share_one_server_and_the_last_one_stops_it(
    server: Server, guest: Callable[[Path], "subprocess.Popen[str]"], home: Path
) -> None:
    first, second = guest(home), guest(home)
    assert is_in(first)
    assert is_in(second)
    only = postmaster(server)

    leave(first)
    assert answer(server) == (42,)
    leave(second)
    assert answer(server) == (42,)

    assert postmaster(server) == only
    server.close()
    assert not server.is_running()


def test_processes_that_come_at_once_make_one_database(
    tmp_path: Path, guest: Callable[[Path], "subprocess.Popen[str]"]
) -> None:
    guests = [guest(tmp_path / "home") for _ in range(3)]

    assert all(is_in(each) for each in guests)

    for each in guests:
        leave(each)
    assert ends(Server(tmp_path / "home"))


def test_killed_process_leaves_no_server_behind(
    server: Server, guest: Callable[[Path], "subprocess.Popen[str]"], home: Path
) -> None:
    process = guest(home)
    assert is_in(process)

    process.kill()

    assert ends(server)
    assert not (server.folder / "run").exists()


def test_interrupt_in_the_terminal_that_started_it_leaves_it_to_the_others(
    server: Server, guest: Callable[[Path], "subprocess.Popen[str]"], home: Path
) -> None:
    process = guest(home)
    assert is_in(process)
    assert answer(server) == (42,)
    before = postmaster(server)

    os.killpg(process.pid, signal.SIGINT)
    process.wait(PATIENCE_S)

    assert answer(server) == (42,)
    assert postmaster(server) == before


def test_killed_postgresql_is_started_again_by_the_next_question(server: Server) -> None:
    database = DirectDatabase(lambda: server.connect("pai"))
    assert list(database.fetch("SELECT 1")) == [(1,)]
    os.kill(postmaster(server), signal.SIGKILL)
    assert ends(server)

    assert list(database.fetch("SELECT 2")) == [(2,)]

    database.close()


def test_server_that_lost_its_keeper_gets_a_new_one(server: Server, home: Path) -> None:
    answer(server)
    before = postmaster(server)
    os.kill(keeper(server), signal.SIGKILL)
    assert ends(server)

    late = Server(home, QUICK)
    assert answer(late) == (42,)

    assert postmaster(late) == before
    server.close()
    late.close()
    assert not late.is_running()
    assert not (late.folder / "data" / "postmaster.pid").exists()


def test_process_id_left_by_a_dead_server_may_be_anybodys(server: Server) -> None:
    (server.folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n{server.folder}\n1\n5432\n\n\n1 1\nready\n")

    assert answer(server) == (42,)


def test_database_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "home" / "postgres" / "data.part"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = Server(tmp_path / "home", QUICK)

    assert answer(server) == (42,)

    server.close()


def test_home_may_have_a_path_too_long_for_a_socket_as_may_temporary_files(
    spoiled: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("long" * 20) / ("longer" * 20)
    home.parent.mkdir()
    monkeypatch.setenv("TMPDIR", str(home.parent))
    monkeypatch.setattr(tempfile, "tempdir", None)  # where it remembers what it found before
    (tmp_path / "home").rename(home)
    server = Server(home, QUICK)

    assert answer(server) == (42,)

    folder = Path(server.url("pai").partition("host=")[2].partition("&")[0].replace("%2F", "/"))
    assert folder.stat().st_mode & 0o077 == 0
    server.close()
    assert not folder.exists()


def test_nobody_else_gets_in(server: Server) -> None:
    answer(server)

    assert server.folder.stat().st_mode & 0o077 == 0
    with server.connect("pai") as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall() == [("peer",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_other_user_of_this_machine_is_refused(server: Server) -> None:
    answer(server)
    psql = [str(find_binaries().folder / "psql"), "--no-password", server.url("pai"), "--command=SELECT 1"]

    asked = subprocess.run(psql, user="nobody", group="nogroup", extra_groups=[], cwd="/", capture_output=True, check=False)

    assert asked.returncode != 0
    assert b"Permission denied" in asked.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server is another user's")
def test_root_opens_no_folder_of_its_own_to_the_server(server: Server, home: Path) -> None:
    answer(server)

    assert home.stat().st_mode & 0o077 == 0
    assert server.folder.stat().st_uid == 0
    assert (server.folder / "data").stat().st_uid != 0


def test_log_says_nothing_of_what_was_asked(server: Server) -> None:
    with server.connect("pai") as connection, pytest.raises(Exception, match="4711"):
        connection.execute("SELECT '4711'::text::int / 0, 'pets'::int -- 4711")

    log = (server.folder / "log").read_text()
    assert "4711" not in log
    assert "pets" not in log


def test_words_of_every_language_are_told_from_quotation_marks(server: Server) -> None:
    with server.connect("pai") as connection:
        [[lexemes]] = connection.execute("SELECT to_tsvector('simple', '„Grüße“ — «ÉTÉ» “it”')::text").fetchall()

    assert lexemes == "'grüße':1 'it':3 'été':2"


def test_copy_is_put_back_while_the_server_runs(server: Server, tmp_path: Path) -> None:
    with server.connect("pai") as connection:
        connection.execute("CREATE TABLE kept2 AS SELECT 'pets' AS word")
    server.dump("pai", tmp_path / "copy")
    with server.connect("pai") as connection:
        connection.execute("DROP TABLE kept2")

    server.restore("pai", tmp_path / "copy")

    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    with server.connect("pai") as connection:
        assert connection.execute("SELECT word FROM kept2").fetchone() == ("pets",)


def test_file_that_is_no_copy_changes_nothing(server: Server, tmp_path: Path) -> None:
    with server.connect("pai") as connection:
        connection.execute("CREATE TABLE kept3 ()")
    (tmp_path / "copy").write_bytes(b"nonsense")

    with pytest.raises(LibraryUnavailable, match="pg_restore failed"):
        server.restore("pai", tmp_path / "copy")

    with server.connect("pai") as connection:
        assert connection.execute("SELECT to_regclass('kept3')::text").fetchone() == ("kept3",)


def test_other_postgresql_that_made_the_files_is_named(spoiled: Server) -> None:
    (spoiled.folder / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(Misconfigured, match=r"made by PostgreSQL 17, and this PAI brings 18.*pai docs reindex"):
        answer(spoiled)


def test_home_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LibraryUnavailable, match=r"file/home/postgres can't hold the documents' database: File exists"):
        answer(Server(tmp_path / "file" / "home"))


def test_files_that_the_server_can_not_use_are_explained(spoiled: Server) -> None:
    shutil.rmtree(spoiled.folder / "data" / "global")

    with pytest.raises(LibraryUnavailable, match=r"does not start; .*/log says why"):
        answer(spoiled)
