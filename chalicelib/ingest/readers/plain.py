"""Plain text, in whatever encoding: paragraphs by blank lines."""

from pathlib import Path

from chalicelib.ingest.readers.clean import clean
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.encoding import decode
from chalicelib.ingest.readers.paragraphs import paragraphs
from chalicelib.ingest.readers.stretches import parts_of, stretched


def open_document(task: Task) -> Opened:
    text = clean(decode(Path(task.path).read_bytes()))
    return Opened.of(parts_of(stretched(paragraphs(text))))
