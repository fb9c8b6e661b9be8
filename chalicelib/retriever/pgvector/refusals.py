"""What PostgreSQL refuses, by its SQLSTATE, as PAI's errors. Its own messages stay out: they repeat what was stored or asked.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from collections.abc import Mapping

from chalicelib.errors import InternalError, LibraryUnavailable, LibraryWaking, Misconfigured, PaiError
from chalicelib.retriever.pgvector.database import SchemaMissing

_MISSING = {
    "3F000",  # schema
    "42P01",  # table
    "42703",  # column
    "42704",  # type
    "42883",  # function
}
_MEANINGS: Mapping[str, tuple[type[PaiError], str]] = {
    "57P03": (LibraryWaking, "The documents' database is starting. Try again in a moment."),
    "57014": (LibraryUnavailable, "The documents' database took too long for one statement. Try again in a moment."),
    "53100": (LibraryUnavailable, "The disk of the documents' database is full. Make room and try again."),
    "53200": (LibraryUnavailable, "The documents' database has too little memory. Try again in a moment."),
    "53300": (LibraryUnavailable, "The documents' database takes no more connections just now. Try again in a moment."),
    "25006": (LibraryUnavailable, "The documents' database only takes questions just now. Try again in a moment."),
    "42501": (Misconfigured, "The database's user may not do what the documents need. Let them own their database."),
    "0A000": (
        Misconfigured,
        "The documents' database lacks something that they need. It must be PostgreSQL 15 or newer, with pgvector 0.8.",
    ),
    "3D000": (
        Misconfigured,
        "There is no database of that name. Create it, or correct PAI_DATABASE_URL or PAI_DATABASE_NAME.",
    ),
    "28": (Misconfigured, "The documents' database does not accept the user or the password. Correct PAI_DATABASE_URL."),
    "40": (LibraryUnavailable, "Two changes met in the documents' database. Try again in a moment."),
    "55": (LibraryUnavailable, "Another change is under way in the documents' database. Try again in a moment."),
    "58": (
        LibraryUnavailable,
        "The disk fails under the documents' database. Check it; `pai docs reindex` makes the index anew.",
    ),
    "XX": (LibraryUnavailable, "The documents' database is damaged. `pai docs reindex` makes the index anew."),
    "08": (LibraryUnavailable, "The connection to the documents' database broke. Try again in a moment."),
    "57": (LibraryUnavailable, "The documents' database was stopped. Try again in a moment."),
}
"""SQLSTATE, or its class (the first two characters) → the error it is here, and its sentence."""


def meaning_of(sqlstate: str) -> PaiError | SchemaMissing:
    """Return the error to raise for a refused statement; what is not foreseen is a defect of ours."""
    if sqlstate in _MISSING:
        return SchemaMissing(f"the database lacks what a statement names (SQLSTATE {sqlstate})")
    kind, sentence = _MEANINGS.get(sqlstate) or _MEANINGS.get(sqlstate[:2]) or (InternalError, _DEFECT)
    return kind(sentence.format(sqlstate=sqlstate))


_DEFECT = "The documents' database refused a statement (SQLSTATE {sqlstate}). This is a defect of PAI: please report it."
