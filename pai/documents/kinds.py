"""What kind of file a name promises, for those kinds that PAI reads."""

from pathlib import Path, PurePath

CONTENT_TYPES = {
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".eml": "message/rfc822",
    ".epub": "application/epub+zip",
    ".htm": "text/html",
    ".html": "text/html",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".pdf": "application/pdf",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rtf": "application/rtf",
    ".text": "text/plain",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".xhtml": "application/xhtml+xml",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

HEAD_BYTES = 4096


def content_type(name: str) -> str:
    """Return the media type for a file of this name; empty when PAI has no reader for it."""
    return CONTENT_TYPES.get(PurePath(name).suffix.lower(), "")


def sniffed_type(path: Path) -> str:
    """Return `text/plain` for a file that begins like text, whatever it is called; empty for any other. Raises OSError."""
    with path.open("rb") as file:
        return "" if b"\0" in file.read(HEAD_BYTES) else "text/plain"
