"""A document's way into the index, and out of it again.

    waiting → reading → embedding → ready | failed(code, sentence, page)

Whoever works on a document holds its lease, which is renewed with every progress; nothing is written by one who has lost it.
The work goes in ranges of `settings.read_s`: what is done stands in the row, and a message to the queue goes on from there.
So it does when a process was killed: its message is delivered again, and the next one begins where the row says.

A document that failed has nothing in the index, also not of an older version of its file.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from ulid import ULID

from chalicelib.documents import Documents
from chalicelib.embedder import Embedder
from chalicelib.errors import DocumentBusy, DocumentError, DocumentGivenUp, PaiError
from chalicelib.ingest.aliases import Aliases
from chalicelib.ingest.arrival import Arrival, compare, is_announced
from chalicelib.ingest.erase import Erased, Eraser
from chalicelib.ingest.fetch import fetched, is_there
from chalicelib.ingest.generation import Generations, Reader
from chalicelib.ingest.lease import Held, Leases, Superseded, row_of
from chalicelib.ingest.read import reading
from chalicelib.ingest.schedule import Schedule, anew
from chalicelib.logs import log
from chalicelib.platform import Files, Queue
from chalicelib.records import Document
from chalicelib.retriever import Retriever
from chalicelib.settings import Settings

FOLDER = "documents"
MOST_ATTEMPTS = 3
"""How often work on a document may be cut off at the same place, with nobody left to say why."""
MOST_DELAY_S = 900


class Ingestion:
    def __init__(
        self,
        documents: Documents,
        files: Files,
        queue: Queue,
        embedder: Embedder,
        retriever: Retriever,
        settings: Settings,
        now: Callable[[], float] = time.time,
        reader: Reader = reading,
    ) -> None:
        self._documents = documents
        self._files = files
        self._queue = queue
        self._retriever = retriever
        self._settings = settings
        self._leases = Leases(documents, now)
        self._schedule = Schedule(documents, queue)
        self._aliases = Aliases(documents, retriever, self._schedule)
        self._eraser = Eraser(documents, files, retriever, self._aliases, now)
        self._generations = Generations(embedder, retriever, self._schedule, settings, now, reader)

    # News

    def identify(self, key: str) -> tuple[str, str] | None:
        """Return whose file this is, and which document's; None for a file that is no document.

        A file that was put there by hand has an id made of its key, which sorts before (is listed after) all others.
        """
        folder, _, rest = key.partition("/")
        owner, _, name = rest.partition("/")
        if folder != FOLDER or not owner or not name or name.endswith("/"):
            return None
        if is_announced(key):
            return owner, PurePosixPath(key).stem
        return owner, str(ULID(bytes(6) + hashlib.sha256(key.encode()).digest()[:10]))

    def arrived(self, arrival: Arrival) -> None:
        """A file was put: read and index it, as far as one range goes.

        A document that can't be indexed ends as failed. Raises Unavailable when a part of PAI can't do its work just now.
        """
        while document := self._announced(arrival):
            age = compare(arrival.sequencer, document.sequencer)
            if age < 0:
                return
            size = {} if is_announced(document.key) else {"size_bytes": arrival.size_bytes}
            if self._work(document, {**anew(), **size, "attempts": 1, "sequencer": arrival.sequencer} if age > 0 else {}):
                return

    def resume(self, owner: str, document_id: str, generation: str) -> None:
        """Go on with a document that was not done when its range ended, or that is to be read again. As `arrived`."""
        while document := self._row(owner, document_id):
            if document.generation != generation or self._work(document, {}):
                return
        self._retriever.remove(owner, document_id)  # what a process that was killed may have left

    def removed(self, arrival: Arrival) -> None:
        """A file vanished: so does its document, unless news of a later file were here first."""
        found = self.identify(arrival.key)
        document = self._row(*found) if found else None
        if document and document.key == arrival.key and compare(arrival.sequencer, document.sequencer) >= 0:
            if is_there(self._files, arrival.key):  # S3 tells this also of an older version that somebody deletes for good
                return
            self._eraser.erase(document)

    def given_up(self, owner: str, document_id: str, reason: str, *, generation: str = "", sequencer: str = "") -> None:
        """Nobody will try again: a document that is not ready ends as failed. `reason` is a sentence, behind the last one.

        What was to be tried is of a generation, or came with a sequencer; a document that is past that is left alone.
        """
        document = self._row(owner, document_id)
        if document is None or document.state in ("ready", "failed"):
            return
        if generation in ("", document.generation) and compare(sequencer or document.sequencer, document.sequencer) >= 0:
            with suppress(Superseded):
                why = DocumentGivenUp(f"{document.failure} {reason}".strip())
                self._fail(self._leases.seize(document), why)

    # What people ask for

    def retry(self, owner: str, document_id: str) -> Document:
        """Have a document that failed, or got stuck, read again; return it as it then is. One that is ready stays so.

        Raises DocumentNotFound, and DocumentBusy while somebody reads it.
        """
        shown = self._documents.get(owner, document_id)
        document = self._documents.row(owner, document_id)
        if shown.state == "ready":
            return shown
        if self._leases.left_s(document) > 0 or (document.same_as and shown.state != "failed"):
            raise DocumentBusy("It is being read just now. Wait until it is ready, or has failed.")
        stuck = document.generation and document.state in ("waiting", "reading", "embedding")
        return self._schedule.again(document, {} if stuck else anew())

    def reindex(self, document: Document) -> Document:
        """Have a document read and embedded again without a new upload; what is there answers until that is done."""
        row = self._documents.row(document.owner, document.id)
        return document if row.same_as else self._schedule.again(row, anew())

    def delete(self, owner: str, document_id: str) -> Erased:
        """Delete a document for good: every version of its file, its chunks, its row. Cut short, it can be repeated.

        Raises DocumentNotFound. Others with the same bytes stay, and are read by themselves.
        """
        return self._eraser.erase(self._documents.row(owner, document_id), with_file=True)

    # Finding the row

    def _announced(self, arrival: Arrival) -> Document | None:
        """Return the row of the file that came, making one for a file that PAI did not expect; None if it is no concern."""
        found = self.identify(arrival.key)
        if found is None:
            log.info("no document", extra={"reason": "key"})
            return None
        owner, document_id = found
        document = self._row(owner, document_id)
        if document:
            return document if document.key == arrival.key else None
        if self._documents.was_deleted(owner, document_id) and is_announced(arrival.key):
            self._files.delete(arrival.key)  # the upload was still on its way when its document was deleted
            self._retriever.remove(owner, document_id)
            return None
        if not is_there(self._files, arrival.key):  # late news of a file that is gone
            return None
        name = PurePosixPath(arrival.key).name
        return self._documents.create(owner, name, size_bytes=arrival.size_bytes, document_id=document_id, key=arrival.key)

    def _row(self, owner: str, document_id: str) -> Document | None:
        return row_of(self._documents, owner, document_id)

    # One range

    def _work(self, document: Document, changes: Mapping[str, Any]) -> bool:
        """Work on a document for one range, unless it is done or somebody does; False if its row changed under us."""
        if not changes and document.state in ("ready", "failed"):
            return True
        if not changes and self._leases.left_s(document) > 0 and not self._queue.one_at_a_time:
            self._look_again(document)
            return True
        held = self._leases.take(document, changes)
        if held is None:
            return False
        try:
            self._run(held)
        except Superseded:
            self._leave(held.document)
        return True

    def _look_again(self, document: Document) -> None:
        """See to it when the lease is over: whoever has it may have been killed, and this be his message come again."""
        self._schedule.go_on(document, delay_s=min(int(self._leases.left_s(document)) + 1, MOST_DELAY_S))

    def _leave(self, document: Document) -> None:
        """Take back what was written for a document that was deleted meanwhile."""
        if self._row(document.owner, document.id) is None:
            self._retriever.remove(document.owner, document.id)

    def _run(self, held: Held) -> None:
        """Read and index until it is done, failed, or time for the next range. Raises Superseded, Unavailable."""
        try:
            if held.document.attempts > MOST_ATTEMPTS:
                raise _cut_off(held.document)
            with fetched(self._files, held.document, self._settings.upload_bytes) as (path, sha256):
                if self._aliases.is_to_read(held, self._documents.fingerprint(held.document.owner, sha256)):
                    self._generations.work(held, path)
        except DocumentError as error:
            self._fail(held, error)
        except PaiError as error:  # not the document's fault: it waits, and says for what
            held.end(state="waiting", failure_code=error.code, failure=error.message, attempts=0)
            raise
        except Superseded:
            raise
        except Exception:  # a defect: whoever tries next need not wait for the lease to run out
            held.end(state="waiting", attempts=0)
            raise

    def _fail(self, held: Held, error: DocumentError) -> None:
        """End as failed, with nothing in the index."""
        document = held.keep()
        if document.chunks or document.live_generation or document.attempts > 1:
            self._retriever.remove(document.owner, document.id)
        failure = {"failure_code": error.code, "failure": error.message, "failure_page": error.page}
        held.end(**anew() | failure | {"generation": document.generation, "state": "failed", "live_generation": ""})


def _cut_off(document: Document) -> DocumentGivenUp:
    """Return why a document that kills whoever reads it is not read again."""
    page = document.parts_done + 1 if document.pages else None
    place = f"page {page}" if page else f"part {document.parts_done + 1}"
    return DocumentGivenUp(
        f"Reading it was cut off {MOST_ATTEMPTS} times at {place}, without an error. "
        "It may need more memory than there is: split the file.",
        page=page,
    )
