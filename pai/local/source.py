"""What the sources of a model share: how they report, how they fail, and the room they ask for."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

Progress = Callable[[int, int, str], None]
"""Told how far it is: bytes that are there, bytes of the whole, and what is going on, in a few words."""


class SourceFailed(Exception):
    """This source does not have the model, or not now; another one may. The message is a clause without a full stop."""


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def ensure_room(folder: Path, needed_bytes: int) -> None:
    """Raise the OSError that a full disk would raise in the end, before the first byte is fetched."""
    if shutil.disk_usage(folder).free < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
