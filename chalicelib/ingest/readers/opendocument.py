"""OpenDocument text (odt): headings, paragraphs, lists, tables, notes; what was deleted stays out."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring
from zipfile import ZipFile

from chalicelib.errors import DocumentEncrypted
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.stretches import parts_of, stretched
from chalicelib.ingest.readers.zips import open_zip
from chalicelib.records import Block

TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
MANIFEST = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"
DC_TITLE = "{http://purl.org/dc/elements/1.1/}title"
SPACES = {f"{TEXT}s": " ", f"{TEXT}tab": "\t", f"{TEXT}line-break": "\n"}
UNSEEN = {f"{TEXT}tracked-changes", f"{OFFICE}annotation", f"{TEXT}note-citation", f"{TEXT}sequence-decls"}
CELL = " | "
DEEPEST_HEADING = 6


def open_document(task: Task) -> Opened:
    """Open an odt; DocumentEncrypted."""
    with open_zip(task.path, task.limits) as file:
        if _is_encrypted(file):
            raise DocumentEncrypted("The document wants a password. Save a copy without one and add that.")
        blocks = list(_blocks(fromstring(file.read("content.xml"))))
        title = _title(file) or next((block.text for block in blocks if block.level == 1), "")
    return Opened.of(parts_of(stretched(blocks)), title)


def _is_encrypted(file: ZipFile) -> bool:
    if "META-INF/manifest.xml" not in file.NameToInfo:
        return False
    manifest = fromstring(file.read("META-INF/manifest.xml"))
    return any(True for _ in manifest.iter(f"{MANIFEST}encryption-data"))


def _title(file: ZipFile) -> str:
    if "meta.xml" not in file.NameToInfo:
        return ""
    return next((element.text or "" for element in fromstring(file.read("meta.xml")).iter(DC_TITLE)), "")


def _blocks(element: Element) -> Iterator[Block]:
    for child in element:
        if child.tag == f"{TEXT}h":
            yield Block(_text(child), min(int(child.get(f"{TEXT}outline-level", "1")), DEEPEST_HEADING))
        elif child.tag == f"{TEXT}p":
            yield Block(_text(child))
        elif child.tag == f"{TEXT}list-item":
            yield from _item(child)
        elif child.tag == f"{TABLE}table-row":
            yield Block(CELL.join(" ".join(block.text for block in _blocks(cell)) for cell in child))
        elif child.tag not in UNSEEN:
            yield from _blocks(child)


def _item(item: Element) -> Iterator[Block]:
    first, *others = [*_blocks(item), Block("")]
    yield Block(f"• {first.text}" if first.text and not first.text.startswith("• ") else first.text, first.level)
    yield from others


def _text(element: Element) -> str:
    """Return the text of a paragraph, with its notes in brackets where they stand."""
    texts = [element.text or ""]
    for child in element:
        if child.tag == f"{TEXT}note":
            texts.append(f" [{' '.join(block.text for block in _blocks(child))}] ")
        elif child.tag in SPACES:
            texts.append(SPACES[child.tag])
        elif child.tag not in UNSEEN:
            texts.append(_text(child))
        texts.append(child.tail or "")
    return "".join(texts)
