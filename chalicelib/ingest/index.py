"""A document's way into the index, and out of it again.

    waiting → reading → embedding → ready | failed(code, sentence, page)

Whoever works on a document holds its lease, which is renewed with every progress; nothing is written by one who has lost it.
The work goes in ranges of `settings.read_s`: what is done stands in the row, and a message to the queue goes on from there.
So it does when a process was killed: its message is delivered again, and the next one begins where the row says.

A document that failed has nothing in the index, also not of an older version of its file.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC
from json import dumps
from pathlib import Path, PurePosixPath
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, BinaryIO, Protocol

from ulid import ULID

from chalicelib.clock import iso
from chalicelib.documents import Documents, unchanged
from chalicelib.embedder import Embedder
from chalicelib.errors import (
    DocumentBusy,
    DocumentError,
    DocumentGivenUp,
    DocumentLost,
    DocumentNotFound,
    DocumentRefused,
    DocumentTooLarge,
    DocumentWithoutText,
    FileNotFound,
    FilesUnavailable,
    PaiError,
    StorageFull,
    Unavailable,
)
from chalicelib.ingest.language import detect
from chalicelib.ingest.read import reading
from chalicelib.ingest.split import CHUNK_TOKENS, part_text, split
from chalicelib.logs import log
from chalicelib.platform import Files, Queue
from chalicelib.records import Chunk, Document, Part
from chalicelib.retriever import Indexing, Retriever
from chalicelib.settings import Settings

FOLDER = "documents"
BATCH_CHUNKS = 128
"""How many chunks are embedded and stored at once: what a process holds in memory, and repeats when it was killed."""
LEASE_S = 90.0
MOST_ATTEMPTS = 3
"""How often work on a document may be cut off at the same place, with nobody left to say why."""
LANGUAGE_CHARS = 4000
COPY_BYTES = 1 << 20
MOST_DELAY_S = 900


class Reading(Protocol):
    """A document that is being read: its parts in order. `pages` is None in formats without pages."""

    title: str
    pages: int | None
    parts: int

    def __iter__(self) -> Iterator[Part]: ...


class Reader(Protocol):
    """Opens a file for reading its parts from `first` on. Raises DocumentError."""

    def __call__(self, path: Path, name: str, content_type: str, *, first: int = 0) -> AbstractContextManager[Reading]: ...


@dataclass(frozen=True)
class Arrival:
    """News of a file. `sequencer` orders the news of one key; empty when there is no telling."""

    key: str
    size_bytes: int = 0
    sequencer: str = ""


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


class Superseded(Exception):
    """Somebody else has the document now, or it is gone."""


class _Held:
    """A document that we hold the lease of. `document` is its row as we last wrote it, `before` as we found it."""

    def __init__(self, documents: Documents, document: Document, before: Document, now: Callable[[], float]) -> None:
        self._documents = documents
        self._now = now
        self.document = document
        self.before = before

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


@dataclass
class _Stretch:
    """Whole parts that have been read and split, on their way into the index."""

    parts: int = 0
    characters: int = 0
    skipped: list[int] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)

    def add(self, part: Part, chunks: list[Chunk]) -> None:
        self.parts += 1
        self.characters += len(part_text(part).strip())
        self.chunks += chunks
        if part.page is not None and not chunks:
            self.skipped.append(part.page)


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
        self._embedder = embedder
        self._retriever = retriever
        self._settings = settings
        self._now = now
        self._reader = reader

    # News

    def identify(self, key: str) -> tuple[str, str] | None:
        """Return whose file this is, and which document's; None for a file that is no document.

        A file that was put there by hand has an id made of its key, which sorts before (is listed after) all others.
        """
        folder, _, rest = key.partition("/")
        owner, _, name = rest.partition("/")
        if folder != FOLDER or not owner or not name or name.endswith("/"):
            return None
        stem = PurePosixPath(name).stem
        return owner, stem if _is_ulid(stem) else str(ULID(bytes(6) + hashlib.sha256(key.encode()).digest()[:10]))

    def arrived(self, arrival: Arrival) -> None:
        """A file was put: read and index it, as far as one range goes.

        A document that can't be indexed ends as failed. Raises Unavailable when a part of PAI can't do its work just now.
        """
        while document := self._announced(arrival):
            age = _compare(arrival.sequencer, document.sequencer)
            if age < 0:
                return
            size = {} if _is_announced(document.key) else {"size_bytes": arrival.size_bytes}
            if self._work(document, {**_anew(), **size, "attempts": 1, "sequencer": arrival.sequencer} if age > 0 else {}):
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
        if document and document.key == arrival.key and _compare(arrival.sequencer, document.sequencer) >= 0:
            if self._is_there(arrival.key):  # S3 tells this also of an older version that somebody deletes for good
                return
            self._erase(document)

    def given_up(self, owner: str, document_id: str, reason: str, *, generation: str = "", sequencer: str = "") -> None:
        """Nobody will try again: a document that is not ready ends as failed. `reason` is a sentence, behind the last one.

        What was to be tried is of a generation, or came with a sequencer; a document that is past that is left alone.
        """
        document = self._row(owner, document_id)
        if document is None or document.state in ("ready", "failed"):
            return
        if generation in ("", document.generation) and _compare(sequencer or document.sequencer, document.sequencer) >= 0:
            with suppress(Superseded):
                why = DocumentGivenUp(f"{document.failure} {reason}".strip())
                self._fail(_Held(self._documents, document, document, self._now), why)

    # What people ask for

    def retry(self, owner: str, document_id: str) -> Document:
        """Have a document that failed, or got stuck, read again; return it as it then is. One that is ready stays so.

        Raises DocumentNotFound, and DocumentBusy while somebody reads it.
        """
        shown = self._documents.get(owner, document_id)
        document = self._documents.row(owner, document_id)
        if shown.state == "ready":
            return shown
        if self._is_held(document) or (document.same_as and shown.state != "failed"):
            raise DocumentBusy("It is being read just now. Wait until it is ready, or has failed.")
        stuck = document.generation and document.state in ("waiting", "reading", "embedding")
        return self._queue_again(document, {} if stuck else _anew())

    def reindex(self, document: Document) -> Document:
        """Have a document read and embedded again without a new upload; what is there answers until that is done."""
        row = self._documents.row(document.owner, document.id)
        return document if row.same_as else self._queue_again(row, _anew())

    def delete(self, owner: str, document_id: str) -> Erased:
        """Delete a document for good: every version of its file, its chunks, its row. Cut short, it can be repeated.

        Raises DocumentNotFound. Others with the same bytes stay, and are read by themselves.
        """
        return self._erase(self._documents.row(owner, document_id), with_file=True)

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
        if self._documents.was_deleted(owner, document_id) and _is_announced(arrival.key):
            self._files.delete(arrival.key)  # the upload was still on its way when its document was deleted
            self._retriever.remove(owner, document_id)
            return None
        if not self._is_there(arrival.key):  # late news of a file that is gone
            return None
        name = PurePosixPath(arrival.key).name
        return self._documents.create(owner, name, size_bytes=arrival.size_bytes, document_id=document_id, key=arrival.key)

    def _row(self, owner: str, document_id: str) -> Document | None:
        try:
            return self._documents.row(owner, document_id)
        except DocumentNotFound:
            return None

    def _is_there(self, key: str) -> bool:
        try:
            self._files.open(key).close()
        except FileNotFound:
            return False
        return True

    # One range

    def _work(self, document: Document, changes: Mapping[str, Any]) -> bool:
        """Work on a document for one range, unless it is done or somebody does; False if its row changed under us."""
        if not changes and document.state in ("ready", "failed"):
            return True
        if not changes and self._is_held(document) and not self._queue.one_at_a_time:
            self._look_again(document)
            return True
        taken = self._take(document, changes)
        if taken is None:
            return False
        held = _Held(self._documents, taken, document, self._now)
        try:
            self._run(held)
        except Superseded:
            self._leave(held.document)
        return True

    def _is_held(self, document: Document) -> bool:
        return document.lease_until_ms > self._now() * 1000

    def _look_again(self, document: Document) -> None:
        """See to it when the lease is over: whoever has it may have been killed, and this be his message come again."""
        self._send(document, delay_s=min(int(document.lease_until_ms / 1000 - self._now()) + 1, MOST_DELAY_S))

    def _take(self, document: Document, changes: Mapping[str, Any]) -> Document | None:
        """Take the lease, if the row is as we saw it."""
        taken: dict[str, Any] = {
            "state": "reading",
            "generation": document.generation or str(ULID()),
            "attempts": document.attempts + 1,
            "lease_until_ms": _lease_ms(self._now()),
        }
        as_seen = unchanged(document, "generation", "lease_until_ms", "sequencer", "state")
        return self._documents.change(document, as_seen, **{**taken, **changes})

    def _leave(self, document: Document) -> None:
        """Take back what was written for a document that was deleted meanwhile."""
        if self._row(document.owner, document.id) is None:
            self._retriever.remove(document.owner, document.id)

    def _run(self, held: _Held) -> None:
        """Read and index until it is done, failed, or time for the next range. Raises Superseded, Unavailable."""
        try:
            if held.document.attempts > MOST_ATTEMPTS:
                raise _cut_off(held.document)
            with self._fetched(held.document) as (path, fingerprint):
                if self._is_to_read(held, fingerprint):
                    self._read(held, path)
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

    @contextmanager
    def _fetched(self, document: Document) -> Iterator[tuple[Path, str]]:
        """Copy the file to this machine for the time of the block; yield its path and its bytes' fingerprint."""
        _clear_copies(document)
        with TemporaryDirectory(prefix=_copies(document)) as folder:
            path = Path(folder) / f"file{PurePosixPath(document.key).suffix}"
            sha256 = self._copy(document, path)
            yield path, self._documents.fingerprint(document.owner, sha256)

    def _copy(self, document: Document, path: Path) -> str:
        """Copy the file, if it is what was announced; return its SHA-256 in hex."""
        most = self._settings.upload_bytes
        if document.size_bytes > most:
            raise _too_large(most)
        try:
            with self._files.open(document.key) as source, path.open("wb") as copy:
                digest, size_bytes = _copied(source, copy, most + 1)
        except FileNotFound:
            raise DocumentLost("Its file is not there. Upload it again.") from None
        except OSError as error:
            raise _disk_error(error) from error
        if size_bytes > most:
            raise _too_large(most)
        if document.size_bytes and size_bytes > document.size_bytes and _is_announced(document.key):
            raise DocumentRefused(f"The file has more than the {document.size_bytes:,} bytes that were announced.")
        return digest

    # The same bytes again

    def _is_to_read(self, held: _Held, fingerprint: str) -> bool:
        """Whether these bytes are still to be read for this document; if not, its row says what it has instead."""
        document = held.document
        if held.before.state == "ready" and held.before.live_generation and fingerprint == document.fingerprint:
            self._restore(held)
            return False
        if fingerprint != document.fingerprint:
            if document.fingerprint:
                self._hand_on(document)
            held.keep(fingerprint=fingerprint)
        holder = self._holder(held.document)
        if holder == document.id:
            return True
        self._stand_behind(held, holder)
        return False

    def _restore(self, held: _Held) -> None:
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
            original = self._row(document.owner, holder)
            if original and original.fingerprint == document.fingerprint and original.state != "failed":
                return holder
            holder = self._documents.claim(document, document.fingerprint, instead_of=holder)
        return holder

    def _stand_behind(self, held: _Held, holder: str) -> None:
        """Be the other name of a document with the same bytes."""
        document = held.document
        if document.language or document.chunks or document.live_generation or document.attempts > 1:
            self._retriever.remove(document.owner, document.id)
        held.end(state="ready", same_as=holder, live_generation="", attempts=0)
        if self._row(document.owner, holder) is None:  # deleted while we looked, without a sight of us
            self._queue_again(held.document, _anew())

    def _hand_on(self, document: Document) -> int:
        """Let others with the bytes that this document had be read by themselves; return how many there are."""
        self._documents.release(document)
        copies = self._documents.copies(document)
        for copy in copies:
            self._queue_again(copy, _anew())
        return len(copies)

    # Reading and indexing

    def _read(self, held: _Held, path: Path) -> None:
        until = self._now() + self._settings.read_s
        document = held.document
        with self._reader(path, document.name, document.content_type, first=document.parts_done) as found:
            begun = {} if document.parts_done else {"characters": 0, "skipped_pages": ()}
            held.keep(title=found.title, pages=found.pages, parts=found.parts, **begun)
            stretch = _Stretch()
            for part in found:
                stretch.add(part, self._split(held.document, part, len(stretch.chunks)))
                late = self._now() >= until and part.index + 1 < found.parts
                if late or len(stretch.chunks) >= BATCH_CHUNKS:
                    self._index(held, stretch)
                    stretch = _Stretch()
                elif self._lease_is_half_over(held.document):
                    held.keep()
                if late:
                    self._pause(held)
                    return
        self._finish(held, stretch)

    def _split(self, document: Document, part: Part, pending: int) -> list[Chunk]:
        return split(
            part,
            title=document.title or PurePosixPath(document.name).stem,
            first_ordinal=document.chunks + pending,
            target_tokens=min(self._embedder.longest_tokens, CHUNK_TOKENS),
        )

    def _lease_is_half_over(self, document: Document) -> bool:
        return document.lease_until_ms / 1000 - self._now() < LEASE_S / 2

    def _index(self, held: _Held, stretch: _Stretch) -> None:
        """Embed and store a stretch; then the row says so."""
        if stretch.chunks:
            self._store(held, stretch, last=False)
        held.keep(**_progress(held.document, stretch), attempts=0)

    def _finish(self, held: _Held, stretch: _Stretch) -> None:
        """Store the last stretch and make the generation the one that readers see."""
        document = held.document
        if not document.chunks and not stretch.chunks:
            raise DocumentWithoutText(_without_text(document))
        self._store(held, stretch, last=True)
        done = _progress(held.document, stretch) | {"parts_done": document.parts}
        held.end(**done, state="ready", live_generation=document.generation, attempts=0, failure_code="", failure="")

    def _store(self, held: _Held, stretch: _Stretch, *, last: bool) -> None:
        language = held.document.language or detect(_beginning(stretch.chunks))
        held.keep(state="embedding", language=language)
        document = held.document
        indexing = Indexing(document.owner, document.id, document.generation, self._embedder.space, language)
        for batch in _batches(stretch.chunks):
            vectors = self._embedder.embed([f"{chunk.context}\n{chunk.text}" for chunk in batch], "passage")
            held.keep()  # so that nobody's generation goes live whose time is over
            self._retriever.replace(indexing, batch, vectors, last=last and (not batch or batch[-1] is stretch.chunks[-1]))

    def _pause(self, held: _Held) -> None:
        """The range's time is over: let the next message go on."""
        held.end(state="reading")
        self._send(held.document)

    def _send(self, document: Document, delay_s: int = 0) -> None:
        message = {
            "pai": "continue",
            "owner": document.owner,
            "document_id": document.id,
            "generation": document.generation,
        }
        self._queue.send(dumps(message), delay_s=delay_s)

    # Ends

    def _fail(self, held: _Held, error: DocumentError) -> None:
        """End as failed, with nothing in the index."""
        document = held.keep()
        if document.chunks or document.live_generation or document.attempts > 1:
            self._retriever.remove(document.owner, document.id)
        failure = {"failure_code": error.code, "failure": error.message, "failure_page": error.page}
        held.end(**_anew() | failure | {"generation": document.generation, "state": "failed", "live_generation": ""})

    def _queue_again(self, document: Document, changes: Mapping[str, Any]) -> Document:
        generation = document.generation or str(ULID())
        changed = self._documents.change(
            document,
            unchanged(document, "generation", "lease_until_ms"),
            **{"generation": generation, "attempts": 0, "lease_until_ms": 0, **changes, "state": "waiting"},
        )
        if changed is None:
            raise DocumentBusy("It has changed just now. Look at it again.")
        self._send(changed)
        return changed

    def _erase(self, document: Document, *, with_file: bool = False) -> Erased:
        """Delete everything of a document, its row last: until then, deleting can be repeated."""
        owner, document_id = document.owner, document.id
        # Whoever reads it notices, and if we are cut short people see what to do.
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
        aliases = self._hand_on(stopped)
        versions = self._files.delete(document.key) if with_file else 0
        removed = self._retriever.remove(owner, document_id)
        _clear_copies(document)
        self._documents.delete(owner, document_id)
        verified = self._is_gone(document, with_file=with_file)
        return Erased(
            document_id, document.name, versions, removed.chunks, removed.postings, aliases, iso(self._now()), verified
        )

    def _is_gone(self, document: Document, *, with_file: bool) -> bool:
        file_there = with_file and self._is_there(document.key)
        row_there = self._row(document.owner, document.id) is not None
        return not (file_there or row_there or self._retriever.chunks(document.owner, document.id))


