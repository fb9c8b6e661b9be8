"""What is to be worked on later: the row says from where on, and a message of the queue that it is time."""

from collections.abc import Mapping
from json import dumps
from typing import Any

from ulid import ULID

from chalicelib.documents import Documents, unchanged
from chalicelib.errors import DocumentBusy
from chalicelib.platform import Queue
from chalicelib.records import Document


class Schedule:
    def __init__(self, documents: Documents, queue: Queue) -> None:
        self._documents = documents
        self._queue = queue

    def go_on(self, document: Document, delay_s: int = 0) -> None:
        """Have work on a document go on where its row says, unless that is of another generation by then."""
        message = {
            "pai": "continue",
            "owner": document.owner,
            "document_id": document.id,
            "generation": document.generation,
        }
        self._queue.send(dumps(message), delay_s=delay_s)

    def again(self, document: Document, changes: Mapping[str, Any]) -> Document:
        """Have a document that nobody works on wait for its turn, with these changes; return its row. Raises DocumentBusy."""
        generation = document.generation or str(ULID())
        changed = self._documents.change(
            document,
            unchanged(document, "generation", "lease_until_ms"),
            **{"generation": generation, "attempts": 0, "lease_until_ms": 0, **changes, "state": "waiting"},
        )
        if changed is None:
            raise DocumentBusy("It has changed just now. Look at it again.")
        self.go_on(changed)
        return changed


def anew() -> dict[str, Any]:
    """Return what changes in a row that begins from the start."""
    return {
        "generation": str(ULID()),
        "language": "",
        "parts_done": 0,
        "chunks": 0,
        "attempts": 0,
        "same_as": "",
        "failure_code": "",
        "failure": "",
        "failure_page": None,
    }
