"""What a turn in the background has said so far, stored as it comes: for whoever follows it, from wherever they left off.

    pk = E#<owner>#<conversation>#<turn>     what is known of a turn's runs, for a day
        sk = <run>#<number>                  an event; number 0 says that a worker has taken the run
        sk = <run>~alive                     its worker's last sign of life, when it has nothing to say
        sk = <run>~stop                      somebody wants it to end

A run is one attempt to answer. It is called after the lease that it began with, so that a question that is answered again
has events of its own. What is said is sealed with the conversation's key.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chalicelib.errors import BadRequest
from chalicelib.store import Item, Store, Value, When
from chalicelib.vault import Box

KEPT_S = 86_400

Kind = Literal["state", "text", "done", "failed"]

_ID = re.compile(r"(\d{1,15})-(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Place:
    """Where an event stands: what a follower gives back as Last-Event-ID. Number -1, before the first, is for ourselves."""

    run: int
    number: int = -1

    def __str__(self) -> str:
        return f"{self.run}-{self.number}"

    @property
    def next(self) -> "Place":
        return Place(self.run, self.number + 1)


def read_place(event_id: str) -> Place:
    """Return the place that an event's id names; BadRequest for what is none."""
    match = _ID.fullmatch(event_id)
    if match is None:
        raise BadRequest("Last-Event-ID", "is not the id of an event of this turn; leave it out to begin at the start")
    return Place(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class TurnEvent:
    """`data` is {"state"}, {"text"}, nothing with `done`, an error's {"Code", "Message"} with `failed`."""

    place: Place
    kind: Kind
    data: Mapping[str, Any]


def log_key(owner: str, conversation_id: str, turn_id: str) -> str:
    """Return the partition of a turn's events."""
    return f"E#{owner}#{conversation_id}#{turn_id}"


def take(store: Store, pk: str, run: int, now: float) -> bool:
    """Store the first event of a run, which says nothing but that a worker has taken it; False when another one has."""
    item: Item = {"pk": pk, "sk": _key(Place(run, 0)), "kind": "state", **_dated(now)}
    return store.put(item, [When("absent", "pk")])


class TurnLog:
    """The events of one turn."""

    def __init__(self, store: Store, box: Box, now: Callable[[], float]) -> None:
        self._store = store
        self._box = box
        self._now = now

    def append(self, event: TurnEvent) -> bool:
        """Store an event; False when there is one in its place."""
        sk = _key(event.place)
        sealed = self._box.seal(sk, "data", json.dumps(event.data, ensure_ascii=False))
        item: Item = {"pk": self._box.pk, "sk": sk, "kind": event.kind, "data": sealed, **_dated(self._now())}
        return self._store.put(item, [When("absent", "pk")])

    def after(self, place: Place) -> Sequence[TurnEvent]:
        """Return what came behind a place in its run, in order."""
        events, cursor = list[TurnEvent](), None
        while True:
            page = self._store.query(self._box.pk, first=_key(place.next), last=f"{_run_key(place.run)}$", cursor=cursor)
            events += map(self._event, page.items)
            cursor = page.cursor
            if cursor is None:
                return events

    def give_sign(self, run: int) -> None:
        """Say that the worker of this run lives."""
        self._store.put({"pk": self._box.pk, "sk": f"{_run_key(run)}~alive", **_dated(self._now())})

    def last_sign(self, run: int) -> tuple[int, bool]:
        """Return when the worker of this run gave its last sign of life, and whether that was to say that it failed.

        In Unix ms; 0 when no worker has taken it.
        """
        page = self._store.query(self._box.pk, first=_run_key(run), last=f"{_run_key(run)}~alive", newest_first=True, limit=2)
        signs = [(int(item["at_ms"]), item.get("kind") == "failed") for item in page.items]
        return max(signs, default=(0, False))

    def ask_to_stop(self, run: int) -> None:
        self._store.put({"pk": self._box.pk, "sk": f"{_run_key(run)}~stop", **_dated(self._now())})

    def is_to_stop(self, run: int) -> bool:
        return self._store.get(self._box.pk, f"{_run_key(run)}~stop") is not None

    def _event(self, item: Item) -> TurnEvent:
        sk, sealed, kind = str(item["sk"]), item.get("data"), item["kind"]
        run, _, number = sk.partition("#")
        data = json.loads(self._box.open(sk, "data", sealed)) if isinstance(sealed, bytes) else {"state": "running"}
        return TurnEvent(Place(int(run), int(number)), kind, data)  # type: ignore[arg-type]


def _dated(now: float) -> dict[str, Value]:
    return {"at_ms": int(now * 1000), "expires_at": int(now) + KEPT_S}


def _run_key(run: int) -> str:
    return f"{run:015d}"


def _key(place: Place) -> str:
    """Numbers sort as texts; `#` sorts before `$`, and that before `~`."""
    return f"{_run_key(place.run)}#{place.number:06d}"
