"""A document's way out of the index: every version of its file, its chunks, its row."""

from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.clock import iso
from chalicelib.documents import Documents
from chalicelib.errors import DocumentLost, DocumentNotFound
from chalicelib.ingest.aliases import Aliases
from chalicelib.ingest.fetch import clear_copies, is_there
from chalicelib.ingest.lease import row_of
from chalicelib.platform import Files
from chalicelib.records import Document
from chalicelib.retriever import Retriever


@dataclass(frozen=True)
class Erased:
    """The receipt of a deletion. `versions` of the file are gone, `chunks` and `postings` of the index.

    `aliases` other documents hold the same bytes: they stay, and are read by themselves. `verified`: looked again, and
    nothing was there.
    """

    document_id: str
    name: str
    versions: int
    chunks: int
    postings: int
    aliases: int
    deleted_at: str
    verified: bool


class Eraser:
    def __init__(
        self, documents: Documents, files: Files, retriever: Retriever, aliases: Aliases, now: Callable[[], float]
    ) -> None:
        self._documents = documents
        self._files = files
        self._retriever = retriever
        self._aliases = aliases
        self._now = now

    def erase(self, document: Document, *, with_file: bool = False) -> Erased:
        """Delete everything of a document, its row last: until then, deleting can be repeated. Raises DocumentNotFound."""
        aliases = self._aliases.hand_on(self._stopped(document))
        versions = self._files.delete(document.key) if with_file else 0
        removed = self._retriever.remove(document.owner, document.id)
        clear_copies(document)
        self._documents.delete(document.owner, document.id)
        verified = self._is_gone(document, with_file=with_file)
        return Erased(
            document.id,
            document.name,
            versions,
            removed.chunks,
            removed.postings,
            aliases,
            iso(self._now()),
            verified,
        )

    def _stopped(self, document: Document) -> Document:
        """Mark the row, so that whoever reads the document notices, and people see what to do if we are cut short."""
        stopped = self._documents.change(
            document,
            state="failed",
            generation="",
            lease_until_ms=0,
            failure_code=DocumentLost.__name__,
            failure="Its deletion was cut short. Delete it again.",
        )
        if stopped is None:
            raise DocumentNotFound
        return stopped

    def _is_gone(self, document: Document, *, with_file: bool) -> bool:
        file_there = with_file and is_there(self._files, document.key)
        row_there = row_of(self._documents, document.owner, document.id) is not None
        return not (file_there or row_there or self._retriever.chunks(document.owner, document.id))
