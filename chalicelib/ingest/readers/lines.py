"""Lines of a PDF page → paragraphs, by where they stand."""

import ctypes
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from chalicelib.records import Block

HYPHEN = "\ufffe"
"""What pdfium writes for a hyphen at the end of a line; the word goes on behind it."""
GAP = 1.4
"""Distance of two lines, in usual distances, from which on they are two paragraphs."""
SAME_LINE = 0.4
TRUSTED_EDGES = 0.25
"""A page whose edges leave out more of its text than the rest says them wrong."""
SHORT = 0.75
"""A line shorter than this share of its paragraph's longest was ended by its author, not by the margin."""
_ENDS = (".", "!", "?", ":", ";", "”", '"', "。", "؟")
_char_origin = pdfium_c.FPDFText_GetCharOrigin
_char_index = pdfium_c.FPDFText_GetCharIndexFromTextIndex


class Line(NamedTuple):
    """A line as pdfium tells lines apart: where it begins, in points, and the baselines of its first and last character.

    One with a word hyphenated at its end goes on to the end of the next: then its last character stands lower. `length` is
    of what stands beside that.
    """

    text: str
    left: float
    baseline: float
    last_baseline: float
    length: int


def lines_of(page: pdfium.PdfPage) -> list[Line]:
    """Return a page's lines in the order they were written, without what printers leave outside of its edges."""
    textpage = page.get_textpage()
    try:
        found = list(_lines(textpage))
    finally:
        textpage.close()
    left, bottom, right, top = page.get_bbox()
    inside = [line for line in found if left <= line.left <= right and bottom <= line.baseline <= top]
    return inside if _size(inside) >= TRUSTED_EDGES * _size(found) else found


def _size(lines: Sequence[Line]) -> int:
    return sum(len(line.text) for line in lines)


def _lines(textpage: pdfium.PdfTextPage) -> Iterator[Line]:
    origins = _Origins(textpage)
    start = 0
    for text in textpage.get_text_range().split("\r\n"):
        words = text.strip()
        if words:
            left, baseline = origins.of(start)
            if HYPHEN in words:
                _, lower = origins.of(start + len(text.rstrip()) - 1)
                yield Line(words.replace(HYPHEN, ""), left, baseline, lower, len(words) - words.rindex(HYPHEN))
            else:
                yield Line(words, left, baseline, baseline, len(words))
        start += len(text) + 2


class _Origins:
    """Where the characters of a page stand. Asked for each line, this is most of what Python adds to pdfium: no detours."""

    def __init__(self, textpage: pdfium.PdfTextPage) -> None:
        self._page = textpage.raw
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._pointers = ctypes.byref(self._x), ctypes.byref(self._y)

    def of(self, index: int) -> tuple[float, float]:
        """Return where the character at this index of the text stands."""
        page = self._page
        _char_origin(page, _char_index(page, index), *self._pointers)
        return self._x.value, self._y.value


def paragraphs(lines: Sequence[Line]) -> Iterator[Block]:
    """Join lines that belong together."""
    if not lines:
        return
    usual = _usual_distance(lines)
    paragraph = [lines[0]]
    for before, line in pairwise(lines):
        if _new_paragraph(paragraph, before, line, usual):
            yield _joined(paragraph, usual)
            paragraph = []
        paragraph.append(line)
    yield _joined(paragraph, usual)


def _usual_distance(lines: Sequence[Line]) -> float:
    distances = [before.last_baseline - line.baseline for before, line in pairwise(lines)]
    below = [distance for distance in distances if distance > 1]
    return median(below) if below else 12.0


def _new_paragraph(paragraph: Sequence[Line], before: Line, line: Line, usual: float) -> bool:
    distance = before.last_baseline - line.baseline
    if abs(distance) < SAME_LINE * usual:
        return False
    ended = before.text.endswith(_ENDS)
    if distance < 0:  # further up: the next column, where a sentence may go on
        return ended or not line.text[:1].islower()
    if distance > GAP * usual:
        return True
    return ended and (usual / 2 < line.left - before.left < 4 * usual or before.length < SHORT * _longest(paragraph))


def _longest(paragraph: Sequence[Line]) -> int:
    return max(line.length for line in paragraph)


def _joined(paragraph: Sequence[Line], usual: float) -> Block:
    """Make one text: lines that the margin ended go on, others stay lines."""
    full = SHORT * _longest(paragraph)
    texts = [paragraph[0].text]
    for before, line in pairwise(paragraph):
        ragged = before.length < full and before.last_baseline - line.baseline > SAME_LINE * usual
        texts += ("\n" if ragged else " ", line.text)
    return Block("".join(texts))
