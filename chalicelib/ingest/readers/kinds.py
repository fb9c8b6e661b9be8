"""Which reader a file wants: by what it begins with, then by its name and content type."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from chalicelib.errors import DocumentCorrupt, DocumentUnsupported
from chalicelib.ingest.readers.contract import Opened, Task

Reader = Callable[[Task], Opened]

HEAD_BYTES = 4096
TEXT_BOMS = (b"\xff\xfe", b"\xfe\xff")
"""Of UTF-16 and UTF-32, whose text is full of NUL bytes."""
READ_AS_TEXT = {"md": "markdown", "markdown": "markdown", "csv": "table", "tsv": "table", "eml": "mail"}
OF_CONTENT_TYPE = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/csv": "table",
    "text/tab-separated-values": "table",
    "message/rfc822": "mail",
}
BINARY = {"pdf": "PDF", "docx": "Word", "pptx": "PowerPoint", "xlsx": "Excel", "odt": "OpenDocument", "epub": "EPUB"}
_HTML = re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.I | re.S)
_MAIL = re.compile(rb"^(received|return-path|message-id|mime-version|from|to|subject|date|delivered-to):\s", re.I | re.M)
_ZIPPED = {"word/": "word", "ppt/": "slides", "xl/": "sheets"}
_MIMETYPES = {
    b"application/epub+zip": "epub",
    b"application/vnd.oasis.opendocument.text": "opendocument",
    b"application/vnd.oasis.opendocument.spreadsheet": "sheets",
}


def reader_of(task: Task) -> Reader:
    """Return the `open_document` of the module that reads this file; DocumentUnsupported, DocumentCorrupt."""
    with Path(task.path).open("rb") as file:
        head = file.read(HEAD_BYTES)
    module = import_module(f"chalicelib.ingest.readers.{_kind(task, head)}")
    reader: Reader = module.open_document
    return reader


def _kind(task: Task, head: bytes) -> str:
    if not head:
        raise DocumentCorrupt("The file is empty.")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(task.path)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return "ole"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if _HTML.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "html"
    if task.suffix == "pdf" and b"\0" in head:
        return "pdf"  # the header may be missing: pdfium and pypdf look further
    return _kind_of_text(task, head)


def _kind_of_zip(path: str) -> str:
    try:
        with ZipFile(path) as file:
            names = file.namelist()
            mimetype = _first_bytes(file, "mimetype") if "mimetype" in names else b""
    except (BadZipFile, OSError, KeyError) as error:
        raise DocumentCorrupt("The file is cut short or damaged. Save it anew and add it again.") from error
    kind = _MIMETYPES.get(mimetype) or next(
        (_ZIPPED[start] for start in _ZIPPED for name in names if name.startswith(start)), ""
    )
    if not kind:
        raise DocumentUnsupported("There is no reader for archives of this kind. Unpack it and add the documents in it.")
    return kind


def _first_bytes(file: ZipFile, name: str) -> bytes:
    with file.open(name) as entry:
        return entry.read(100).strip()


def _kind_of_text(task: Task, head: bytes) -> str:
    if task.suffix == "pdf":
        return "pdf"
    if task.suffix in BINARY:
        raise DocumentCorrupt(f"The file's name says {BINARY[task.suffix]}, and its content is something else. Save it anew.")
    if b"\0" in head and not head.startswith(TEXT_BOMS):
        raise DocumentUnsupported(
            "There is no reader for this kind of file. Save it as PDF, docx, pptx, xlsx, odt, epub, html or text."
        )
    if task.suffix in ("html", "htm", "xhtml"):
        return "html"
    named = READ_AS_TEXT.get(task.suffix) or OF_CONTENT_TYPE.get(task.content_type.partition(";")[0].strip().lower())
    if named:
        return named
    return "mail" if _begins_as_mail(head) and not task.suffix else "plain"


def _begins_as_mail(head: bytes) -> bool:
    headers = head.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    return len(_MAIL.findall(headers)) >= 3
