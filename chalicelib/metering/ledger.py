"""What was used and what is reserved: one item for each UTC day, `pk` U#<yyyy-mm>, `sk` <dd>.

One item, because one conditional update must look at every limit at once. Its attributes; a key's id has no space in it:

    t  d                    tokens and nano-dollars of the deployment, used or reserved: what budgets are held against
    t <key>  d <key>        the same of one API key
    q <key> <minute>        requests of a key in a minute of the day (only where they are limited)
    r <id>                  a reservation: `<expires> <tokens> <nano-dollars> <key>`
    o <key>                 the owner of a key
    m <slot>  x <slot>      the model of a slot; x is of usage that had no price when it was counted
    i u c w n s <key> <slot>  tokens asked and answered, read from and written to the prompt cache; answers; nano-dollars

With prompt caching it is about 500 bytes for one key and one model, and 880 for two keys with two models each: under the 1 KB
that a write costs one unit for. 100 keys with two models each are 37 KB, where each of a turn's two writes costs 37 units.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from chalicelib.clock import iso
from chalicelib.errors import StoreUnavailable
from chalicelib.metering.limits import Budget, Limits, Unit
from chalicelib.records import Principal, Usage
from chalicelib.store import Item, Store, Value, When

COUNTERS: Mapping[Unit, str] = {"tokens": "t", "dollars": "d"}
TRIES = 5
SWEPT_AT_ONCE = 20
RESERVED_S = 10
"""When to ask again where the rest of a budget is reserved for answers that are under way."""
EARLIER_S = 300.0
"""How long what the month's other days hold is taken for known. It changes when an answer ends after midnight."""
MINUTES_KEPT = 2
"""Counters of minutes further away than this are removed; those near are kept for processes whose clocks differ."""


@dataclass(frozen=True)
class Amount:
    """What something uses of budgets."""

    tokens: int
    nano_dollars: int

    def of(self, unit: Unit) -> int:
        return self.tokens if unit == "tokens" else self.nano_dollars


NOTHING = Amount(0, 0)


@dataclass(frozen=True)
class Reservation:
    """Held for an answer that is being made, until it is settled or has expired (Unix seconds).

    An empty id is that of nothing held, where there are no limits. `soft`: a budget's soft limit has been reached. `worn`:
    counters of minutes that are over, which settling removes at no cost.
    """

    id: str
    date: str
    payer: str
    amount: Amount = NOTHING
    expires: int = 0
    soft: bool = False
    worn: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"r {self.id}"

    @property
    def text(self) -> str:
        return f"{self.expires} {self.amount.tokens} {self.amount.nano_dollars} {self.payer}"


@dataclass(frozen=True)
class Refusal:
    """Why nothing was reserved: this budget has `left`, and `needed` would have gone on; None is the rate of requests.

    `unused` is what would be left if nothing were reserved. `until` is when to ask again, in Unix seconds.
    """

    budget: Budget | None
    left: int
    unused: int
    needed: int
    until: int

    @property
    def passes(self) -> bool:
        """Whether it is only reserved: there is room again when answers that are under way use less than they might."""
        return self.budget is not None and self.unused >= self.needed


@dataclass(frozen=True)
class Line:
    """What one key used of one model on one day. `nano_dollars` is None where that model had no price."""

    owner: str
    payer: str
    model: str
    usage: Usage
    turns: int
    nano_dollars: int | None


@dataclass(frozen=True)
class Day:
    """One day's item, read."""

    date: str
    item: Item

    def count(self, name: str) -> int:
        value = self.item.get(name, 0)
        return value if isinstance(value, int) else 0

    def reservations(self) -> list[Reservation]:
        found = []
        for name, value in self.item.items():
            if name.startswith("r "):
                expires, tokens, nano_dollars, payer = str(value).split(" ", 3)
                amount = Amount(int(tokens), int(nano_dollars))
                found.append(Reservation(name[2:], self.date, payer, amount, int(expires)))
        return found

    def expired(self, now: float) -> list[Reservation]:
        return [reservation for reservation in self.reservations() if reservation.expires <= now]

    def standing(self, now: float) -> dict[str, int]:
        """Return what counts against budgets, by counter: what was used, and what is reserved and has not expired."""
        return _less(self._counters(), self.expired(now))

    def settled(self) -> dict[str, int]:
        """Return what was used, by counter, without what is reserved."""
        return _less(self._counters(), self.reservations())

    def _counters(self) -> dict[str, int]:
        return {name: self.count(name) for name in self.item if name.split(" ")[0] in COUNTERS.values()}

    def worn(self, minute: int) -> tuple[str, ...]:
        names = [name for name in self.item if name.startswith("q ")]
        return tuple(name for name in names if abs(int(name.rpartition(" ")[2]) - minute) > MINUTES_KEPT)

    def lines(self) -> list[Line]:
        """Return what was used by each key and model."""
        pairs = dict.fromkeys(tuple(name.split(" ")[1:]) for name in self.item if name.startswith(("n ", "i ", "u ")))
        return [self._line(payer, slot) for payer, slot in pairs]

    def _line(self, payer: str, slot: str) -> Line:
        def count(letter: str) -> int:
            return self.count(f"{letter} {payer} {slot}")

        priced = f"m {slot}" in self.item
        model = self.item.get(f"m {slot}") or self.item.get(f"x {slot}") or "unknown"
        usage = Usage(count("i"), count("u"), count("c"), count("w"))
        owner = str(self.item.get(f"o {payer}", ""))
        return Line(owner, payer, str(model), usage, count("n"), count("s") if priced else None)


