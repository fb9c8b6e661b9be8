"""An embedder without a model: each word's hash is its place. For trials and tests; texts that share words are near."""

import hashlib
import math
import re
from array import array
from collections.abc import Sequence

from chalicelib.embedder import Embedder, Purpose, Space, Vector
from chalicelib.settings import Settings

DIMENSIONS = 256
WORD = re.compile(r"\w+")


def build(settings: Settings) -> Embedder:
    return HashedEmbedder(settings.embedding_dimensions or DIMENSIONS)


class HashedEmbedder:
    def __init__(self, dimensions: int) -> None:
        self.space = Space("hashed", dimensions)
        self.longest_tokens = 256

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> "Vector[float]":
        sums = [0.0] * self.space.dimensions
        for word in WORD.findall(text.lower()):
            digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
            sums[digest // 2 % self.space.dimensions] += 1 if digest % 2 else -1
        length = math.hypot(*sums)
        if not length:  # nothing to say: any direction of unit length will do
            return array("f", [1.0] + [0.0] * (self.space.dimensions - 1))
        return array("f", [value / length for value in sums])
