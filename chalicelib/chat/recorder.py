"""The sink of a turn in the background: it stores the words in batches while they come, whatever the model is doing.

The first words go at once, then those of a quarter of a second together, and after five seconds those of a second: people
see words move from the beginning, and a long answer does not cost a write for each of them.
"""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from chalicelib.chat.events import Kind, Place, TurnEvent, TurnLog
from chalicelib.errors import PaiError, Unavailable

Waiting = tuple[Kind, dict[str, Any]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often things are done, in seconds. Words are stored every `batch_s`; every `later_batch_s` after `later_after_s`.

    A worker that has nothing to say gives a sign of life every `sign_s`, and looks every `stop_s` whether it shall go on.
    The last words may take `last_words_s` to be stored, in a store that fails.
    """

    batch_s: float = 0.25
    later_after_s: float = 5.0
    later_batch_s: float = 1.0
    sign_s: float = 3.0
    stop_s: float = 1.0
    last_words_s: float = 10.0


PACE = Pace()
MOST_CHARS = 50_000
"""Of one event: as JSON it must fit an item, and a character may take six bytes there."""


class Recorder:
    """Records one run that was taken. Use it in a `with` statement: at the end of the block all that was said is stored."""

    patient = True

    def __init__(self, log: TurnLog, run: int, pace: Pace = PACE) -> None:
        self._log = log
        self._pace = pace
        self._changed = threading.Condition()
        self._place = Place(run, 0)
        self._waiting: list[Waiting] = []
        self._tried: list[Waiting] = []  # what may be stored already, just as it is: nothing is added to it
        self._ended, self._ended_at = False, 0.0
        self._stored_at = self._looked_at = time.monotonic()
        self._first_text_at = self._not_before = 0.0
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="pai-recorder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._ended, self._ended_at = True, time.monotonic()
            self._changed.notify_all()
        self._thread.join()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """End the run as soon as the model says something."""
        self._stopped = True

    def text(self, delta: str) -> None:
        for start in range(0, len(delta), MOST_CHARS):
            self._add("text", {"text": delta[start : start + MOST_CHARS]})

    def state(self, state: str) -> None:
        self._add("state", {"state": state})

    def done(self) -> None:
        """Say that the answer is stored."""
        self._add("done", {})

    def failed(self, error: PaiError) -> None:
        self._add("failed", {"Code": error.code, "Message": error.message})

    def wait_beyond(self, number: int, timeout_s: float) -> None:
        """Return when an event with a greater number is stored, or after this time."""
        with self._changed:
            self._changed.wait_for(lambda: self._place.number > number, timeout_s)

    def _add(self, kind: Kind, data: dict[str, Any]) -> None:
        with self._changed:
            before = self._waiting[-1][1].get("text", "") if kind == "text" and self._waiting else ""
            if before and len(before) + len(data["text"]) <= MOST_CHARS:
                self._waiting[-1] = ("text", {"text": before + data["text"]})
            else:
                self._waiting.append((kind, data))
            self._changed.notify_all()

    def _work(self) -> None:
        """Store what waits, when its time has come, until the block is left and nothing waits."""
        while (batch := self._next_batch()) is not None:
            for number, (kind, data) in enumerate(batch):
                if not self._stored(kind, data):
                    self._put_back(batch[number:])
                    break
            self._look_around()

    def _next_batch(self) -> list[Waiting] | None:
        """Return what is to be stored now, after a moment nothing, and at the end None."""
        with self._changed:
            self._changed.wait_for(self._is_due, self._moment_s())
            waiting = [*self._tried, *self._waiting]
            if self._ended and not waiting:
                return None
            if not self._is_due():
                return []
            self._tried, self._waiting = [], []
        return waiting

    def _moment_s(self) -> float:
        """Return how long to wait for something to do: until words may be stored, or it is time to look around."""
        left_s = self._not_before - time.monotonic()
        return min(left_s, self._pace.stop_s) if left_s > 0 else self._pace.stop_s

    def _is_due(self) -> bool:
        waiting = [*self._tried, *self._waiting]
        if self._ended or any(kind != "text" for kind, _ in waiting):
            return True
        return bool(waiting) and time.monotonic() >= self._not_before

    def _stored(self, kind: Kind, data: dict[str, Any]) -> bool:
        """Store the next event; False when the store does not take it now."""
        try:
            self._log.append(TurnEvent(self._place.next, kind, data))  # what is there already is ours, from a try before
        except Unavailable:
            return False
        except PaiError as error:  # no try will store it, and those behind it must not wait
            _log.error("event lost", extra={"error": error.code})
            return True
        self._stored_at = time.monotonic()
        if kind == "text":
            self._first_text_at = self._first_text_at or self._stored_at
            young = self._stored_at - self._first_text_at < self._pace.later_after_s
            self._not_before = self._stored_at + (self._pace.batch_s if young else self._pace.later_batch_s)
        with self._changed:
            self._place = self._place.next
            self._changed.notify_all()
        return True

    def _put_back(self, batch: list[Waiting]) -> None:
        """Keep what was not stored for another try, unless the end was too long ago."""
        with self._changed:
            given_up = self._ended and time.monotonic() > self._ended_at + self._pace.last_words_s
            self._tried = [] if given_up else batch
            self._waiting = [] if given_up else self._waiting
        if given_up:
            _log.error("events lost", extra={"events": len(batch)})
        time.sleep(self._pace.batch_s)

    def _look_around(self) -> None:
        """Give a sign of life where there was none for a while, and look whether somebody wants this to end."""
        now = time.monotonic()
        with suppress(Unavailable):
            if now >= self._stored_at + self._pace.sign_s:
                self._log.give_sign(self._place.run)
                self._stored_at = now
            if now >= self._looked_at + self._pace.stop_s:
                self._looked_at = now
                self._stopped = self._stopped or self._log.is_to_stop(self._place.run)
