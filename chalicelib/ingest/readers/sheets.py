"""Spreadsheets (xlsx, xlsm, xlsb, xls, ods), by calamine: a sheet is a page, and its name the heading."""

import datetime
from collections.abc import Iterable, Iterator, Sequence

from python_calamine import CalamineSheet, CalamineWorkbook, PasswordError

from chalicelib.errors import DocumentEncrypted, DocumentTooLarge
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.stretches import Section, parts_of, stretches
from chalicelib.ingest.readers.zips import open_zip
from chalicelib.records import Block

CELL = " | "
MOST_CELLS = 20_000_000
"""Cells of one sheet, the empty ones between others counted: calamine keeps them all in memory."""
ZIP = b"PK"


def open_document(task: Task) -> Opened:
    """Open a workbook; DocumentEncrypted, DocumentTooLarge."""
    with open(task.path, "rb") as file:
        zipped = file.read(2) == ZIP
    if zipped:
        open_zip(task.path, task.limits).close()
    try:
        book = CalamineWorkbook.from_path(task.path)
    except PasswordError as error:
        raise DocumentEncrypted("The workbook wants a password. Save a copy without one and add that.") from error
    parts = parts_of(_sections(book))
    return Opened.of(parts, pages=len(book.sheet_names))


def _sections(book: CalamineWorkbook) -> Iterator[Section]:
    for page, name in enumerate(book.sheet_names, 1):
        sheet = book.get_sheet_by_name(name)
        if sheet.total_height * sheet.total_width > MOST_CELLS:
            raise DocumentTooLarge(f"A sheet reaches over more than {MOST_CELLS:,} cells. Delete what is far out.", page=page)
        rows = list(row_blocks(_texts(sheet)))
        for stretch in stretches([Block(name, 1), *rows], rows[:1]) if rows else ([],):
            yield page, stretch


def row_blocks(rows: Iterable[Sequence[str]]) -> Iterator[Block]:
    """Make a block of each row that is not empty."""
    for row in rows:
        if any(row):
            yield Block(CELL.join(row).rstrip(" |"))


def _texts(sheet: CalamineSheet) -> Iterator[list[str]]:
    return ([_text(value) for value in row] for row in sheet.iter_rows())


def _text(value: object) -> str:
    """Write a cell as a person would read it."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "minutes")
    return " ".join(str(value).split())
