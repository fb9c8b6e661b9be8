"""What this machine has sent where: path → document, so that a file is sent once, and a changed one in place of the old.

A SQLite file in the settings' folder: several `pai docs add` may run at once, and one that is killed loses nothing.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from pai.documents.finding import File

SCHEMA = """
CREATE TABLE IF NOT EXISTS sent (
    address TEXT, path BLOB, document_id TEXT, size_bytes INTEGER, mtime_ns INTEGER, sha256 TEXT, replaces TEXT,
    PRIMARY KEY (address, path)
)
"""


@dataclass(frozen=True)
class Sent:
    """The document that a path was last sent as, and the file's looks then. `replaces`: ids to delete once it is ready."""

    document_id: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    replaces: tuple[str, ...] = ()

    def looks_like(self, file: File) -> bool:
        return (self.size_bytes, self.mtime_ns) == (file.size_bytes, file.mtime_ns)


class Remembered:
    """The files sent to one address."""

    def __init__(self, store: sqlite3.Connection, address: str) -> None:
        self._store = store
        self._address = address

    def get(self, path: Path) -> Sent | None:
        row = self._store.execute(
            "SELECT document_id, size_bytes, mtime_ns, sha256, replaces FROM sent WHERE address = ? AND path = ?",
            (self._address, os.fsencode(path)),
        ).fetchone()
        return Sent(row[0], row[1], row[2], row[3], tuple(json.loads(row[4]))) if row else None

    def put(self, path: Path, sent: Sent) -> None:
        row = (sent.document_id, sent.size_bytes, sent.mtime_ns, sent.sha256, json.dumps(sent.replaces))
        self._store.execute(
            "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?, ?)", (self._address, os.fsencode(path), *row)
        )

    def forget(self, document_ids: Iterable[str]) -> None:
        """Forget the files that were sent as these documents."""
        self._store.executemany(
            "DELETE FROM sent WHERE address = ? AND document_id = ?",
            [(self._address, document_id) for document_id in document_ids],
        )

    def forget_path(self, path: Path) -> None:
        self._store.execute("DELETE FROM sent WHERE address = ? AND path = ?", (self._address, os.fsencode(path)))

    def paths(self, document_id: str) -> set[Path]:
        """Return the paths that stand behind a document: the same file may lie in two places."""
        rows = self._store.execute("SELECT path FROM sent WHERE address = ? AND document_id = ?", (self._address, document_id))
        return {Path(os.fsdecode(path)) for (path,) in rows}


@contextmanager
def remembered(folder: Path, address: str) -> Iterator[Remembered]:
    """Open the memory of what was sent to this address. `click.ClickException` when the file can't be used."""
    path = folder / "sent.sqlite3"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        store = sqlite3.connect(path, isolation_level=None, timeout=10)
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"{path} can't be used: {error}.") from error
    try:
        store.execute(SCHEMA)
        yield Remembered(store, address)
    except sqlite3.Error as error:
        raise click.ClickException(
            f"{path} can't be used ({error}). It only remembers which files were sent: move it away to begin anew."
        ) from error
    finally:
        store.close()
