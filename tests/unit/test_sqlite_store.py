"""What only a store in a file can meet: other processes, a full disk, a cut, other versions, traces on the disk."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chalicelib.errors import Misconfigured, StoreUnavailable
from chalicelib.settings import Settings
from chalicelib.store.sqlite import MIGRATIONS, SqliteStore, build

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = b"the sentence that nobody may find"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "pai.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python with the repository's modules; `python` scripts begin with a store on their first argument."""
    head = "import sys; from pathlib import Path; from chalicelib.store.sqlite import SqliteStore\n"
    head += "store = SqliteStore(Path(sys.argv[1]))\n"
    command = [sys.executable, "-c", head + script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


# Files


def test_the_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = build(Settings(home=str(tmp_path / "a" / "home")))
        store.put({"pk": "p", "sk": "s"})
    finally:
        os.umask(umask)

    home = tmp_path / "a" / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()} == {
        "pai.sqlite3": 0o600,
        "pai.sqlite3-shm": 0o600,
        "pai.sqlite3-wal": 0o600,
    }


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o644)

    SqliteStore(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnavailable, match=r"file/home/pai\.sqlite3 can't be made"):
        SqliteStore(tmp_path / "file" / "home" / "pai.sqlite3")


def test_closing_leaves_one_file_and_a_store_that_still_works(store: SqliteStore, path: Path) -> None:
    store.put({"pk": "p", "sk": "s"})
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["pai.sqlite3"]

    assert store.get("p", "s") == {"pk": "p", "sk": "s"}
    assert [file.name for file in path.parent.iterdir()] == ["pai.sqlite3"]


def test_threads_that_come_and_go_leave_no_open_files(store: SqliteStore) -> None:
    store.get("p", "s")
    before = len(os.listdir("/dev/fd"))

    for number in range(20):
        thread = threading.Thread(target=store.put, args=[{"pk": "p", "sk": f"{number}"}])
        thread.start()
        thread.join()

    assert len(store.query("p").items) == 20
    assert len(os.listdir("/dev/fd")) == before


# Other processes


def test_processes_share_the_file_from_its_first_moment(path: Path) -> None:
    counting = "for _ in range(50): store.update('p', 'count', add={'n': 1})"
    processes = [python(counting, path) for _ in range(4)]

    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    with closing(SqliteStore(path)) as store:
        assert store.get("p", "count") == {"pk": "p", "sk": "count", "n": 200}
    for process in processes:
        process.communicate()


def test_a_kill_loses_nothing_that_was_said_to_be_stored(path: Path) -> None:
    writing = "for n in range(10**6): store.put({'pk': 'p', 'sk': f'{n:06}', 'v': bytes(9000)}); print(n, flush=True)"
    with python(writing, path) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split()]

    with closing(SqliteStore(path)) as store:
        assert len(store.query("p", last=f"{said[-1]:06}", limit=10**6).items) == len(said)
        assert store.put({"pk": "p", "sk": "after"})
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_locked_by_another_program_is_said_to_be(path: Path) -> None:
    with closing(SqliteStore(path, busy_s=0.01)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match=r"Another program keeps .* locked"):
            store.put({"pk": "p", "sk": "s"})

        assert store.get("p", "s") is None
        other.rollback()
        assert store.put({"pk": "p", "sk": "s"})


# The disk


def test_a_full_disk_is_said_and_keeps_what_was_there(path: Path) -> None:
    filling = """
import resource
from chalicelib.errors import StorageFull
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, most))
kept = 0
try:
    while kept < 100:
        store.put({"pk": "p", "sk": f"{kept:02}", "v": bytes(50_000)})
        kept += 1
except StorageFull as error:
    print(error.message)
assert 0 < kept < 100, kept
assert len(store.query("p").items) == kept
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert store.put({"pk": "p", "sk": "later"})
assert len(store.query("p").items) == kept + 1
"""
    process = python(filling, path)
    said, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert said == f"The disk takes no more of {path}. Free some space; what was stored before is safe.\n"


def test_a_damaged_file_asks_for_a_backup(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 1000)

    with pytest.raises(StoreUnavailable, match=r"pai\.sqlite3 is damaged.*pai restore"):
        SqliteStore(path)


def test_a_damaged_item_asks_for_a_backup(store: SqliteStore, path: Path) -> None:
    store.put({"pk": "p", "sk": "s", "v": b"x"})

    for rest in ("", "{", "[]", '{"v": {"B": "?"}}', '{"v": {}}', '{"v": {"B": 1}}'):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE items SET rest = ?", [rest])
        with pytest.raises(StoreUnavailable, match="pai restore"):
            store.get("p", "s")


