"""What was used and reserved, in each store: limits hold however many ask at once, and nothing is lost or counted twice."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import boto3
import pytest

from chalicelib.errors import BudgetSpent, PaiError, StoreUnavailable
from chalicelib.llm import Event, Finish, Request, Said
from chalicelib.metering import SLACK_S, Meter
from chalicelib.metering.ledger import Amount, Day, Ledger, Refusal, Reservation, line_of
from chalicelib.metering.limits import Limits, limits_of, value_of
from chalicelib.records import Principal, Usage
from chalicelib.settings import Settings
from chalicelib.store import Store
from chalicelib.store.dynamodb import DynamoStore
from chalicelib.store.memory import MemoryStore
from chalicelib.store.sqlite import SqliteStore
from tests.contract.store_contract import Clock
from tests.contract.test_store import TABLE, OneAtATime
from tests.standins.scripted import ScriptedLLM

ME = Principal("me", "k_2345678a")
MINE = "k_2345678a"
PRICES = '{"models": {"scripted": {"input": 3, "output": 15}}}'
QUESTION = Request([Said("user", "Hello")], max_tokens=100, timeout_s=20)
AT_ONCE = 50
USED = Usage(10, 2)
COST = 10 * 3_000 + 2 * 15_000
"""What the scripted model's usual answer uses, and its nano-dollars."""


def limits(**texts: str) -> Limits:
    return limits_of({name.replace("_", "-"): value_of(name.replace("_", "-"), text) for name, text in texts.items()})


def today(ledger: Ledger, clock: Clock) -> Day:
    """Return the last day on which anything was counted in this clock's month."""
    return ledger.days("2027-01")[-1]


def finish(events: Iterator[Event]) -> Finish:
    *_, last = events
    assert isinstance(last, Finish)
    return last


