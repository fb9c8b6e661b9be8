"""PDF, by pdfium: text in the order it was written, paragraphs by where the lines stand, headings by the outline.

What a person filled into a form is drawn into its page first, so that it is read where it stands. Where pdfium does not
open a file, pypdf may. A page without usable text is recognized by tesseract, where that is installed.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from chalicelib.errors import DocumentEncrypted
from chalicelib.ingest.readers import lines, ocr
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.paragraphs import paragraphs
from chalicelib.ingest.readers.stretches import Headings, texts, under
from chalicelib.records import Block, Part

BOOKMARKS = 20_000
DEEPEST_HEADING = 6
DRAWN_IN = {pdfium_c.FPDF_ANNOT_WIDGET, pdfium_c.FPDF_ANNOT_FREETEXT, pdfium_c.FPDF_ANNOT_STAMP}
"""Annotations that a viewer shows as text of the page."""
NO_HEADINGS: Headings = ()
GARBLED = 0.2
"""Share of characters without a meaning, from which on a page's fonts don't say which characters they draw."""
_MEANINGLESS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")
_WORD = re.compile(r"[^\W_]+")
_MADE_BY = re.compile(r"^Microsoft (Word|PowerPoint|Excel) - ")


def open_document(task: Task) -> Opened:
    """Open a PDF; DocumentEncrypted when the empty password does not open it."""
    try:
        document = pdfium.PdfDocument(task.path)
    except pdfium.PdfiumError as error:
        if error.err_code == pdfium_c.FPDF_ERR_PASSWORD:
            raise DocumentEncrypted("The PDF wants a password. Save a copy without one and add that.") from error
        return _second_reader(task)
    if document.get_formtype() != pdfium_c.FORMTYPE_NONE:
        document.init_forms()
    pdf = Pdf(document, task)
    title = _MADE_BY.sub("", document.get_metadata_value("Title"))
    return Opened(title, len(document), len(document), pdf.part)


class Pdf:
    """An open PDF and its outline."""

    def __init__(self, document: pdfium.PdfDocument, task: Task) -> None:
        self._document = document
        self._task = task
        self._outline = sorted(_outline(document), key=lambda entry: entry[0])
        self._pages = [page for page, _ in self._outline]
        self._paths = list(accumulate((block for _, block in self._outline), _below, initial=NO_HEADINGS))
        """The path of headings before each entry of the outline, and behind the last."""

    def part(self, index: int) -> Part:
        first, end = bisect_left(self._pages, index), bisect_right(self._pages, index)
        here = [block for _, block in self._outline[first:end]]
        blocks = self._blocks(index, here)
        found = {_key(block.text) for block in blocks if block.level}
        path = under(self._paths[first], (block for block in here if _key(block.text) not in found))
        return Part(index, index + 1, texts(path), tuple(blocks))

    def _blocks(self, index: int, titles: Sequence[Block]) -> Sequence[Block]:
        try:
            page = self._document[index]
        except pdfium.PdfiumError:
            return _second_page(self._task.path, index)
        try:
            if _annotated(page) and pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY) == pdfium_c.FLATTEN_SUCCESS:
                page.close()
                page = self._document[index]
            found = lines.lines_of(page)
            if _usable(found):
                return list(_with_headings(found, titles))
            return ocr.recognize(page, self._task)
        finally:
            page.close()


def _below(path: Headings, block: Block) -> Headings:
    return under(path, (block,))


def _outline(document: pdfium.PdfDocument) -> list[tuple[int, Block]]:
    """Return the outline's entries in order, each with the index of the page it leads to."""
    entries = []
    for bookmark in islice(document.get_toc(), BOOKMARKS):
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        title = bookmark.get_title().strip()
        if page is not None and title:
            entries.append((page, Block(title, min(bookmark.level + 1, DEEPEST_HEADING))))
    return entries


def _annotated(page: pdfium.PdfPage) -> bool:
    for index in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        kind = pdfium_c.FPDFAnnot_GetSubtype(annotation)
        pdfium_c.FPDFPage_CloseAnnot(annotation)
        if kind in DRAWN_IN:
            return True
    return False


def _usable(found: Sequence[lines.Line]) -> bool:
    text = "".join(line.text for line in found)
    return bool(text.strip()) and len(_MEANINGLESS.findall(text)) < GARBLED * len(text)


def _with_headings(found: Sequence[lines.Line], titles: Sequence[Block]) -> Iterator[Block]:
    """Yield a page's paragraphs, and lines that say what the outline says as headings."""
    wanted = {_key(title.text): title for title in titles}
    before: list[lines.Line] = []
    at = 0
    while at < len(found):
        heading, length = _heading_at(found, at, wanted)
        if heading:
            yield from lines.paragraphs(before)
            yield heading
            before = []
        else:
            before.append(found[at])
        at += length
    yield from lines.paragraphs(before)


def _heading_at(found: Sequence[lines.Line], at: int, wanted: dict[str, Block]) -> tuple[Block | None, int]:
    """Return the heading that one to three lines from here on make up, and how many; else None and 1."""
    for length in (1, 2, 3) if wanted else ():
        text = " ".join(line.text for line in found[at : at + length])
        title = wanted.pop(_key(text), None)
        if title:
            return Block(text, title.level), length
    return None, 1


def _key(title: str) -> str:
    """What a title has in common with itself as printed: its words, without their number."""
    words = [word.casefold() for word in _WORD.findall(title)]
    return "".join(word for word in words if not word.isdigit()) or "".join(words)


def _second_reader(task: Task) -> Opened:
    """Open what pdfium does not; DocumentEncrypted, or whatever pypdf raises."""
    import pypdf  # rarely needed, and slow to import

    reader = pypdf.PdfReader(task.path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentEncrypted("The PDF wants a password. Save a copy without one and add that.")

    def part(index: int) -> Part:
        return Part(index, index + 1, (), tuple(paragraphs(reader.pages[index].extract_text())))

    title = str(reader.metadata.title or "") if reader.metadata else ""
    return Opened(title, len(reader.pages), len(reader.pages), part)


def _second_page(path: str, index: int) -> Sequence[Block]:
    """Read one page that pdfium does not; a page that pypdf does not read either is one without text."""
    import pypdf

    try:
        return list(paragraphs(pypdf.PdfReader(path).pages[index].extract_text()))
    except Exception:  # noqa: BLE001 - pypdf raises whatever it stumbles over, and the other pages are still to be read
        return ()
