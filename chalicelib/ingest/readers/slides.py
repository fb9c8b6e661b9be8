"""Slides (pptx): a slide is a page, its title a heading, its notes behind it."""

import posixpath
from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring
from zipfile import ZipFile

from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.stretches import parts_of
from chalicelib.ingest.readers.zips import core_title, open_zip
from chalicelib.records import Block

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
PACKAGE = "{http://schemas.openxmlformats.org/package/2006/relationships}"
PRESENTATION = "ppt/presentation.xml"
NOTES = "/notesSlide"
TITLES = {"title", "ctrTitle"}
UNSEEN = {"dt", "sldNum", "sldImg"}
"""Placeholders of date and number, and of the picture of the slide on its notes page."""
CELL = " | "


def open_document(task: Task) -> Opened:
    with open_zip(task.path, task.limits) as file:
        slides = list(_slides(file))
        parts = parts_of((page, _blocks(file, name)) for page, name in enumerate(slides, 1))
        title = core_title(file) or next((block.text for part in parts[:1] for block in part.blocks if block.level), "")
    return Opened.of(parts, title, pages=len(slides))


def _slides(file: ZipFile) -> Iterator[str]:
    """Yield the slides' names in the zip file, in the order of the show."""
    targets = _relations(file, PRESENTATION)
    for slide in fromstring(file.read(PRESENTATION)).iter(f"{P}sldId"):
        yield targets[slide.attrib[f"{R}id"]][1]


def _relations(file: ZipFile, name: str) -> dict[str, tuple[str, str]]:
    """Return what a part of the file points at: id → (type, name)."""
    folder, base = posixpath.split(name)
    path = f"{folder}/_rels/{base}.rels"
    if path not in file.NameToInfo:
        return {}
    relations = fromstring(file.read(path)).iter(f"{PACKAGE}Relationship")
    return {
        relation.attrib["Id"]: (
            relation.attrib["Type"],
            posixpath.normpath(posixpath.join("/", folder, relation.attrib["Target"]))[1:],
        )
        for relation in relations
        if relation.attrib.get("TargetMode") != "External"
    }


def _blocks(file: ZipFile, name: str) -> list[Block]:
    blocks = [block for shape in _shapes(fromstring(file.read(name))) for block in _shape_blocks(shape)]
    notes = (target for kind, target in _relations(file, name).values() if kind.endswith(NOTES))
    for target in notes:
        blocks += (Block(block.text) for shape in _shapes(fromstring(file.read(target))) for block in _shape_blocks(shape))
    return sorted(blocks, key=lambda block: not block.level)  # the title first, wherever it was drawn


def _shapes(slide: Element) -> Iterator[Element]:
    """Yield the shapes and tables of a slide, those in groups too."""
    for element in slide.iter():
        if element.tag in (f"{P}sp", f"{P}graphicFrame"):
            yield element


def _shape_blocks(shape: Element) -> Iterator[Block]:
    placeholder = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
    kind = placeholder.attrib.get("type", "") if placeholder is not None else ""
    if kind in UNSEEN:
        return
    if shape.tag == f"{P}graphicFrame":
        for row in shape.iter(f"{A}tr"):
            yield Block(CELL.join(" ".join(_paragraphs(cell)) for cell in row.iter(f"{A}tc")))
        return
    texts = list(_paragraphs(shape))
    if kind in TITLES and texts:
        yield Block(" ".join(texts), 1)
    else:
        yield from (Block(text) for text in texts)


def _paragraphs(element: Element) -> Iterator[str]:
    for paragraph in element.iter(f"{A}p"):
        runs = (" " if run.tag == f"{A}br" else run.text or "" for run in paragraph.iter() if run.tag in (f"{A}t", f"{A}br"))
        text = "".join(runs).strip()
        if text:
            yield text