def test_a_file_that_was_taken_away_is_missed_and_not_begun_anew(store: SqliteStore, path: Path) -> None:
    store.close()
    path.unlink()

    with pytest.raises(StoreUnavailable, match="can't be opened"):
        store.get("p", "s")
    assert not path.exists()


def test_contents_moved_to_another_row_stand_under_that_rows_keys(store: SqliteStore, path: Path) -> None:
    store.put({"pk": "a", "sk": "s", "v": b"a's"})
    store.put({"pk": "b", "sk": "s", "v": b"b's"})

    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE items SET rest = (SELECT rest FROM items WHERE pk = 'b') WHERE pk = 'a'")

    assert store.get("a", "s") == {"pk": "a", "sk": "s", "v": b"b's"}


# Traces


def everything_on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_what_was_deleted_is_gone_from_every_file(store: SqliteStore, path: Path) -> None:
    for number in range(20):
        store.put({"pk": "p", "sk": f"{number}", "v": SENTENCE.decode() * number * 9})
        store.put({"pk": "kept", "sk": f"{number}", "v": "x" * number * 100})
    assert SENTENCE in everything_on_disk(path)

    store.delete([("p", f"{number}") for number in range(20)])

    assert SENTENCE not in everything_on_disk(path)
    assert len(store.query("kept").items) == 20


def test_what_was_deleted_while_somebody_read_is_gone_after_the_next_write(store: SqliteStore, path: Path) -> None:
    store.put({"pk": "p", "sk": "s", "v": SENTENCE.decode()})
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM items").fetchall()
        store.delete([("p", "s")])
        assert SENTENCE in everything_on_disk(path)

    store.put({"pk": "p", "sk": "next"})

    assert SENTENCE not in everything_on_disk(path)


def test_what_was_deleted_before_a_kill_is_gone_after_the_next_start(path: Path) -> None:
    deleting = f"""
import os, sqlite3
store.put({{"pk": "p", "sk": "s", "v": {SENTENCE.decode()!r}}})
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN")
reader.execute("SELECT * FROM items").fetchall()
store.delete([("p", "s")])
os.kill(os.getpid(), 9)
"""
    python(deleting, path).communicate(timeout=60)
    assert SENTENCE in everything_on_disk(path)

    with closing(SqliteStore(path)):
        assert SENTENCE not in everything_on_disk(path)


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM items").fetchone()[0])


def test_expired_items_are_deleted_now_and_then(path: Path) -> None:
    now = 1_000.0
    with closing(SqliteStore(path, lambda: now)) as store:
        for number in range(20):
            store.put({"pk": "old", "sk": f"{number}", "v": SENTENCE.decode(), "expires_at": 1_500})
        now = 1_500.0
        for number in range(500):
            store.put({"pk": "new", "sk": f"{number % 7}", "expires_at": 2_000})

        assert rows(path) == 7
        assert SENTENCE not in everything_on_disk(path)

    now = 2_000.0
    SqliteStore(path, lambda: now).close()
    assert rows(path) == 0


# Versions

NEXT = (*MIGRATIONS, ("ALTER TABLE items ADD COLUMN note TEXT", "UPDATE items SET note = sk"))


def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    with closing(SqliteStore(path)) as old:
        old.put({"pk": "p", "sk": "s", "n": 1})

    for _ in range(2):
        with closing(SqliteStore(path, migrations=NEXT)) as new:
            assert new.get("p", "s") == {"pk": "p", "sk": "s", "n": 1}
            assert new.update("p", "s", add={"n": 0})

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(NEXT),)


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    with closing(SqliteStore(path)) as old:
        old.put({"pk": "p", "sk": "s"})

    with pytest.raises(sqlite3.OperationalError):
        SqliteStore(path, migrations=(*MIGRATIONS, ("DELETE FROM items", "no SQL at all")))

    with closing(SqliteStore(path)) as old:
        assert old.get("p", "s") == {"pk": "p", "sk": "s"}


def test_a_file_of_a_newer_pai_is_refused_and_left_alone(path: Path) -> None:
    with closing(SqliteStore(path, migrations=NEXT)) as new:
        new.put({"pk": "p", "sk": "s"})
    before = path.read_bytes()

    with pytest.raises(Misconfigured, match=r"written by a newer PAI .*Update PAI"):
        SqliteStore(path)

    assert path.read_bytes() == before
