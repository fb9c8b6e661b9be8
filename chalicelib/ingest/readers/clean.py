"""What no text may hold, whichever reader it came from: PostgreSQL refuses NUL, and UTF-8 a lone surrogate."""

import re

from chalicelib.records import Block, Part

_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text without control characters, and with one kind of line end; nothing else of it changes."""
    text = _LINE_ENDS.sub("\n", text)
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text)).strip()


def clean_part(part: Part) -> Part:
    """Return the part with its text clean, and without the blocks that had none."""
    blocks = (Block(clean(block.text), block.level) for block in part.blocks)
    headings = (clean(heading) for heading in part.headings)
    kept = tuple(block for block in blocks if block.text)
    return Part(part.index, part.page, tuple(heading for heading in headings if heading), kept)
