"""Formats that are zip files: what they unfold to is looked at before they are unfolded."""

from xml.etree.ElementTree import fromstring
from zipfile import ZipFile

from chalicelib.errors import DocumentTooLarge
from chalicelib.ingest.readers.contract import Limits

ENTRIES = 20_000
CORE = "docProps/core.xml"
DC_TITLE = "{http://purl.org/dc/elements/1.1/}title"
MARKUP = (".xml", ".rels", ".html", ".xhtml", ".htm", ".opf", ".ncx")


def open_zip(path: str, limits: Limits) -> ZipFile:
    """Open a zip file; DocumentTooLarge when its markup unfolds beyond the limit. zipfile reads no more than announced."""
    file = ZipFile(path)
    entries = file.infolist()
    unfolded = sum(entry.file_size for entry in entries if entry.filename.lower().endswith(MARKUP))
    if len(entries) > ENTRIES or unfolded > limits.unfolded_mb * 1_000_000:
        file.close()
        raise DocumentTooLarge(f"The file unfolds to more than {limits.unfolded_mb:,} MB of text. Split it.")
    return file


def core_title(file: ZipFile) -> str:
    """Return the title in the properties of a docx or pptx, empty if it has none."""
    if CORE not in file.NameToInfo:
        return ""
    return next((element.text or "" for element in fromstring(file.read(CORE)).iter(DC_TITLE)), "")