class Ledger:
    """The days of one deployment, in its store."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._known: tuple[str, float, Mapping[str, int]] = ("", 0.0, {})

    def reserve(self, payer: str, amount: Amount, limits: Limits, lasts_s: float) -> Reservation | Refusal:
        """Hold an amount if every limit has room for it, in one conditional update. Raises StoreUnavailable."""
        now = self._now()
        date, minute = date_of(now), _minute(now)
        if not limits.budgets and not limits.requests:
            return Reservation("", date, payer)
        wanted = Reservation(secrets.token_urlsafe(6), date, payer, amount, int(now + lasts_s) + 1)
        earlier = self._earlier(date, now) if any(budget.period == "month" for budget in limits.budgets) else {}
        for _ in range(TRIES):
            day = Day(date, self._hold(wanted, limits, earlier, minute) or self._store.get(*_place(date)) or {})
            if wanted.name in day.item:
                with suppress(StoreUnavailable):
                    self._sweep(day, now)
                return replace(wanted, soft=_is_soft(limits, payer, day, earlier), worn=day.worn(minute))
            if not self._sweep(day, now):
                refusal = _refusal(wanted, limits, day, earlier, now)
                if refusal:
                    return refusal
        raise StoreUnavailable("Too many answers begin at once. Try again in a few seconds.")

    def settle(self, reservation: Reservation, used: Amount, line: Line | None) -> None:
        """Count what was used, and release what was reserved for it; no line is nothing used.

        One update. Where the reservation has expired and somebody took it off already, a second one counts all that was used.
        Raises StoreUnavailable.
        """
        held, counted = reservation.amount, _counted(line)
        if reservation.id:
            extra = Amount(used.tokens - held.tokens, used.nano_dollars - held.nano_dollars)
            there = When("present", reservation.name)
            if self._count(reservation, extra, counted, (reservation.name, *reservation.worn), [there]):
                return
        if line:
            self._count(reservation, used, counted, reservation.worn)

    def days(self, month: str) -> list[Day]:
        """Return the days of a month (`2026-11`) on which something was used, in their order."""
        days: list[Day] = []
        cursor = None
        while True:
            page = self._store.query(f"U#{month}", cursor=cursor)
            days += [Day(f"{month}-{item['sk']!s}", item) for item in page.items]
            cursor = page.cursor
            if cursor is None:
                return days

    def _hold(self, wanted: Reservation, limits: Limits, earlier: Mapping[str, int], minute: int) -> Item | None:
        """Return the day with the reservation in it; None when a limit has no room. Once made, it is not made again."""
        rooms = _rooms(wanted, limits, earlier)
        if any(room < 0 for room in rooms.values()):
            return None
        when = [When("at_most", name, room) for name, room in rooms.items()]
        add = _added(wanted.payer, wanted.amount)
        if limits.requests:
            asked = f"q {wanted.payer} {minute}"
            add[asked] = 1
            when.append(When("at_most", asked, limits.requests - 1))
        when.append(When("absent", wanted.name))
        return self._store.update(*_place(wanted.date), add=add, set={wanted.name: wanted.text}, when=when)

    def _count(
        self,
        reservation: Reservation,
        used: Amount,
        counted: tuple[Mapping[str, int], Item],
        gone: Iterable[str],
        when: Iterable[When] = (),
    ) -> bool:
        add = {**_added(reservation.payer, used), **counted[0]}
        return self._store.update(*_place(reservation.date), add=add, set=counted[1], remove=gone, when=when) is not None

    def _sweep(self, day: Day, now: float) -> bool:
        """Take off what expired reservations held; False when there are none. Whoever comes second changes nothing."""
        expired = day.expired(now)[:SWEPT_AT_ONCE]
        if expired:
            names = [reservation.name for reservation in expired]
            self._store.update(
                *_place(day.date), add=_less({}, expired), remove=names, when=[When("present", name) for name in names]
            )
        return bool(expired)

    def _earlier(self, date: str, now: float) -> Mapping[str, int]:
        """Return what the month's other days count against budgets, by counter; later ones too, if a clock has run ahead."""
        known_date, read_at, sums = self._known
        if known_date != date or not 0 <= now - read_at < EARLIER_S:
            sums = {}
            for day in self.days(date[:7]):
                for name, count in day.standing(now).items() if day.date != date else ():
                    sums[name] = sums.get(name, 0) + count
            self._known = (date, now, sums)
        return sums


