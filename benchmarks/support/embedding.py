"""An embedder that remembers: the same texts are embedded by many runs."""

import hashlib
import sqlite3
from array import array
from collections.abc import Sequence
from pathlib import Path

from chalicelib.embedder import Embedder, Purpose, Vector


class Cached:
    """An embedder that keeps its vectors in a file, by model and text."""

    def __init__(self, embedder: Embedder, folder: Path | None) -> None:
        self._embedder = embedder
        self.space, self.longest_tokens = embedder.space, embedder.longest_tokens
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(folder / "vectors.sqlite3" if folder else ":memory:")
        self._file.execute("CREATE TABLE IF NOT EXISTS vectors (hash BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "list[Vector[float]]":
        return [self._one(text, purpose) for text in texts]

    def _one(self, text: str, purpose: Purpose) -> "Vector[float]":
        name = hashlib.sha256(f"{self.space}\0{purpose}\0{text}".encode()).digest()
        if found := self._file.execute("SELECT vector FROM vectors WHERE hash = ?", (name,)).fetchone():
            return array("f", found[0])
        [vector] = self._embedder.embed([text], purpose)
        with self._file:
            self._file.execute("INSERT OR IGNORE INTO vectors VALUES (?, ?)", (name, vector.tobytes()))
        return vector
