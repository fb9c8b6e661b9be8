"""What comes as a set: cipher, files, keys, jobs and queue of one kind of place (an AWS account, one machine, memory).

A backend's module exports `build(settings) -> Platform`. Its parts are made when first asked for, so that the
authorizer never opens a client for files.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from chalicelib.records import KeyRing


class Cipher(Protocol):
    """Wraps keys under the owner's master key. Raises `CipherUnavailable`, or `SealBroken` when bytes or context don't fit."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt a 32-byte key; the same context must be given to open it."""
        ...

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes: ...


@dataclass(frozen=True)
class Upload:
    """A place to send one file to: `method` to `url`, with form `fields` (POST) or `headers` (PUT)."""

    url: str
    method: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]
    expires_at: str


class Files(Protocol):
    """The owner's files, by key (a path with `/`, never starting with it). Raises `FilesUnavailable`, `FileNotFound`."""

    def presign(self, key: str, *, content_type: str, size_bytes: int, expires_s: int) -> Upload:
        """Return an upload that accepts exactly this type and at most this size, until it expires."""
        ...

    def put(self, key: str, content: BinaryIO, *, content_type: str) -> None:
        """Store a file, in place of one with this key; readers see the old or the new, never half."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open the newest version for reading; the caller closes it."""
        ...

    def delete(self, key: str) -> int:
        """Delete every version; return how many there were."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield, in order, every key that begins so and has a version left, if only an older one. For finding strays."""
        ...


class Keys(Protocol):
    """The key ring. Raises `KeysUnavailable`."""

    def load(self) -> KeyRing:
        """Return the current ring, an empty one when there is none yet."""
        ...

    def save(self, ring: KeyRing) -> None:
        """Replace the ring; `KeyRingChanged` unless `ring.version` is still the current one."""
        ...


class Jobs(Protocol):
    """Work that goes on after the answer. Raises `JobsUnavailable`."""

    def start(self, name: str, payload: Mapping[str, object]) -> None:
        """Start the job of this name with a JSON payload (≤ 256 KB) and return at once. It runs at most once."""
        ...


class Queue(Protocol):
    """Messages about files: delivered at least once, in any order, until the function that takes them has done so.

    A message that was taken MOST_RECEIVES times without success goes to the dead letters. Raises `QueueUnavailable`.
    """

    one_at_a_time: bool
    """Whether no two messages are in hand at once, in any process: then whoever worked on something before is dead."""

    def send(self, body: str, *, delay_s: int = 0) -> None:
        """Add a message (≤ 256 KB), to be delivered after `delay_s` (0 to 900)."""
        ...

    def retry_in(self, receipt: str, delay_s: int) -> None:
        """Deliver a message that just failed again after this time, instead of when its visibility timeout ends."""
        ...

    def waiting(self) -> int:
        """Return about how many messages wait or are being handled, dead letters not counted."""
        ...


class Platform(Protocol):
    @property
    def cipher(self) -> Cipher: ...
    @property
    def files(self) -> Files: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def jobs(self) -> Jobs: ...
    @property
    def queue(self) -> Queue: ...


Job = Callable[[Mapping[str, object]], object]
JOBS: dict[str, Job] = {}
"""The jobs that `app.py` declares, by name: what a platform without functions of its own runs in this process."""

QueueFunction = Callable[[Mapping[str, object], object], object]
DOCUMENTS, DEAD_LETTERS = "documents", "documents-dead"
QUEUES: dict[str, QueueFunction] = {}
"""The functions that `app.py` declares for the queue (DOCUMENTS) and for its dead letters (DEAD_LETTERS).

They take what Lambda gives a function of an SQS queue, (event, context), and return its partial batch answer
{"batchItemFailures": [{"itemIdentifier"}]}. A platform without functions of its own calls them in this process.
"""
MOST_RECEIVES = 3