def payer_of(who: Principal) -> str:
    """Return whose counters a request goes to: the key's."""
    return who.key_id or f"~{who.owner}"


def line_of(who: Principal, model: str, usage: Usage, nano_dollars: int | None, turns: int = 1) -> Line:
    """Return one answer's line."""
    return Line(who.owner, payer_of(who), model, usage, turns, nano_dollars)


def date_of(now: float) -> str:
    return iso(now)[:10]


def _minute(now: float) -> int:
    """Return which minute of the day this is."""
    return int(now % 86_400 // 60)


def name_of(budget: Budget, payer: str) -> str:
    """Return the counter that a budget is held against."""
    return COUNTERS[budget.unit] + (f" {payer}" if budget.scope == "key" else "")


def _place(date: str) -> tuple[str, str]:
    return f"U#{date[:7]}", date[8:]


def _added(payer: str, amount: Amount) -> dict[str, int]:
    counts = {"t": amount.tokens, "d": amount.nano_dollars}
    both = {**counts, **{f"{name} {payer}": count for name, count in counts.items()}}
    return {name: count for name, count in both.items() if count}


def _less(counts: dict[str, int], reservations: Iterable[Reservation]) -> dict[str, int]:
    for reservation in reservations:
        for name, count in _added(reservation.payer, reservation.amount).items():
            counts[name] = counts.get(name, 0) - count
    return counts


def _counted(line: Line | None) -> tuple[Mapping[str, int], Item]:
    """Return what a line adds to counters, and the names that stand beside them."""
    if line is None:
        return {}, {}
    slot = _slot(line.model, line.nano_dollars is not None)
    usage = line.usage
    counts = {"i": usage.input_tokens, "u": usage.output_tokens, "c": usage.cache_read_tokens, "w": usage.cache_write_tokens}
    counts |= {"n": line.turns, "s": line.nano_dollars or 0}
    names: dict[str, Value] = {f"o {line.payer}": line.owner}
    names[f"{'x' if line.nano_dollars is None else 'm'} {slot}"] = line.model
    return {f"{letter} {line.payer} {slot}": count for letter, count in counts.items() if count}, names


def _slot(model: str, priced: bool) -> str:
    """Return a model's short name: 48 bits of a hash."""
    digest = hashlib.blake2b(f"{priced} {model}".encode(), digest_size=6).digest()
    return base64.urlsafe_b64encode(digest).decode()


def _rooms(wanted: Reservation, limits: Limits, earlier: Mapping[str, int]) -> dict[str, int]:
    """Return the most that each counter may show for the amount to fit. What costs nothing of a unit always fits."""
    rooms: dict[str, int] = {}
    for budget in limits.budgets:
        name, needed = name_of(budget, wanted.payer), wanted.amount.of(budget.unit)
        if needed:
            room = budget.limit - _before(budget, name, earlier) - needed
            rooms[name] = min(room, rooms.get(name, room))
    return rooms


def _before(budget: Budget, name: str, earlier: Mapping[str, int]) -> int:
    return earlier.get(name, 0) if budget.period == "month" else 0


def _refusal(wanted: Reservation, limits: Limits, day: Day, earlier: Mapping[str, int], now: float) -> Refusal | None:
    """Return which limit has no room, the one that lasts longest; None when there is room by now."""
    refusals, settled = [], day.settled()
    for budget in limits.budgets:
        name, needed = name_of(budget, wanted.payer), wanted.amount.of(budget.unit)
        limit = budget.limit - _before(budget, name, earlier)
        left, unused = (max(limit - used, 0) for used in (day.count(name), settled.get(name, 0)))
        if needed > left:
            until = int(now) + RESERVED_S if unused >= needed else reset_at(budget, now)
            refusals.append(Refusal(budget, left, unused, needed, until))
    if limits.requests and day.count(f"q {wanted.payer} {_minute(now)}") >= limits.requests:
        refusals.append(Refusal(None, 0, 0, limits.requests, int(now // 60 + 1) * 60))
    return max(refusals, key=lambda refusal: refusal.until, default=None)


def _is_soft(limits: Limits, payer: str, day: Day, earlier: Mapping[str, int]) -> bool:
    settled = day.settled()
    for budget in limits.budgets:
        name = name_of(budget, payer)
        used = settled.get(name, 0) + _before(budget, name, earlier)
        if used * 100 >= budget.limit * limits.soft_percent:
            return True
    return False


def reset_at(budget: Budget, now: float) -> int:
    """Return when a budget begins anew, in Unix seconds: at the next midnight of UTC, or the next month's first."""
    day = int(now // 86_400) + 1
    while budget.period == "month" and iso(day * 86_400)[8:10] != "01":
        day += 1
    return day * 86_400
