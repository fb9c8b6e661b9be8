"""The queue of one machine, and the thread of this process that works it off: to a function it looks like SQS and Lambda."""

import fcntl
import logging
import os
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from chalicelib.errors import QueueUnavailable
from chalicelib.platform import QueueFunction
from chalicelib.platform.limits import check_message
from chalicelib.platform.local.disk import disk_failures, private_folder
from chalicelib.platform.local.messages import Messages, Taken

_log = logging.getLogger(__name__)

# How soon a worker notices what another process sent, and that the worker there was has ended.
_LOOK_S = 1.0


class LocalQueue:
    """Calls `functions` with one message after the other: reading a document keeps a core busy, and there are few.

    Without `work`, the worker starts at the first message that this process sends, and ends when none is left.
    """

    one_at_a_time = True

    def __init__(self, messages: Messages, functions: Mapping[str, QueueFunction], lock: Path | None = None) -> None:
        self._messages = messages
        self._functions = functions
        self._post = _Post(lock)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._news = False
        self._stays = False
        self._stopping = False
        self._in_hand: Taken | None = None

    def send(self, body: str, *, delay_s: int = 0) -> None:
        check_message(body, delay_s)
        self._messages.add(body, delay_s)
        self._wake()

    def retry_in(self, receipt: str, delay_s: int) -> None:
        if not self._messages.delay(receipt, delay_s):
            raise QueueUnavailable("The message is not being handled any more.")

    def waiting(self) -> int:
        return self._messages.count()

    def work(self) -> None:
        """Work until `stop`: first on what a killed process left behind, then also on what other processes send."""
        self._stays = True
        self._wake()

    def stop(self, grace_s: float) -> bool:
        """Take no more messages; return whether none is in hand. One that still is, after the grace, will be taken anew."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            idle = self._changed.wait_for(lambda: self._in_hand is None, timeout=grace_s)
            left = self._in_hand
        if left:
            self._messages.put_back(left)
        return idle

    def _wake(self) -> None:
        with self._changed:
            self._news = True
            self._changed.notify_all()
            if self._thread is None and self._functions and not self._stopping:
                # A daemon, because the end of the process is no matter: what it does not finish stays in the queue.
                self._thread = threading.Thread(target=self._work, name="pai-queue", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        ended = False
        while not ended:
            try:
                if not self._post.held and self._post.take():
                    self._messages.let_go_all()
                if not (self._post.held and self._handle_next()):
                    self._wait(self._next_due_s())
                ended = self._ends()
            except QueueUnavailable as error:
                _log.error("queue", extra={"error": error.code, "reason": error.message})
                self._post.leave()  # whoever takes it lets go of what we could not, and nothing of ours is in hand
                self._wait(_LOOK_S)
                ended = self._stopping

    def _ends(self) -> bool:
        """Tell whether there is nothing more to do, and if so let another thread begin when there is."""
        with self._changed:
            ends = self._stopping or not (self._stays or self._messages.any(self._functions))
            if ends:
                self._post.leave()
                self._thread = None
            return ends

    def _next_due_s(self) -> float:
        due_s = self._messages.next_due_s(self._functions) if self._post.held else None
        return _LOOK_S if due_s is None else min(due_s, _LOOK_S)

    def _wait(self, longest_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._news, longest_s)
            self._news = False

    def _handle_next(self) -> bool:
        """Call the function for the next message, and take its answer; False when none is due."""
        with self._changed:
            taken = self._in_hand = None if self._stopping else self._messages.take(self._functions)
        if taken is None:
            return False
        try:
            if _succeeds(self._functions[taken.queue], taken):
                self._messages.remove(taken)
            else:
                self._messages.let_go(taken)
        finally:
            with self._changed:
                self._in_hand = None
                self._changed.notify_all()
        return True


class _Post:
    """The right to work a queue off, which one worker of all processes holds.

    The kernel takes it from whoever ends, in any way. So what is taken when somebody gets it was taken by a dead one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor = -1
        self.held = False

    def take(self) -> bool:
        """Return whether we hold it now."""
        if self._path is None:
            self.held = True
            return True
        with disk_failures(QueueUnavailable, "The queue's lock"):
            descriptor = os.open(private_folder(self._path.parent) / self._path.name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                self._descriptor, self.held = descriptor, True
        return self.held

    def leave(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)
        self._descriptor, self.held = -1, False


def _succeeds(function: QueueFunction, taken: Taken) -> bool:
    """Call a function as Lambda does for its queue; any failure, and any defect, is False."""
    try:
        answer = function(_event(taken), None)
    except BaseException as error:  # noqa: BLE001 - whatever it is, even sys.exit, ends this message and not the thread
        # Class and place only: an error's own text may repeat what the function worked on.
        place = traceback.extract_tb(error.__traceback__)[-1]
        extra = {"queue": taken.queue, "error": type(error).__name__, "place": f"{place.filename}:{place.lineno}"}
        _log.error("queue function failed", extra=extra)
        return False
    return not (isinstance(answer, Mapping) and answer.get("batchItemFailures"))


def _event(taken: Taken) -> dict[str, object]:
    """Return what Lambda gives a function for a batch of one: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    record = {
        "messageId": taken.id,
        "receiptHandle": taken.receipt,
        "body": taken.body,
        "attributes": {
            "ApproximateReceiveCount": str(taken.receives),
            "SentTimestamp": str(round(taken.sent_at * 1000)),
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:pai:sqs:local::{taken.queue}",
        "awsRegion": "local",
    }
    return {"Records": [record]}
