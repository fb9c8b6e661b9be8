"""CSV and its relatives: a row is a line, and the first one stands again at the head of each part."""

import csv
from pathlib import Path

from chalicelib.ingest.readers.clean import clean
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.encoding import decode
from chalicelib.ingest.readers.sheets import row_blocks
from chalicelib.ingest.readers.stretches import parts_of, stretches

SAMPLE_CHARACTERS = 20_000
DELIMITERS = ",;\t|"


def open_document(task: Task) -> Opened:
    text = clean(decode(Path(task.path).read_bytes()))
    csv.field_size_limit(task.limits.part_characters)
    rows = list(row_blocks(csv.reader(text.splitlines(keepends=True), _dialect(text))))
    return Opened.of(parts_of((None, stretch) for stretch in stretches(rows, rows[:1])))


def _dialect(text: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(text[:SAMPLE_CHARACTERS], DELIMITERS)
    except csv.Error:
        return csv.excel
