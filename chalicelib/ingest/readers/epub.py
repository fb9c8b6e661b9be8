"""Books (epub): the chapters in reading order, each at least one part."""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element, fromstring
from zipfile import ZipFile

from chalicelib.errors import DocumentEncrypted
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.html import decode_html, read_html
from chalicelib.ingest.readers.stretches import Section, parts_of, stretches
from chalicelib.ingest.readers.zips import open_zip

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
DC_TITLE = "{http://purl.org/dc/elements/1.1/}title"
CIPHER_REFERENCE = "{http://www.w3.org/2001/04/xmlenc#}CipherReference"


def open_document(task: Task) -> Opened:
    """Open a book; DocumentEncrypted when its shop locked it."""
    with open_zip(task.path, task.limits) as file:
        package_name = next(element.attrib["full-path"] for element in _named(fromstring(file.read(CONTAINER)), "rootfile"))
        package = fromstring(file.read(package_name))
        chapters = list(_chapters(package, posixpath.dirname(package_name)))
        if _encrypted(file) & set(chapters):
            raise DocumentEncrypted("The book is locked by its seller (DRM), so it can't be read here.")
        parts = parts_of(_sections(file, chapters))
    title = next((element.text or "" for element in package.iter(DC_TITLE)), "")
    return Opened.of(parts, title)


def _named(root: Element, name: str) -> Iterator[Element]:
    """Yield elements of this name in whatever namespace: books are careless about theirs."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _chapters(package: Element, folder: str) -> Iterator[str]:
    files = {item.get("id"): item.attrib["href"] for item in _named(package, "item") if "href" in item.attrib}
    for reference in _named(package, "itemref"):
        href = files.get(reference.get("idref"))
        if href:
            yield posixpath.normpath(posixpath.join(folder, unquote(href)))


def _encrypted(file: ZipFile) -> set[str]:
    """Return the names of what is encrypted; in most books that is nothing, or fonts."""
    if ENCRYPTION not in file.NameToInfo:
        return set()
    return {unquote(element.get("URI", "")) for element in fromstring(file.read(ENCRYPTION)).iter(CIPHER_REFERENCE)}


def _sections(file: ZipFile, chapters: list[str]) -> Iterator[Section]:
    for name in chapters:
        if name in file.NameToInfo:
            _, blocks = read_html(decode_html(file.read(name)))
            yield from ((None, stretch) for stretch in stretches(blocks))
