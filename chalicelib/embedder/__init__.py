"""The embedder's contract: texts → vectors."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Vector = array
"""`array("f")` of unit length: 32-bit floats that numpy and struct read without copying."""
Purpose = Literal["passage", "query"]


@dataclass(frozen=True)
class Space:
    """Where vectors live: two can be compared only if both were made by the same model with the same dimensions."""

    model: str
    dimensions: int


class Embedder(Protocol):
    """Makes vectors. Raises `EmbedderUnavailable` (after its own retries), or `Misconfigured`."""

    @property
    def space(self) -> Space: ...

    @property
    def longest_tokens(self) -> int:
        """How much of a text, in the model's tokens, reaches its vector; the rest would be cut off."""
        ...

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        """Return one vector of unit length for each text, in order. Any number of texts; an empty text is allowed."""
        ...
