"""An embedder that waits when a text says so ("wait for FILE"), so that a test decides how long a document takes."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from chalicelib.embedder import Embedder, Purpose, Space, Vector, hashed
from chalicelib.settings import Settings


class PatientEmbedder:
    """Makes the vectors of another embedder, when it is time."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @property
    def space(self) -> Space:
        return self._embedder.space

    @property
    def longest_tokens(self) -> int:
        return self._embedder.longest_tokens

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        for name in re.findall(r"wait for (\S+)", "\n".join(texts)):
            while not Path(name).exists():
                time.sleep(0.01)
        return self._embedder.embed(texts, purpose)


def build(settings: Settings) -> PatientEmbedder:
    return PatientEmbedder(hashed.build(settings))
