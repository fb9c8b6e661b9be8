"""Equal bytes are read once: one document stands for them, and the others of its owner are further names of it."""

from chalicelib.documents import Documents
from chalicelib.ingest.lease import Held, row_of
from chalicelib.ingest.schedule import Schedule, anew
from chalicelib.records import Document
from chalicelib.retriever import Retriever


class Aliases:
    def __init__(self, documents: Documents, retriever: Retriever, schedule: Schedule) -> None:
        self._documents = documents
        self._retriever = retriever
        self._schedule = schedule

    def is_to_read(self, held: Held, fingerprint: str) -> bool:
        """Whether these bytes are still to be read for this document; if not, its row says what it has instead."""
        document = held.document
        if held.before.state == "ready" and held.before.live_generation and fingerprint == document.fingerprint:
            self._restore(held)
            return False
        if fingerprint != document.fingerprint:
            if document.fingerprint:
                self.hand_on(document)
            held.keep(fingerprint=fingerprint)
        holder = self._holder(held.document)
        if holder == document.id:
            return True
        self._stand_behind(held, holder)
        return False

    def hand_on(self, document: Document) -> int:
        """Let others with the bytes that this document had be read by themselves; return how many there are."""
        self._documents.release(document)
        copies = self._documents.copies(document)
        for copy in copies:
            self._schedule.again(copy, anew())
        return len(copies)

    def _restore(self, held: Held) -> None:
        """The file that was put again is the one that is indexed."""
        before = held.before
        held.end(
            state="ready",
            generation=before.live_generation,
            chunks=before.chunks,
            parts_done=before.parts_done,
            attempts=0,
        )

    def _holder(self, document: Document) -> str:
        """Return which document stands for the same bytes; this one, if no other does or the other could not be read."""
        holder = self._documents.claim(document, document.fingerprint)
        while holder != document.id:
            original = row_of(self._documents, document.owner, holder)
            if original and original.fingerprint == document.fingerprint and original.state != "failed":
                return holder
            holder = self._documents.claim(document, document.fingerprint, instead_of=holder)
        return holder

    def _stand_behind(self, held: Held, holder: str) -> None:
        """Be the other name of a document with the same bytes."""
        document = held.document
        if document.language or document.chunks or document.live_generation or document.attempts > 1:
            self._retriever.remove(document.owner, document.id)
        held.end(state="ready", same_as=holder, live_generation="", attempts=0)
        if row_of(self._documents, document.owner, holder) is None:  # deleted while we looked, without a sight of us
            self._schedule.again(held.document, anew())