def _copies(document: Document) -> str:
    """Return how the names of temporary folders begin that hold a copy of a document's file."""
    return f"pai-{document.id}-"


def _clear_copies(document: Document) -> None:
    """Remove what a process that was killed left. Whoever calls this has the document for himself."""
    for left in Path(gettempdir()).glob(f"{_copies(document)}*"):
        rmtree(left, ignore_errors=True)


def _anew() -> dict[str, Any]:
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


def _progress(document: Document, stretch: _Stretch) -> dict[str, Any]:
    """Return what a stretch that is in the index adds to the row."""
    return {
        "parts_done": document.parts_done + stretch.parts,
        "chunks": document.chunks + len(stretch.chunks),
        "characters": document.characters + stretch.characters,
        "skipped_pages": (*document.skipped_pages, *stretch.skipped),
    }


def _batches(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    """Yield chunks as many at a time as are embedded together; one empty batch when there are none."""
    for start in range(0, max(len(chunks), 1), BATCH_CHUNKS):
        yield chunks[start : start + BATCH_CHUNKS]


def _beginning(chunks: list[Chunk]) -> str:
    return " ".join(chunk.text for chunk in chunks[:8])[:LANGUAGE_CHARS]


def _copied(source: BinaryIO, copy: BinaryIO, most_bytes: int) -> tuple[str, int]:
    """Copy at most so many bytes; return the SHA-256 (hex) and how many they were."""
    digest, size_bytes = hashlib.sha256(), 0
    while size_bytes < most_bytes and (block := source.read(min(COPY_BYTES, most_bytes - size_bytes))):
        copy.write(block)
        digest.update(block)
        size_bytes += len(block)
    return digest.hexdigest(), size_bytes


def _disk_error(error: OSError) -> Unavailable:
    if error.errno in (ENOSPC, EDQUOT):
        return StorageFull("There is no room on the disk for a copy of the file. Make room; it is tried again.")
    return FilesUnavailable(f"The file could not be copied ({type(error).__name__}). It is tried again.")


def _too_large(most_bytes: int) -> DocumentTooLarge:
    return DocumentTooLarge(f"The file has more than {most_bytes:,} bytes. Split it, or raise PAI_UPLOAD_BYTES.")


def _cut_off(document: Document) -> DocumentGivenUp:
    """Return why a document that kills whoever reads it is not read again."""
    page = document.parts_done + 1 if document.pages else None
    place = f"page {page}" if page else f"part {document.parts_done + 1}"
    return DocumentGivenUp(
        f"Reading it was cut off {MOST_ATTEMPTS} times at {place}, without an error. "
        "It may need more memory than there is: split the file.",
        page=page,
    )


def _without_text(document: Document) -> str:
    if document.pages:
        return (
            "There is no text on any page: it is probably scanned. Run OCR on it (for example ocrmypdf), or install tesseract."
        )
    return "There is no text in it."


def _lease_ms(now: float) -> int:
    return int((now + LEASE_S) * 1000)


def _is_announced(key: str) -> bool:
    """Whether a file's key is one that PAI gave out, for so many bytes; else somebody put it there by hand."""
    return _is_ulid(PurePosixPath(key).stem)


def _is_ulid(text: str) -> bool:
    try:
        return str(ULID.from_str(text)) == text
    except ValueError:
        return False


def _compare(one: str, other: str) -> int:
    """Return -1, 0 or 1 as one sequencer is older than, the same as, or newer than another.

    Hexadecimal, of different lengths: "right-pad the shorter value with zeros, and then do a lexicographical comparison"
    (https://repost.aws/knowledge-center/s3-duplicate-sqs-messages).
    """
    length = max(len(one), len(other))
    first, second = one.upper().ljust(length, "0"), other.upper().ljust(length, "0")
    return (first > second) - (first < second)
