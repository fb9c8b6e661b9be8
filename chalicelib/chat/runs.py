"""The workers of turns in the background: which of them are in this process, and which are lost."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from chalicelib.chat.events import TurnLog, log_key, take
from chalicelib.chat.questions import SKEW_S, START_S
from chalicelib.chat.recorder import PACE, Pace, Recorder
from chalicelib.records import Conversation, Message
from chalicelib.store import Store
from chalicelib.vault import Vault

SILENCE_S = 12.0
"""A worker that gave no sign for so long is dead: it gives one every few seconds (recorder.Pace)."""

Run = tuple[str, str, int]


class Runs:
    """The runs of turns, over a store and a vault. A run is one attempt to answer: see chat.events."""

    def __init__(self, store: Store, vault: Vault, now: Callable[[], float] = time.time, pace: Pace = PACE) -> None:
        self._store = store
        self._vault = vault
        self._now = now
        self._pace = pace
        self._here: dict[Run, Recorder] = {}
        self.alone_since_ms = 0

    def begin_alone(self) -> None:
        """Take every run that began before now for dead: no other process has this store any more."""
        self.alone_since_ms = int(self._now() * 1000)

    def log(self, conversation: Conversation, turn_id: str) -> TurnLog:
        pk = log_key(conversation.owner, conversation.id, turn_id)
        box = self._vault.open_box(conversation.owner, pk, conversation.wrapped_key)
        return TurnLog(self._store, box, self._now)

    def withdraw(self, conversation: Conversation, question: Message) -> bool:
        """Keep workers from taking a question's run; False when one has taken it."""
        key = log_key(conversation.owner, conversation.id, question.id)
        return take(self._store, key, question.lease_until_ms, self._now())

    def begin_to_take(self, owner: str, conversation_id: str, turn_id: str, run: int) -> Future[bool]:
        """Take a run for this process, beside its caller's work: the future is False when another worker has taken it."""
        taken: Future[bool] = Future()

        def take_it() -> None:
            try:
                taken.set_result(take(self._store, log_key(owner, conversation_id, turn_id), run, self._now()))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                taken.set_exception(error)

        threading.Thread(target=take_it, name="pai-take", daemon=True).start()
        return taken

    @contextmanager
    def recording(self, conversation: Conversation, question: Message) -> Iterator[Recorder]:
        """Yield what records the run of a question that was taken."""
        run = _run(conversation, question)
        recorder = self._here[run] = Recorder(self.log(conversation, question.id), question.lease_until_ms, self._pace)
        try:
            with recorder:
                yield recorder
        finally:
            del self._here[run]

    def stop(self) -> None:
        """Have all runs in this process end with what they have."""
        for recorder in list(self._here.values()):
            recorder.stop()

    def have_ended(self, timeout_s: float) -> bool:
        """Wait for the runs in this process; return whether all have ended."""
        until = time.monotonic() + timeout_s
        while self._here and time.monotonic() < until:
            time.sleep(0.02)
        return not self._here

    def here(self, conversation: Conversation, question: Message) -> Recorder | None:
        """Return what records a question's run, if its worker is in this process."""
        return self._here.get(_run(conversation, question))

    def is_here(self, conversation: Conversation, question: Message) -> bool:
        return self.here(conversation, question) is not None

    def is_lost(self, conversation: Conversation, question: Message, begun_ms: int) -> bool:
        """Whether the worker of a run that began at that time (Unix ms) is dead, has given up, or never came."""
        sign_ms, has_failed = self.log(conversation, question.id).last_sign(question.lease_until_ms)
        if has_failed:
            return True
        age_s = self._now() - (sign_ms or begun_ms) / 1000
        return not -SKEW_S <= age_s <= (SILENCE_S if sign_ms else START_S)


def _run(conversation: Conversation, question: Message) -> Run:
    return conversation.id, question.id, question.lease_until_ms
