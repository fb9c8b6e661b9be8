"""Plain text → paragraphs."""

import re
from collections.abc import Iterator

from chalicelib.records import Block

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


def paragraphs(text: str) -> Iterator[Block]:
    """Cut plain text at its blank lines."""
    return (Block(paragraph) for paragraph in _BLANK_LINES.split(text) if paragraph.strip())
