"""From files to documents: each is sent once, followed until it is ready or failed, and replaces its earlier self."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Literal, Protocol

from pai.client import Client
from pai.client.errors import ClientError
from pai.client.wire import Document
from pai.documents.finding import File
from pai.documents.looking import document_name, extent, look
from pai.documents.remembered import Remembered, Sent
from pai.documents.sending import OnBytes, Sender

UPLOADS_AT_ONCE = 3
MOST_AHEAD = 100
"""How many documents may wait for the server before more are sent."""
FIRST_LOOK_S, LAST_LOOK_S = 0.3, 2.0
"""How soon the server is asked how far it is, and how seldom at last."""
LOST_S = 60.0
"""How long the server may not answer while documents are followed."""

Jobs = Iterator[tuple[File, Callable[[], Sent]]]
Result = Literal["ready", "there", "sent", "failed", "refused"]


@dataclass(frozen=True)
class Outcome:
    """What came of a file. `there`: the same bytes were there before; `refused`: it was not sent. `detail` says more."""

    path: Path
    result: Result
    document_id: str = ""
    detail: str = ""

    @property
    def bad(self) -> bool:
        return self.result in ("failed", "refused")


@dataclass(frozen=True)
class Followed:
    """A file whose document is not there yet. `fresh`: it was sent just now."""

    file: File
    sent: Sent
    fresh: bool


class Board(Protocol):
    """Shows how far everything is. `sending` is called from several threads."""

    def expect(self, files: int) -> None: ...
    def sending(self, file: File, done_bytes: int) -> None: ...
    def following(self, file: File, document: Document) -> None: ...
    def ended(self, outcome: Outcome) -> None: ...


class Adding:
    """Adds files to the library of one deployment. `wait`: follow each document to its end."""

    def __init__(self, client: Client, known: Remembered, board: Board, *, wait: bool = True) -> None:
        self._client = client
        self._known = known
        self._board = board
        self._wait = wait
        self._followed: dict[Path, Followed] = {}
        self._outcomes: list[Outcome] = []
        self._pause_s, self._look_at = FIRST_LOOK_S, time.monotonic()

    @property
    def going_on(self) -> int:
        """How many documents the server is at work on, for all we know."""
        return len(self._followed)

    def add(self, files: Sequence[File]) -> Sequence[Outcome]:
        """Bring these files into the library; return what came of each. `ClientError` when the server can't be followed."""
        self._outcomes, self._followed = [], {}
        self._board.expect(len(files))
        files = [file for file in files if not self._refused(file)]
        earlier = {file.path: sent for file in files if (sent := self._known.get(file.path))}
        there = look(self._client, {sent.document_id for sent in earlier.values()})
        sender = Sender()
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="pai-upload") as pool:
            jobs = ((file, partial(self._send, sender, file, earlier.get(file.path), there)) for file in files)
            sending: dict[Future[Sent], File] = {}
            try:
                while self._fill(pool, jobs, sending) or self._followed:
                    self._next(sending, there)
            except BaseException:
                sender.stop()
                pool.shutdown(cancel_futures=True)
                self._remember_sent(sending)
                raise
        return self._outcomes

    def _fill(self, pool: ThreadPoolExecutor, jobs: Jobs, sending: "dict[Future[Sent], File]") -> bool:
        """Begin to send more, unless enough is under way; return whether anything is being sent."""
        while len(sending) < UPLOADS_AT_ONCE and len(self._followed) < MOST_AHEAD and (job := next(jobs, None)):
            sending[pool.submit(job[1])] = job[0]
        return bool(sending)

    def _next(self, sending: "dict[Future[Sent], File]", there: Mapping[str, Document]) -> None:
        """Wait until something has been sent, or it is time to look after the documents again; and do so."""
        left_s = max(self._look_at - time.monotonic(), 0) if self._followed else None
        if sending:
            for future in wait(sending, timeout=left_s, return_when=FIRST_COMPLETED).done:
                self._sent(sending.pop(future), future, there)
        elif left_s:
            time.sleep(left_s)
        if self._followed and time.monotonic() >= self._look_at:
            self._pause_s = FIRST_LOOK_S if self._follow() else min(self._pause_s * 1.5, LAST_LOOK_S)
            self._look_at = time.monotonic() + self._pause_s

    # In the threads that send

    def _send(self, sender: Sender, file: File, earlier: Sent | None, there: Mapping[str, Document]) -> Sent:
        """Return what the file was sent as: just now, or before when its bytes are still the same."""
        document = there.get(earlier.document_id) if earlier else None
        with file.path.open("rb") as content:
            if earlier is None or document is None:
                return self._upload(sender, file, content, _sha256(content))
            sha256 = earlier.sha256 if earlier.looks_like(file) else _sha256(content)
            if sha256 != earlier.sha256:
                sent = self._upload(sender, file, content, sha256)
                return replace(sent, replaces=(*earlier.replaces, earlier.document_id))
        if document["state"] == "failed":
            self._client.retry_document(document["document_id"])
        return replace(earlier, mtime_ns=file.mtime_ns)

    def _upload(self, sender: Sender, file: File, content: BufferedReader, sha256: str) -> Sent:
        upload = self._client.begin_upload(document_name(file.path), file.content_type, file.size_bytes)
        try:
            sender.send(upload["upload"], file.content_type, content, self._on_bytes(file))
        except BaseException:
            with suppress(ClientError):  # an announcement that nothing followed; `pai doctor --orphans` finds those left
                self._client.delete_document(upload["document_id"])
            raise
        return Sent(upload["document_id"], file.size_bytes, file.mtime_ns, sha256)

    def _on_bytes(self, file: File) -> OnBytes:
        return lambda done_bytes: self._board.sending(file, done_bytes)

    # In the thread that follows

    def _refused(self, file: File) -> bool:
        """Refuse at once what can't become a document."""
        problem = ""
        if not file.content_type:
            problem = f"PAI does not read files of this kind ({file.path.suffix or 'no suffix'})"
        elif not file.size_bytes:
            problem = "is empty"
        if problem:
            self._end(Outcome(file.path, "refused", detail=problem))
        return bool(problem)

    def _sent(self, file: File, future: "Future[Sent]", there: Mapping[str, Document]) -> None:
        try:
            sent = future.result()
        except ClientError as error:
            self._end(Outcome(file.path, "refused", detail=error.message))
            return
        except OSError as error:
            self._end(Outcome(file.path, "refused", detail=f"can't be read: {error.strerror}"))
            return
        self._known.put(file.path, sent)
        document = there.get(sent.document_id)
        if document and document["state"] == "ready" and not sent.replaces:
            self._end(Outcome(file.path, "there", sent.document_id))
        elif self._wait:
            self._followed[file.path] = Followed(file, sent, fresh=document is None)
        else:
            self._end(Outcome(file.path, "there" if document else "sent", sent.document_id))

    def _remember_sent(self, sending: "Mapping[Future[Sent], File]") -> None:
        """Keep in mind what went out although nobody waits for it any more."""
        for future, file in sending.items():
            if future.done() and not future.cancelled() and not future.exception():
                self._known.put(file.path, future.result())
                self._followed[file.path] = Followed(file, future.result(), fresh=True)

    def _follow(self) -> bool:
        """Look how far the documents are; return whether one of them has come to its end."""
        documents = self._patient_look({followed.sent.document_id for followed in self._followed.values()})
        moved = False
        for path, followed in list(self._followed.items()):
            document = documents.get(followed.sent.document_id)
            if document and document["state"] not in ("ready", "failed"):
                self._board.following(followed.file, document)
            else:
                del self._followed[path]
                self._settle(followed, document)
                moved = True
        return moved

    def _patient_look(self, document_ids: Collection[str]) -> Mapping[str, Document]:
        """Look, over a break of the connection or a restart of the server too."""
        deadline = time.monotonic() + LOST_S
        while True:
            try:
                return look(self._client, document_ids)
            except ClientError as error:
                lost = error.status is None or error.retry_after_s is not None
                if not lost or time.monotonic() > deadline:
                    raise
            time.sleep(LAST_LOOK_S)

    def _settle(self, followed: Followed, document: Document | None) -> None:
        """Do what is left to do once a document has come to its end, and say so."""
        path, sent = followed.file.path, followed.sent
        if document is None:
            self._known.forget_path(path)
            self._end(Outcome(path, "failed", sent.document_id, "was deleted before it was ready"))
        elif document["state"] == "failed":
            error = document.get("error")
            kept = " The earlier version stays." if sent.replaces else ""
            self._end(Outcome(path, "failed", sent.document_id, f"{error['Message'] if error else 'It failed.'}{kept}"))
        else:
            outcome = self._settled_ready(followed, document)
            self._known.put(path, replace(sent, document_id=outcome.document_id, replaces=()))
            for old in {*sent.replaces} - {outcome.document_id}:
                if not self._known.paths(old):  # the same file may lie in another place too
                    self._delete(old)
            self._end(outcome)

    def _settled_ready(self, followed: Followed, document: Document) -> Outcome:
        """Return what a ready document is; one that only repeats another of its name is deleted again."""
        path, document_id = followed.file.path, document["document_id"]
        same_as = document.get("same_as")
        twin = look(self._client, {same_as}).get(same_as) if same_as and followed.fresh else None
        if twin and twin["name"] == document["name"]:
            self._delete(document_id)
            return Outcome(path, "there", twin["document_id"])
        if twin:
            return Outcome(path, "ready", document_id, f"the same bytes as {twin['name']}")
        return Outcome(path, "ready", document_id, extent(document))

    def _delete(self, document_id: str) -> None:
        with suppress(ClientError):  # it may be gone already; what stays is in `pai docs list`
            self._client.delete_document(document_id)

    def _end(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._board.ended(outcome)


def _sha256(content: BufferedReader) -> str:
    return hashlib.file_digest(content, "sha256").hexdigest()
