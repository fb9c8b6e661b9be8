"""RTF: its text, without its formatting."""

import re
from pathlib import Path

from striprtf.striprtf import rtf_to_text

from chalicelib.ingest.readers.clean import clean
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.paragraphs import paragraphs
from chalicelib.ingest.readers.stretches import parts_of, stretched

_EMPTY_ROWS = re.compile(r"^[|\s]*\|[|\s]*$", re.M)


def open_document(task: Task) -> Opened:
    # RTF is ASCII with escapes; what is not stands for itself in the code page that the file names.
    source = Path(task.path).read_bytes().decode("latin-1")
    text = clean(rtf_to_text(source, errors="replace"))  # type: ignore[no-untyped-call]
    return Opened.of(parts_of(stretched(paragraphs(_EMPTY_ROWS.sub("", text)))))
