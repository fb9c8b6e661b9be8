"""Backups: what goes in comes out, and nothing else gets in."""

import gzip
import hashlib
import io
import json
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from pai.archive import ArchiveError
from pai.backup import back_up, restore
from pai.home import Home, HomeError, HomeInUse, locked, open_home

SECRET = "0123456789abcdef"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    open_home(home)
    home.master_key.write_text(SECRET)
    home.keys.write_text('{"keys": []}')
    home.api_key.write_text("pai_token")
    (home.files / "letters" / "2026").mkdir(parents=True)
    (home.files / "letters" / "2026" / "Grüße.txt").write_text("Dear")
    with closing(sqlite3.connect(home.store)) as store, store:
        store.execute("CREATE TABLE items (said TEXT)")
        store.execute("INSERT INTO items VALUES ('hello')")
    return home


@pytest.fixture
def archive(home: Home, tmp_path: Path) -> Path:
    back_up(home, tmp_path / "backup.tar.gz")
    return tmp_path / "backup.tar.gz"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Home:
    return Home(tmp_path / "elsewhere" / "home")


def contents(home: Home) -> dict[str, bytes]:
    """What a home holds, by path; the store as its rows."""
    files = {path.relative_to(home.path).as_posix(): path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(home.store)) as store:
        files["pai.sqlite3"] = repr(store.execute("SELECT * FROM items").fetchall()).encode()
    return {name: content for name, content in files.items() if not name.endswith(".lock") and name != "lock"}


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def forge(archive: Path, files: dict[str, bytes], *, kind: bytes = tarfile.REGTYPE) -> None:
    """Write an archive whose manifest fits its files; the last one is of this kind."""
    entries = [
        {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    ]
    manifest = json.dumps({"created_at": "2026-01-01T00:00:00.000Z", "entries": entries}).encode()
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in {"manifest.json": manifest, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if name == list(files)[-1]:
                member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO(data))


def test_everything_comes_back_in_another_folder(home: Home, archive: Path, elsewhere: Home) -> None:
    _, aside = restore(archive, elsewhere, replace=False)

    assert contents(elsewhere) == contents(home)
    assert aside is None


def test_backup_and_what_it_brings_back_are_for_their_owner_alone(archive: Path, elsewhere: Home) -> None:
    restore(archive, elsewhere, replace=False)

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (archive, *elsewhere.path.rglob("*"), elsewhere.path)}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}


def test_backup_names_no_user_and_leaves_nothing_behind(home: Home, archive: Path) -> None:
    with tarfile.open(archive) as tar:
        assert {(member.uid, member.uname, member.gname) for member in tar} == {(0, "", "")}
    assert not home.backup_copy.exists()
    assert [path.name for path in archive.parent.iterdir() if path.name.startswith(".")] == []


def test_backup_replaces_no_file(home: Home, archive: Path) -> None:
    before = archive.read_bytes()

    with pytest.raises(ArchiveError, match="exists already"):
        back_up(home, archive)

    assert archive.read_bytes() == before


def test_backup_to_a_folder_that_is_not_there_is_a_sentence(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="could not be written: No such file or directory"):
        back_up(home, tmp_path / "nowhere" / "backup.tar.gz")


def test_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="nothing to back up"):
        back_up(Home(tmp_path / "typo"), tmp_path / "backup.tar.gz")


def test_backup_clears_away_what_a_killed_one_left(home: Home, tmp_path: Path) -> None:
    home.backup_copy.mkdir()
    (home.backup_copy / "master.key").write_text("half")

    back_up(home, tmp_path / "backup.tar.gz")

    assert not home.backup_copy.exists()


def test_restore_keeps_a_home_that_is_not_empty(home: Home, archive: Path) -> None:
    home.master_key.write_text("newer")

    with pytest.raises(HomeError, match="not empty"):
        restore(archive, home, replace=False)

    assert home.master_key.read_text() == "newer"


def test_restore_with_replace_moves_the_old_home_aside(home: Home, archive: Path) -> None:
    home.master_key.write_text("newer")

    _, aside = restore(archive, home, replace=True)

    assert aside is not None
    assert ((aside / "master.key").read_text(), home.master_key.read_text()) == ("newer", SECRET)


def test_restore_into_a_home_that_is_served_is_refused(home: Home, archive: Path) -> None:
    with locked(home), pytest.raises(HomeInUse):
        restore(archive, home, replace=True)

    assert home.master_key.read_text() == SECRET


@pytest.mark.parametrize("keep", [0, 10, 200, 900])
def test_archive_that_was_cut_short_changes_nothing(archive: Path, elsewhere: Home, keep: int) -> None:
    archive.write_bytes(archive.read_bytes()[:keep])

    with pytest.raises(ArchiveError, match="not a whole PAI backup"):
        restore(archive, elsewhere, replace=False)

    assert list(elsewhere.path.parent.rglob("*")) == []


def test_every_changed_file_is_noticed(archive: Path, elsewhere: Home) -> None:
    files = members(archive)
    for changed in [name for name in files if name != "manifest.json"]:
        with tarfile.open(archive, "w:gz") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data[:-1] + b"?" if name == changed else data))

        with pytest.raises(ArchiveError, match="is damaged"):
            restore(archive, elsewhere, replace=False)


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/tmp/escaped",
        "files/../../escaped",
        "files",
        "files/",
        "lock",
        "other",
        "files/a\0b",
        "",
        "./master.key",
    ],
)
def test_names_that_lead_out_of_the_home_are_refused(tmp_path: Path, elsewhere: Home, name: str) -> None:
    archive = tmp_path / "forged.tar.gz"
    forge(archive, {name: b"x"})

    with pytest.raises(ArchiveError, match="not a whole PAI backup"):
        restore(archive, elsewhere, replace=False)

    assert not elsewhere.path.exists()
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_anything_but_a_file_is_refused(tmp_path: Path, elsewhere: Home, kind: bytes) -> None:
    archive = tmp_path / "forged.tar.gz"
    forge(archive, {"files/link": b""}, kind=kind)

    with pytest.raises(ArchiveError, match="not a whole PAI backup"):
        restore(archive, elsewhere, replace=False)


def test_files_that_no_manifest_names_are_refused(archive: Path, elsewhere: Home) -> None:
    files = members(archive)
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in {**files, "files/extra": b"x"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

    with pytest.raises(ArchiveError, match="more than its manifest names"):
        restore(archive, elsewhere, replace=False)


@pytest.mark.parametrize(
    "manifest", [b"[]", b"{}", b'{"created_at": 1, "entries": [{}]}', b'{"created_at": 1, "entries": 1}', b"\xff"]
)
def test_manifest_that_makes_no_sense_is_refused(tmp_path: Path, elsewhere: Home, manifest: bytes) -> None:
    archive = tmp_path / "forged.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))

    with pytest.raises(ArchiveError, match="not a whole PAI backup"):
        restore(archive, elsewhere, replace=False)


def test_file_that_is_no_archive_is_refused(tmp_path: Path, elsewhere: Home) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "gzip").write_bytes(gzip.compress(b"hello" * 1000))

    for name in ("text", "gzip"):
        with pytest.raises(ArchiveError, match="not a whole PAI backup"):
            restore(tmp_path / name, elsewhere, replace=False)


def test_backup_of_a_newer_pai_is_refused(tmp_path: Path, elsewhere: Home) -> None:
    archive = tmp_path / "newer.tar.gz"
    forge(archive, {"home.json": b'{"format": 99}'})

    with pytest.raises(HomeError, match="newer PAI"):
        restore(archive, elsewhere, replace=False)

    assert not elsewhere.path.exists()
