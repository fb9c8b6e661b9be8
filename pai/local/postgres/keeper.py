"""The process that stands by PAI's own PostgreSQL: starts it, and stops it when the last process that uses it has gone.

Locks of the kernel say who lives: they end with their processes, however those end. Each is a file in one folder:

    users.lock    shared by every process that uses the database
    keeper.lock   held by the keeper
    server.lock   inherited by PostgreSQL: held until the last of its processes has gone, also when one was killed

Run as a program, with the standard library alone: `keeper.py FOLDER SOCKETS USER COMMAND…`, USER empty for the same user.
Each open file that COMMAND names as /proc/self/fd/N is handed on to it. The program ends at once and leaves the keeper behind.
"""

import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

STOP_S = 60.0
"""How long a fast shutdown may take; after that the server is made to stop at once, and recovers with its next start."""


def main(folder: Path, sockets: Path, user: str, command: list[str]) -> None:
    keeping = _open(folder / "keeper.lock")
    if not _taken(keeping, tries=50):  # who only looks whether it is held holds it for a moment
        return
    if os.fork():
        return
    pid = _running(folder) or _started(folder, sockets, user, command)
    unwanted = _kept(folder, pid)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    if unwanted:
        shutil.rmtree(sockets, ignore_errors=True)


def _running(folder: Path) -> int:
    """Return the process id of a server that has lost its keeper, 0 when none is left."""
    lock = _open(folder / "server.lock")
    while not _taken(lock):
        pid = _postmaster(folder)
        if pid and _signalled(pid, 0):
            return pid
        time.sleep(0.02)  # the last processes of a server that was killed go by themselves
    os.close(lock)
    return 0


def _started(folder: Path, sockets: Path, user: str, command: list[str]) -> int:
    """Start the server; return its process id."""
    lock = _open(folder / "server.lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    # No process of an earlier server lives. The ids that it left may be anybody's by now; PostgreSQL would take them for it.
    for left in (folder / "data" / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
        left.unlink(missing_ok=True)
    handed_on = [int(number) for number in re.findall(r"/proc/self/fd/(\d+)", " ".join(command))]
    identity: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    server = subprocess.Popen(command, cwd="/", pass_fds=[lock, *handed_on], **identity)
    os.close(lock)
    return server.pid


def _kept(folder: Path, pid: int) -> bool:
    """Wait until the server has gone; return whether that was because nobody wanted it any more."""
    unwanted = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: _signalled(pid, signal.SIGINT))
    threading.Thread(target=_stop_unwanted, args=(folder, pid, unwanted), daemon=True).start()
    fcntl.flock(_open(folder / "server.lock"), fcntl.LOCK_EX)
    return unwanted.is_set()


def _stop_unwanted(folder: Path, pid: int, unwanted: threading.Event) -> None:
    """Stop the server when nobody uses it. Who comes meanwhile waits for the lock, which ends with this process."""
    fcntl.flock(_open(folder / "users.lock"), fcntl.LOCK_EX)
    unwanted.set()
    _signalled(pid, signal.SIGINT)
    time.sleep(STOP_S)
    _signalled(pid, signal.SIGQUIT)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _taken(lock: int, tries: int = 1) -> bool:
    """Try to lock a file, up to half a second long."""
    for _ in range(tries):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.01)
    return False


def _postmaster(folder: Path) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int((folder / "data" / "postmaster.pid").read_text().split()[0])
    return 0


def _signalled(pid: int, number: int) -> bool:
    """Send a signal; False when there is no such process."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
