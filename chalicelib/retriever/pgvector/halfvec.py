"""pgvector's halfvec on the wire: 16-bit floats, from `array("f")`.

Binary: dimensions and a zero as 16-bit integers, then the values, all big-endian; text: `[1,2.5,…]`
(https://github.com/pgvector/pgvector/blob/master/src/halfvec.c).
"""

import struct
from array import array
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=8)
def _layout(dimensions: int) -> struct.Struct:
    return struct.Struct(f">hh{dimensions}e")


def to_binary(vector: "array[float]") -> bytes:
    """Return the binary form. OverflowError for a value beyond 65504, the largest there is."""
    return _layout(len(vector)).pack(len(vector), 0, *vector)


@lru_cache(maxsize=1)
def bulk_encoder() -> "Callable[[array[float]], bytes]":
    """Return the quickest `to_binary` there is here: numpy's takes an eighth of the time, but itself 100 ms to import."""
    try:
        import numpy
    except ImportError:
        return to_binary

    def encode(vector: "array[float]") -> bytes:
        return struct.pack(">hh", len(vector), 0) + numpy.frombuffer(vector, "f4").astype(">f2").tobytes()

    return encode


def to_text(vector: "array[float]") -> str:
    # Five digits tell apart what 11 bits of mantissa can, in half the bytes of Python's own form.
    return f"[{','.join([f'{value:.5g}' for value in vector])}]"
