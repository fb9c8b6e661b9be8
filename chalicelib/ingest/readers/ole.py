"""Files of Office before 2007, and the containers of Office files with a password: one look, for the right sentence."""

from olefile import OleFileIO

from chalicelib.errors import DocumentEncrypted, DocumentUnsupported
from chalicelib.ingest.readers import sheets
from chalicelib.ingest.readers.contract import Opened, Task

ENCRYPTED = {"encryptedpackage", "encryptioninfo", "encryptedsummary"}
BOOKS = {"workbook", "book"}
FLAGS = slice(0x0A, 0x0C)
FLAG_ENCRYPTED = 0x0100
"""fEncrypted in the FIB of a .doc: [MS-DOC] 2.5.2."""
NEWER = {"worddocument": "docx", "powerpoint document": "pptx"}


def open_document(task: Task) -> Opened:
    """Read an .xls; DocumentEncrypted or DocumentUnsupported for the rest."""
    with OleFileIO(task.path) as file:
        names = {path[0].lower() for path in file.listdir()}
        encrypted = bool(names & ENCRYPTED) or ("worddocument" in names and _is_encrypted_word(file))
    if encrypted:
        raise DocumentEncrypted("The file wants a password. Save a copy without one and add that.")
    if names & BOOKS:
        return sheets.open_document(task)
    newer = next((NEWER[name] for name in NEWER if name in names), "")
    if newer:
        raise DocumentUnsupported(f"This is a file of Office before 2007. Save it as {newer} and add that.")
    raise DocumentUnsupported("There is no reader for this kind of file. Save it as PDF, docx or text and add that.")


def _is_encrypted_word(file: OleFileIO) -> bool:
    header = file.openstream("WordDocument").read(32)
    return bool(int.from_bytes(header[FLAGS], "little") & FLAG_ENCRYPTED)
