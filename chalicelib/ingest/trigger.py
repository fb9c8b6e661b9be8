"""What happens when a file comes or goes: messages of the queue → the handlers that app.py declares.

A message says that a file came to the bucket or went from it (S3's notification), or it is a note of PAI to itself,
`{"pai": <name>, …}`. It may come twice, late, out of order, or be something else altogether. A message that fails is
delivered again, and after MOST_RECEIVES times it is a dead letter, whose document `bury` marks as failed.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_plus

from chalicelib import logs
from chalicelib.errors import DocumentNotFound, LibraryOff, PaiError, QueueUnavailable
from chalicelib.platform import Queue
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.ingest.arrival import Arrival
    from chalicelib.ingest.index import Ingestion

_log = logging.getLogger(__name__)

RETRY_S = (10, 120, 1)
"""When to try again after the first and the second failure. The third is the last: what is left is to be given up, soon."""
SPARE_S = 180.0
"""How long a message may take beside the range of a document that it reads: embedder and database may both be waited for."""
GONE = (LibraryOff, DocumentNotFound)
"""There is nothing to do this for any more."""
GIVEN_UP = "Reading it failed several times, for a reason that may have passed since. Try it again (retry)."

Record = Mapping[str, Any]
Answer = dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class FileEvent:
    """A file came to this key, or (`removed`) went from it. `sequencer` orders the events of a key; empty if none is given."""

    key: str
    removed: bool = False
    size_bytes: int = 0
    sequencer: str = ""

    @property
    def arrival(self) -> "Arrival":
        from chalicelib.ingest.arrival import Arrival  # app.py imports this module, and a chat needs nothing of that one

        return Arrival(self.key, self.size_bytes, self.sequencer)


@dataclass(frozen=True)
class Note:
    """What PAI asks itself to do later: the members of the message beside its name."""

    name: str
    members: Mapping[str, str]


class Unreadable(Exception):
    """A message that is neither S3's nor PAI's. Trying again won't help, so that it ends among the dead letters."""


class MessagesFailed(Exception):
    """Some messages of the batch are to be delivered again, and only an error makes that happen."""


FileHandler = TypeVar("FileHandler", bound=Callable[[FileEvent], object])
NoteHandler = TypeVar("NoteHandler", bound=Callable[..., object])
_file_handlers: dict[tuple[str, str, bool], Callable[[FileEvent], object]] = {}
_note_handlers: dict[str, Callable[..., object]] = {}


def on_object(prefix: str = "", suffix: str = "", *, removed: bool = False) -> Callable[[FileHandler], FileHandler]:
    """Declare what to do when a file of such a key comes, or (`removed`) goes."""

    def declare(handle: FileHandler) -> FileHandler:
        _file_handlers[prefix, suffix, removed] = handle
        return handle

    return declare


def on_note(name: str) -> Callable[[NoteHandler], NoteHandler]:
    """Declare what to do with PAI's own messages of this name. Their other members are the handler's arguments."""

    def declare(handle: NoteHandler) -> NoteHandler:
        _note_handlers[name] = handle
        return handle

    return declare


def dispatch(event: Mapping[str, Any], context: Any, queue: Queue, settings: Settings) -> Answer:
    """Handle a batch of the queue; return which messages failed, or raise MessagesFailed where that would not be read."""
    failed = []
    for place, record in enumerate(event["Records"]):
        if place and not _time_left(context, settings):
            failed.append(record)
        elif error := _failure(record, _handle):
            _come_again(queue, record, error)
            failed.append(record)
    return _answer(failed, settings)


def bury(event: Mapping[str, Any], ingestion: "Callable[[], Ingestion]", settings: Settings) -> Answer:
    """Mark the documents of a batch of dead letters as failed; one whose file went is taken out once more.

    What can't be done just now stays a dead letter.
    """

    def give_up(record: Record) -> None:
        for letter in _letters(record):
            _give_up(letter, ingestion())

    return _answer([record for record in event["Records"] if _failure(record, give_up)], settings)


def read_message(body: str) -> Sequence[FileEvent | Note]:
    """Return what a message says: nothing, if S3 only tries whether it may send. Raises Unreadable."""
    try:
        message = json.loads(body)
        if message.get("Event") == "s3:TestEvent":
            return []
        if "pai" in message:
            return [_note(message)]
        return [event for entry in message["Records"] if (event := _file_event(entry))]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Unreadable(type(error).__name__) from None


