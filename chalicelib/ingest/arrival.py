"""News of files: which key PAI gave out, and which of two pieces of news is the later. Pure."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from ulid import ULID


@dataclass(frozen=True)
class Arrival:
    """News of a file. `sequencer` orders the news of one key; empty when there is no telling."""

    key: str
    size_bytes: int = 0
    sequencer: str = ""


def is_announced(key: str) -> bool:
    """Whether a file's key is one that PAI gave out, for so many bytes; else somebody put it there by hand."""
    stem = PurePosixPath(key).stem
    try:
        return str(ULID.from_str(stem)) == stem
    except ValueError:
        return False


def compare(one: str, other: str) -> int:
    """Return -1, 0 or 1 as one sequencer is older than, the same as, or newer than another.

    Hexadecimal, of different lengths: "right-pad the shorter value with zeros, and then do a lexicographical comparison"
    (https://repost.aws/knowledge-center/s3-duplicate-sqs-messages).
    """
    length = max(len(one), len(other))
    first, second = one.upper().ljust(length, "0"), other.upper().ljust(length, "0")
    return (first > second) - (first < second)
