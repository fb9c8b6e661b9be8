"""What the parent asks of a reader and what every reader answers with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from chalicelib.records import Part


@dataclass(frozen=True)
class Limits:
    """What one file may take of the machine. Beyond it reading ends with a typed error.

    `seconds` and `cpu_seconds` are for opening the file and again for each part, so that a long document has as long as it
    needs and a stuck one ends soon; OCR of a page may take half of `seconds`. `memory_mb` is for the child process.
    `unfolded_mb` is what the markup in a zipped format unfolds to.
    """

    seconds: float = 90.0
    cpu_seconds: int = 60
    memory_mb: int = 1024
    unfolded_mb: int = 300
    characters: int = 50_000_000
    part_characters: int = 1_000_000
    parts: int = 20_000


@dataclass(frozen=True)
class Task:
    """One file to read, from the part `first` on. `tesseract` is that program's path, empty where there is none."""

    path: str
    name: str
    content_type: str
    first: int
    limits: Limits
    tesseract: str

    @property
    def suffix(self) -> str:
        return self.name.rpartition(".")[2].lower() if "." in self.name else ""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, line: bytes) -> "Task":
        given = json.loads(line)
        return cls(**{**given, "limits": Limits(**given["limits"])})


@dataclass(frozen=True)
class Opened:
    """An open document: what is known before its parts are read. `part(index)` reads one of them.

    `pages` is None in formats without pages.
    """

    title: str
    pages: int | None
    parts: int
    part: Callable[[int], Part]

    @classmethod
    def of(cls, parts: Sequence[Part], title: str = "", pages: int | None = None) -> "Opened":
        """A document that had to be read whole to be opened."""
        return cls(title, pages, len(parts), parts.__getitem__)