def _note(message: Mapping[str, str]) -> Note:
    members = {name: value for name, value in message.items() if name != "pai"}
    if not all(isinstance(value, str) for value in members.values()):
        raise ValueError
    signature(_note_handlers[message["pai"]]).bind(**members)  # TypeError when they are not what it takes
    return Note(message["pai"], members)


def _file_event(entry: Record) -> FileEvent | None:
    """Return an entry of S3's notification, None if it is about something else than a file's coming and going.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    if entry["eventSource"] != "aws:s3":
        raise ValueError
    kind, file = entry["eventName"].removeprefix("s3:").partition(":")[0], entry["s3"]["object"]
    if kind not in ("ObjectCreated", "ObjectRemoved"):
        return None
    key = unquote_plus(file["key"], errors="strict")
    key.encode()  # ValueError for half a surrogate pair, which nothing can store
    return FileEvent(key, kind == "ObjectRemoved", int(file.get("size", 0)), str(file.get("sequencer", "")))


def _handle(record: Record) -> None:
    """Do all that a message says: what fails keeps nothing else from being done, and is raised when that is."""
    errors: list[Exception] = []
    for said in read_message(record["body"]):
        try:
            _follow(said)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
    if errors:
        raise min(errors, key=lambda error: isinstance(error, GONE))


def _follow(said: FileEvent | Note) -> None:
    if isinstance(said, Note):
        _note_handlers[said.name](**said.members)
        return
    for (prefix, suffix, removed), handle in _file_handlers.items():
        if said.key.startswith(prefix) and said.key.endswith(suffix) and said.removed == removed:
            handle(said)


def _letters(record: Record) -> Sequence[FileEvent | Note]:
    try:
        return read_message(record["body"])
    except Unreadable:
        _log.error("message dropped", extra={"message_id": record["messageId"], "reason": "neither S3 nor PAI wrote it"})
        return []


def _give_up(letter: FileEvent | Note, ingestion: "Ingestion") -> None:
    if isinstance(letter, Note):
        members = letter.members
        ingestion.given_up(members["owner"], members["document_id"], GIVEN_UP, generation=members["generation"])
    elif letter.removed:
        ingestion.removed(letter.arrival)
    elif found := ingestion.identify(letter.key):
        ingestion.given_up(*found, GIVEN_UP, sequencer=letter.sequencer)


def _failure(record: Record, work: Callable[[Record], None]) -> Exception | None:
    """Do the work of one message, and log how it went; return why it must come again, None if it need not."""
    started = time.monotonic()
    error: Exception | None = None
    try:
        work(record)
        outcome = "done"
    except GONE as gone:
        outcome = gone.code
    except (PaiError, Unreadable) as failure:
        outcome, error = type(failure).__name__, failure
    except Exception as defect:  # noqa: BLE001 - the outermost place: a defect is logged, and the message comes again
        logs.defect(defect, request_id=record["messageId"])
        outcome, error = type(defect).__name__, defect
    _log.log(
        logging.ERROR if error else logging.INFO,
        "message",
        extra={
            "message_id": record["messageId"],
            "receives": _receives(record),
            "outcome": outcome,
            "duration_ms": round((time.monotonic() - started) * 1000, 1),
            **({"reason": error.message} if isinstance(error, PaiError) else {}),
        },
    )
    return error


def _come_again(queue: Queue, record: Record, error: Exception) -> None:
    """Shorten the time until a failed message comes again: that of the queue is made for functions that died."""
    delay_s = RETRY_S[min(_receives(record), len(RETRY_S)) - 1]
    if isinstance(error, PaiError) and _receives(record) < len(RETRY_S):
        delay_s = max(delay_s, error.retry_after_s or 0)
    try:
        queue.retry_in(record["receiptHandle"], delay_s)
    except QueueUnavailable as unavailable:
        _log.warning("message comes again late", extra={"message_id": record["messageId"], "reason": unavailable.message})


def _answer(failed: Sequence[Record], settings: Settings) -> Answer:
    """Return the partial batch answer. Where the mapping doesn't ask for one, Lambda takes any answer for a success."""
    if failed and not settings.partial_batches:
        raise MessagesFailed(f"{len(failed)} messages failed.")
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


def _time_left(context: Any, settings: Settings) -> bool:
    """Tell whether a function has time for one more message. There is no limit where there is no context."""
    return context is None or context.get_remaining_time_in_millis() / 1000 >= settings.read_s + SPARE_S


def _receives(record: Record) -> int:
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))
