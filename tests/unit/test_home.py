"""The folder of one machine: made, migrated, refused, held."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pai.home import (
    MIGRATIONS,
    Home,
    HomeError,
    HomeInUse,
    Marker,
    announce,
    find_home,
    locked,
    open_home,
    read_marker,
    running_server,
    snapshot,
    tell_once,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def fill(home: Home) -> None:
    """Put in what a server of before there was a format left, with the modes that a careless umask gave."""
    home.files.mkdir(parents=True)
    home.path.chmod(0o755)
    home.master_key.write_text("the key")
    home.keys.write_text("{}")
    (home.files / "letter.txt").write_text("Dear")
    with closing(sqlite3.connect(home.store)) as store, store:
        store.execute("CREATE TABLE items (said TEXT)")
        store.execute("INSERT INTO items VALUES ('hello')")


def said(home: Home) -> list[str]:
    with closing(sqlite3.connect(home.store)) as store:
        return [row[0] for row in store.execute("SELECT said FROM items")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def add_a_line(home: Home) -> None:
    """A migration that would show if it ran twice."""
    home.master_key.write_text(home.master_key.read_text() + "+")
    with closing(sqlite3.connect(home.store)) as store, store:
        store.execute("INSERT INTO items VALUES ('migrated')")
    (home.files / "new.txt").write_text("new")


def break_off(home: Home) -> None:
    raise KeyboardInterrupt


def test_new_home_is_for_its_owner_alone_and_has_the_newest_format(home: Home) -> None:
    open_home(home)

    assert mode(home.path) == 0o700
    assert mode(home.marker) == 0o600
    assert read_marker(home) == Marker(len(MIGRATIONS))


def test_home_without_a_format_is_migrated_and_loses_nothing(home: Home) -> None:
    fill(home)

    open_home(home)

    assert read_marker(home).format == len(MIGRATIONS)
    assert (said(home), (home.files / "letter.txt").read_text()) == (["hello"], "Dear")
    assert {mode(path) for path in (home.master_key, home.keys, home.store, home.files / "letter.txt")} == {0o600}
    assert {mode(path) for path in (home.path, home.files)} == {0o700}
    assert not home.migration_copy.exists()


def test_migration_takes_each_step_once_in_order(home: Home) -> None:
    fill(home)
    open_home(home)

    open_home(home, (*MIGRATIONS, add_a_line, add_a_line))
    open_home(home, (*MIGRATIONS, add_a_line, add_a_line))

    assert read_marker(home).format == len(MIGRATIONS) + 2
    assert (home.master_key.read_text(), said(home)) == ("the key++", ["hello", "migrated", "migrated"])
    assert not home.migration_copy.exists()


def test_migration_that_breaks_off_is_undone_and_done_by_the_next_start(home: Home) -> None:
    fill(home)
    open_home(home)
    with pytest.raises(KeyboardInterrupt):
        open_home(home, (*MIGRATIONS, add_a_line, break_off))

    open_home(home, (*MIGRATIONS, add_a_line))

    assert (home.master_key.read_text(), said(home)) == ("the key+", ["hello", "migrated"])
    assert read_marker(home).format == len(MIGRATIONS) + 1


def test_home_without_a_format_survives_a_migration_that_breaks_off(home: Home) -> None:
    fill(home)
    with pytest.raises(KeyboardInterrupt):
        open_home(home, (add_a_line, break_off))

    open_home(home, (add_a_line,))

    assert (home.master_key.read_text(), said(home)) == ("the key+", ["hello", "migrated"])


def test_undoing_a_migration_may_break_off_too(home: Home) -> None:
    fill(home)
    with pytest.raises(KeyboardInterrupt):
        open_home(home, (add_a_line, break_off))
    home.master_key.unlink()  # as far as the undoing came
    shutil.rmtree(home.files)

    open_home(home, (add_a_line,))

    assert (home.master_key.read_text(), said(home)) == ("the key+", ["hello", "migrated"])
    assert (home.files / "letter.txt").read_text() == "Dear"


def test_migration_killed_after_it_was_done_is_not_undone(home: Home) -> None:
    fill(home)
    with pytest.raises(KeyboardInterrupt):
        open_home(home, (add_a_line, break_off))
    home.marker.write_text(json.dumps({"format": 2}))
    home.master_key.write_text("written since")

    open_home(home, (add_a_line, add_a_line))

    assert home.master_key.read_text() == "written since"
    assert not home.migration_copy.exists()


def test_home_of_a_newer_pai_is_refused_and_left_alone(home: Home) -> None:
    open_home(home)
    home.marker.write_text('{"format": 99}')

    with pytest.raises(HomeError, match=r"newer PAI \(format 99; this one knows 1\)"):
        open_home(home)

    assert home.marker.read_text() == '{"format": 99}'


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "x"}', '{"format": null}', "\x00"])
def test_marker_that_says_nothing_is_refused(home: Home, content: str) -> None:
    open_home(home)
    home.marker.write_text(content)

    with pytest.raises(HomeError, match="can't be read"):
        open_home(home)


def test_home_that_is_a_file_is_refused_with_a_sentence(home: Home) -> None:
    home.path.write_text("not a folder")

    with pytest.raises(HomeError, match="can't be used"), locked(home):
        pass
    with pytest.raises(HomeError, match="can't be made ready"):
        open_home(home)


def test_home_of_a_relative_name_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert find_home(".pai").path == tmp_path / ".pai"


def test_home_that_is_served_refuses_another_server_and_names_the_first(home: Home) -> None:
    with locked(home):
        announce(home, "http://127.0.0.1:8000")

        with pytest.raises(HomeInUse, match=r"at http://127\.0\.0\.1:8000 \(process \d+\)"), locked(home):
            pass
        running = running_server(home)

    assert running
    assert running.url == "http://127.0.0.1:8000"
    assert running_server(home) is None


def test_lock_of_a_killed_process_is_free(home: Home) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from pai.home import *\n"
        "home = Home(Path(sys.argv[1]))\n"
        "with locked(home): announce(home, 'http://x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(home.path)], check=False)

    assert killed.returncode == -9
    assert home.server.exists()
    with locked(home):
        pass


def test_hint_is_told_once(home: Home) -> None:
    open_home(home)

    assert [tell_once(home, "back up"), tell_once(home, "back up"), tell_once(home, "other")] == [True, False, True]
    assert read_marker(home) == Marker(len(MIGRATIONS), ("back up", "other"))


def test_copy_of_a_home_holds_what_was_committed_while_another_was_writing(home: Home, tmp_path: Path) -> None:
    fill(home)
    with closing(sqlite3.connect(home.store)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO items VALUES ('committed, in the log')")
        writer.commit()
        writer.execute("INSERT INTO items VALUES ('not committed')")

        snapshot(home, tmp_path / "copy")

    assert said(Home(tmp_path / "copy")) == ["hello", "committed, in the log"]


def test_copy_of_a_home_leaves_out_what_is_half_written(home: Home, tmp_path: Path) -> None:
    fill(home)
    (home.files / ".pai-123.part").write_text("Dea")
    (home.files / "link").symlink_to(home.master_key)

    snapshot(home, tmp_path / "copy")

    assert [path.name for path in (tmp_path / "copy" / "files").iterdir()] == ["letter.txt"]


def test_store_that_is_no_database_is_a_sentence(home: Home, tmp_path: Path) -> None:
    home.path.mkdir()
    home.store.write_text("this is not a database, however long it may be" * 100)

    with pytest.raises(HomeError, match="can't be copied"):
        snapshot(home, tmp_path / "copy")
