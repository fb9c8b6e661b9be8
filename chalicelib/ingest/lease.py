"""The lease of a document: who holds it works on the document, and nothing is written by one who has lost it."""

from collections.abc import Callable, Mapping
from typing import Any

from ulid import ULID

from chalicelib.documents import Documents, unchanged
from chalicelib.errors import DocumentNotFound
from chalicelib.records import Document

LEASE_S = 90.0


class Superseded(Exception):
    """Somebody else has the document now, or it is gone."""


class Held:
    """A document that we hold the lease of. `document` is its row as we last wrote it, `before` as we found it."""

    def __init__(self, documents: Documents, document: Document, before: Document, now: Callable[[], float]) -> None:
        self._documents = documents
        self._now = now
        self.document = document
        self.before = before

    @property
    def half_over(self) -> bool:
        return _left_s(self.document, self._now()) < LEASE_S / 2

    def keep(self, **changes: Any) -> Document:
        """Store progress, renew the lease and return the row. Raises Superseded."""
        return self._change(lease_until_ms=_lease_ms(self._now()), **changes)

    def end(self, **changes: Any) -> Document:
        """Store how it ends and let go of the lease. Raises Superseded."""
        return self._change(lease_until_ms=0, **changes)

    def _change(self, **changes: Any) -> Document:
        changed = self._documents.change(self.document, unchanged(self.document, "generation", "lease_until_ms"), **changes)
        if changed is None:
            raise Superseded
        self.document = changed
        return changed


class Leases:
    """The leases of all documents."""

    def __init__(self, documents: Documents, now: Callable[[], float]) -> None:
        self._documents = documents
        self._now = now

    def left_s(self, document: Document) -> float:
        """Return for how long somebody holds a document yet; 0 or less: nobody does."""
        return _left_s(document, self._now())

    def take(self, document: Document, changes: Mapping[str, Any]) -> Held | None:
        """Take the lease, if the row is as we saw it."""
        taken: dict[str, Any] = {
            "state": "reading",
            "generation": document.generation or str(ULID()),
            "attempts": document.attempts + 1,
            "lease_until_ms": _lease_ms(self._now()),
        }
        as_seen = unchanged(document, "generation", "lease_until_ms", "sequencer", "state")
        changed = self._documents.change(document, as_seen, **{**taken, **changes})
        return Held(self._documents, changed, document, self._now) if changed else None

    def seize(self, document: Document) -> Held:
        """Return a document to be ended, whoever holds it: the first change takes its lease, if the row is as we saw it."""
        return Held(self._documents, document, document, self._now)


def row_of(documents: Documents, owner: str, document_id: str) -> Document | None:
    """Return a document's row as it is stored; None when there is none."""
    try:
        return documents.row(owner, document_id)
    except DocumentNotFound:
        return None


def _lease_ms(now: float) -> int:
    return int((now + LEASE_S) * 1000)


def _left_s(document: Document, now: float) -> float:
    return document.lease_until_ms / 1000 - now