class LedgerContract:
    """What holds over every store. `clock` begins at 2027-01-15T08:00:00Z."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def ledger(self, store: Store, clock: Clock) -> Ledger:
        return Ledger(store, clock)

    def reserved(self, ledger: Ledger, tokens: int = 100, payer: str = MINE, **given: str) -> Reservation:
        outcome = ledger.reserve(payer, Amount(tokens, tokens * 1000), limits(**(given or {"day_tokens": "1M"})), 30)
        assert isinstance(outcome, Reservation)
        return outcome

    def refused(self, ledger: Ledger, tokens: int = 100, payer: str = MINE, **given: str) -> Refusal:
        outcome = ledger.reserve(payer, Amount(tokens, tokens * 1000), limits(**given), 30)
        assert isinstance(outcome, Refusal)
        return outcome

    def settle(self, ledger: Ledger, reservation: Reservation, nano_dollars: int | None = COST) -> None:
        ledger.settle(reservation, Amount(12, nano_dollars or 0), line_of(ME, "scripted", USED, nano_dollars))

    def test_what_is_reserved_counts_until_it_is_settled_and_then_what_was_used(self, ledger: Ledger, clock: Clock) -> None:
        reservation = self.reserved(ledger)
        assert today(ledger, clock).count("t") == today(ledger, clock).count(f"t {MINE}") == 100

        self.settle(ledger, reservation)

        day = today(ledger, clock)
        assert (day.count("t"), day.count("d"), day.count(f"t {MINE}"), day.count(f"d {MINE}")) == (12, COST, 12, COST)
        assert day.reservations() == []
        assert day.lines() == [line_of(ME, "scripted", USED, COST)]

    @pytest.mark.parametrize("kind", ["day_tokens", "month_tokens", "key_day_tokens", "key_month_tokens"])
    def test_a_limit_has_room_for_what_fits_exactly_and_no_more(self, ledger: Ledger, kind: str) -> None:
        self.reserved(ledger, 60, **{kind: "100"})

        refusal = self.refused(ledger, 41, **{kind: "100"})
        self.reserved(ledger, 40, **{kind: "100"})

        assert refusal.budget is not None
        assert (refusal.budget.name, refusal.left) == (kind.replace("_", "-"), 40)

    @pytest.mark.parametrize("kind", ["day_dollars", "month_dollars", "key_day_dollars", "key_month_dollars"])
    def test_dollars_are_limited_like_tokens(self, ledger: Ledger, kind: str) -> None:
        self.reserved(ledger, 60, **{kind: "0.0001"})

        assert self.refused(ledger, 41, **{kind: "0.0001"}).left == 40_000

    def test_another_keys_use_counts_for_the_deployment_and_not_for_this_key(self, ledger: Ledger) -> None:
        self.reserved(ledger, 80, payer="k_other")

        self.reserved(ledger, 80, key_day_tokens="100")
        self.refused(ledger, 80, day_tokens="200")

    def test_what_is_larger_than_the_whole_limit_is_refused_on_an_empty_day(self, ledger: Ledger) -> None:
        assert self.refused(ledger, 101, day_tokens="100").left == 100

    def test_what_costs_nothing_goes_on_when_dollars_are_spent(self, ledger: Ledger) -> None:
        self.reserved(ledger, 100, day_dollars="0.0001")

        assert isinstance(ledger.reserve(MINE, Amount(5, 0), limits(day_dollars="0.00001"), 30), Reservation)

    def test_earlier_days_count_for_the_month(self, ledger: Ledger, store: Store, clock: Clock) -> None:
        self.settle(ledger, self.reserved(ledger))
        clock.now += 86_400

        refusal = self.refused(Ledger(store, clock), 95, month_tokens="100", day_tokens="100")

        assert refusal.budget is not None
        assert (refusal.budget.period, refusal.left) == ("month", 88)

    def test_what_ends_after_midnight_is_known_within_minutes(self, ledger: Ledger, store: Store, clock: Clock) -> None:
        clock.now += 16 * 3600 - 1
        late = self.reserved(ledger)
        clock.now += 2
        tomorrows = Ledger(store, clock)
        self.refused(tomorrows, 60, month_tokens="150")
        self.settle(ledger, late)

        clock.now += 301

        self.reserved(tomorrows, 60, month_tokens="150")

    def test_another_month_begins_anew(self, ledger: Ledger, store: Store, clock: Clock) -> None:
        self.reserved(ledger)
        clock.now += 17 * 86_400

        self.reserved(Ledger(store, clock), 100, month_tokens="100")

    def test_requests_of_a_key_in_a_minute_are_limited(self, ledger: Ledger, clock: Clock) -> None:
        for _ in range(3):
            self.settle(ledger, self.reserved(ledger, key_minute_requests="3"))

        refusal = self.refused(ledger, key_minute_requests="3")
        self.reserved(ledger, payer="k_other", key_minute_requests="3")
        assert (refusal.budget, refusal.until) == (None, clock.now + 60)

        clock.now += 60
        self.reserved(ledger, key_minute_requests="3")

    def test_counters_of_minutes_long_over_are_removed(self, ledger: Ledger, clock: Clock) -> None:
        for _ in range(10):
            self.settle(ledger, self.reserved(ledger, key_minute_requests="3"))
            clock.now += 60

        assert len([name for name in today(ledger, clock).item if name.startswith("q ")]) <= 4

    def test_a_reservation_whose_runner_died_expires(self, ledger: Ledger, clock: Clock) -> None:
        self.reserved(ledger, 100, day_tokens="100")
        clock.now += 29
        self.refused(ledger, 100, day_tokens="100")

        clock.now += 3

        self.reserved(ledger, 100, day_tokens="100")
        assert today(ledger, clock).count("t") == 100

    def test_one_that_is_settled_after_it_was_taken_off_counts_what_was_used(self, ledger: Ledger, clock: Clock) -> None:
        late = self.reserved(ledger)
        clock.now += 60
        self.settle(ledger, self.reserved(ledger))
        assert today(ledger, clock).count("t") == 12

        self.settle(ledger, late)

        assert today(ledger, clock).count("t") == today(ledger, clock).count(f"t {MINE}") == 24
        assert today(ledger, clock).lines()[0].turns == 2

    def test_one_that_is_settled_late_but_was_not_taken_off_counts_once(self, ledger: Ledger, clock: Clock) -> None:
        late = self.reserved(ledger)
        clock.now += 600

        self.settle(ledger, late)

        assert today(ledger, clock).count("t") == 12

    def test_many_reservations_that_expired_are_taken_off_once(self, ledger: Ledger, clock: Clock) -> None:
        for _ in range(45):
            self.reserved(ledger, 2)
        clock.now += 60

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: self.reserved(ledger, 1), range(8)))

        assert today(ledger, clock).standing(clock.now) == {"t": 8, "d": 8_000, f"t {MINE}": 8, f"d {MINE}": 8_000}

    def test_an_answer_over_midnight_counts_on_the_day_it_began(self, ledger: Ledger, clock: Clock) -> None:
        clock.now += 16 * 3600 - 1
        late = self.reserved(ledger)
        clock.now += 10
        self.settle(ledger, self.reserved(ledger, 7))

        self.settle(ledger, late)

        assert [(day.date, day.count("t")) for day in ledger.days("2027-01")] == [("2027-01-15", 12), ("2027-01-16", 12)]

    def test_usage_without_a_price_is_kept_apart(self, ledger: Ledger, clock: Clock) -> None:
        self.settle(ledger, self.reserved(ledger), nano_dollars=None)
        self.settle(ledger, self.reserved(ledger), nano_dollars=COST)

        assert {(line.model, line.nano_dollars) for line in today(ledger, clock).lines()} == {
            ("scripted", None),
            ("scripted", COST),
        }

    def test_fifty_answers_at_once_stay_under_the_limit(self, store: Store, clock: Clock) -> None:
        everybody_asked = threading.Barrier(AT_ONCE)
        meter = Meter(ScriptedLLM(), store, settings("day-tokens=550"), clock)
        reserved = 6 + 100  # "Hello" and its marks, and the longest answer

        def answer(_: int) -> str:
            with closing(meter.stream(ME, QUESTION)) as events:
                try:
                    next(events)
                except PaiError as error:
                    everybody_asked.wait(60)
                    return error.code
                everybody_asked.wait(60)
                finish(events)
            return "answered"

        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(answer, range(AT_ONCE)))

        assert outcomes.count("answered") == 550 // reserved
        assert outcomes.count("BudgetSpent") == AT_ONCE - 550 // reserved
        assert today(meter.ledger, clock).standing(clock.now)["t"] == 12 * (550 // reserved)

    def test_fifty_answers_at_once_that_go_on_and_on_end_at_the_limit(self, store: Store, clock: Clock) -> None:
        budget = "day-dollars=0.01, key-day-tokens=1M, key-month-dollars=1"
        meter = Meter(ScriptedLLM(), store, settings(budget), clock)

        def answer_until_refused(_: int) -> int:
            answered = 0
            while True:
                try:
                    finish(meter.stream(ME, QUESTION))
                    answered += 1
                except StoreUnavailable:  # too many at once, which says to try again
                    continue
                except BudgetSpent:
                    return answered

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answered = sum(pool.map(answer_until_refused, range(AT_ONCE)))

        spent = today(meter.ledger, clock).standing(clock.now)["d"]
        assert spent == answered * COST
        assert spent <= 10_000_000
        assert answered > 10_000_000 // (106 * 15_000)


def settings(budget: str) -> Settings:
    return Settings(llm="tests.standins.scripted", budget=budget, prices=PRICES)


class TestMemory(LedgerContract):
    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        return MemoryStore(clock)


class TestSqlite(LedgerContract):
    @pytest.fixture
    def store(self, clock: Clock, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path / "pai.sqlite3", clock)
        yield store
        store.close()


class TestDynamoDB(LedgerContract):
    @pytest.fixture
    def store(self, clock: Clock, aws: str) -> Store:
        return DynamoStore(OneAtATime(boto3.client("dynamodb")), TABLE, clock)


def test_reservations_outlive_their_answers_by_a_minute() -> None:
    clock = Clock()
    meter = Meter(ScriptedLLM(), MemoryStore(clock), settings("day-tokens=1k"), clock)

    with closing(meter.stream(ME, QUESTION)) as events:
        next(events)
        (reservation,) = today(meter.ledger, clock).reservations()

    assert reservation.expires >= clock.now + QUESTION.timeout_s + SLACK_S
