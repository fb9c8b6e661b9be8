"""A home as one file, and back.

The file holds master.key: whoever has it can read every conversation in it.
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pai.archive import ArchiveError, Manifest, is_of_a_stage, read_from, unpack, workplace, write, written_to
from pai.home import Home, HomeError, check_format, locked, snapshot


def back_up(home: Home, target: Path) -> Manifest:
    """Write a backup of the home, mode 0600, while a server may be writing to it.

    The file is there whole or not at all; one that exists is not replaced. `ArchiveError` or `HomeError` says what went wrong.
    """
    if not home.holds_anything():
        raise HomeError(f"{home.path} holds nothing to back up. Is PAI_HOME right?")
    busy = f"Another backup of {home.path} is being written. Wait until it ends."
    with written_to(target), workplace(home.backup_copy, home.backup_lock, busy) as folder:
        snapshot(home, folder)
        return write(folder, target.absolute(), target.absolute().parent)


def restore(archive: Path, home: Home, *, replace: bool) -> tuple[Manifest, Path | None]:
    """Put a backup's content in the home's place; return what it held, and where an older home went (None if none was there).

    Everything is unpacked beside the home and checked first, so that a damaged archive changes nothing. `HomeInUse` while
    a server runs.
    """
    with read_from(archive):
        if is_of_a_stage(archive):
            raise ArchiveError(f"{archive} is a backup of a stage on AWS. Say which with --stage, to bring it back there.")
        home.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.path.parent, prefix=".restore-") as folder:
            unpacked = Home(Path(folder) / "home")
            manifest = unpack(archive, unpacked.path, _belongs_in_a_home)
            check_format(unpacked)
            with locked(home):
                return manifest, _exchange(home, unpacked, replace=replace)


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
