"""Every answer is reserved for, counted and settled; what the owner has not allowed is refused before the model is asked."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib import logs
from chalicelib.chat.prompt import request_tokens
from chalicelib.errors import (
    BudgetSpent,
    GuardrailIntervened,
    Misconfigured,
    ModelInterrupted,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
    RateLimited,
    StoreUnavailable,
)
from chalicelib.llm import Event, Finish, JsonForm, Request, Said, Text, Tool, ToolCall, ToolResult
from chalicelib.metering import Cut, Meter
from chalicelib.metering.ledger import Line
from chalicelib.metering.limits import KEY
from chalicelib.records import ModelInfo, Principal, Usage
from chalicelib.settings import Settings
from chalicelib.store import Item
from chalicelib.store.items import check as size_checked
from chalicelib.store.memory import MemoryStore
from tests.standins.scripted import Act, ScriptedLLM, fails
from tests.unit.conftest import Clock

ME, ANNA = Principal("me", "k_2345678a"), Principal("anna", "k_2345678b")
PRICES = '{"models": {"dear-1": {"input": 3, "output": 15}, "cheap-1": {"input": 0.3, "output": 1.5}}}'
QUESTION = Request([Said("user", "Hello")], max_tokens=100)
MOST = 6 + 100
"""Tokens that QUESTION reserves: itself with its marks, by estimate, and the longest answer."""
MIDNIGHT = 1_800_057_600
"""2027-01-16T00:00:00Z; clocks begin 16 hours earlier."""


USED = Usage(10, 2)


def answers(model: str, used: Usage = USED) -> Act:
    return lambda request: [Text("Hello"), Text(" there."), Finish(used, "end", request.model or model)]


class TwoModels(ScriptedLLM):
    """A deployment with a dear default model, whose alias the requests know, and a cheap one."""

    listed = 0

    def models(self) -> list[ModelInfo]:
        self.listed += 1
        return [ModelInfo("dear-1", "Dear", 8192, ("dear",)), ModelInfo("cheap-1", "Cheap", 8192, ("cheap",))]


class CountingStore(MemoryStore):
    """A store that counts what it is asked, and fails or loses its answers while a test says so."""

    asked: dict[str, int]
    down = False
    loses_answers = False
    meanwhile: Callable[[], object] | None = None
    """What somebody else does just before the next update that removes something."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.asked = {"get": 0, "query": 0, "update": 0}

    def _ask(self, verb: str) -> None:
        self.asked[verb] += 1
        if self.down:
            raise StoreUnavailable("It is down.")

    def get(self, pk: str, sk: str) -> Item | None:
        self._ask("get")
        return super().get(pk, sk)

    def query(self, pk: str, **options: object):  # type: ignore[no-untyped-def]
        self._ask("query")
        return super().query(pk, **options)  # type: ignore[arg-type]

    def update(self, pk: str, sk: str, **changes: Any) -> Item | None:
        self._ask("update")
        if changes.get("remove") and self.meanwhile:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if self.loses_answers:  # DynamoDB's client then asks again
            super().update(pk, sk, **changes)
        return super().update(pk, sk, **changes)


@dataclass
class Deployment:
    """A meter over a model and a store in memory, with a clock that tests set."""

    budget: str = "day-tokens=1M"
    act: Act = field(default_factory=lambda: answers("dear-1"))
    stage: str = "dev"
    backend: str = "tests.standins.scripted"
    prices: str = PRICES

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.store = CountingStore(self.clock)
        self.llm = TwoModels([self.act])
        self.settings = Settings(
            stage=self.stage, llm=self.backend, budget=self.budget, prices=self.prices, max_tokens=100, model="dear"
        )
        self.meter = Meter(self.llm, self.store, self.settings, self.clock)

    def ask(self, who: Principal = ME, request: Request = QUESTION) -> list[Event]:
        return list(self.meter.stream(who, request))

    def ask_on_and_on(self) -> None:
        for _ in range(1000):
            self.ask()

    def counts(self) -> dict[str, int]:
        """What counts against budgets in this month."""
        sums: dict[str, int] = {}
        for day in self.meter.ledger.days("2027-01"):
            for name, count in day.standing(self.clock()).items():
                sums[name] = sums.get(name, 0) + count
        return sums

    def lines(self) -> list[Line]:
        return [line for day in self.meter.ledger.days("2027-01") for line in day.lines()]

    def held(self) -> int:
        """How many reservations there are."""
        return sum(len(day.reservations()) for day in self.meter.ledger.days("2027-01"))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged. PAI's logger, once it is set up, hands nothing on to pytest's own."""
    logs.log.addHandler(caplog.handler)
    yield caplog
    logs.log.removeHandler(caplog.handler)


# What an answer counts


def test_an_answer_comes_through_and_counts_what_its_model_says() -> None:
    deployment = Deployment(act=answers("dear-1", Usage(10, 2, 5, 1)), prices=PRICES.replace("3,", '3, "cache_read": 1,'))

    assert deployment.ask() == [Text("Hello"), Text(" there."), Finish(Usage(10, 2, 5, 1), "end", "dear-1")]

    (line,) = deployment.lines()
    assert (line.owner, line.payer, line.model, line.usage, line.turns) == ("me", ME.key_id, "dear-1", Usage(10, 2, 5, 1), 1)
    assert deployment.counts()["t"] == 18
    assert deployment.held() == 0


def test_it_is_counted_before_its_end_is_handed_out() -> None:
    deployment = Deployment()
    for event in deployment.meter.stream(ME, QUESTION):
        if isinstance(event, Finish):
            assert deployment.counts()["t"] == 12


def test_a_turn_costs_two_writes_and_no_read() -> None:
    deployment = Deployment("day-tokens=1M, month-dollars=2, key-day-dollars=1, key-minute-requests=60")
    deployment.ask()
    before = dict(deployment.store.asked)

    deployment.ask()

    assert {verb: count - before[verb] for verb, count in deployment.store.asked.items()} == {
        "get": 0,
        "query": 0,
        "update": 2,
    }


def test_where_nothing_is_limited_a_turn_costs_one_write() -> None:
    deployment = Deployment(budget="", stage="local")
    deployment.ask()

    deployment.ask()

    assert deployment.store.asked == {"get": 1, "query": 0, "update": 2}
    assert deployment.counts()["t"] == 24


def test_an_answer_that_is_cut_counts_by_estimate() -> None:
    deployment = Deployment()

    with closing(deployment.meter.stream(ME, QUESTION)) as events:
        next(events)

    assert [(line.usage, line.model, line.turns) for line in deployment.lines()] == [(Usage(6, 2), "dear-1", 1)]
    assert (deployment.counts()["t"], deployment.held(), deployment.llm.closed) == (8, 0, 1)


def test_who_cuts_an_answer_off_gets_its_end_with_the_model_that_gave_it() -> None:
    deployment = Deployment(SOFT)
    while deployment.counts().get("d", 0) < 10_000_000 * 0.1:
        deployment.ask()
    stream = deployment.meter.stream(ME, QUESTION)
    next(stream)

    finish = stream.throw(Cut("stopped"))

    assert isinstance(finish, Finish)
    assert (finish.model, finish.stop_reason) == ("cheap-1", "stopped")
    assert finish.usage.input_tokens == MOST - 100
    assert deployment.lines()[-1].model == "cheap-1"


@pytest.mark.parametrize(
    ("error", "said", "used"),
    [
        (ModelUnreachable("No network."), (), 0),
        (ModelInterrupted("It broke off."), ("Hello",), 6 + 2),
        (ModelTimeout("It said nothing."), (), 6),
        (ModelTimeout("It took too long."), ("Hello",), 6 + 2),
    ],
)
def test_an_answer_that_fails_counts_what_was_said_and_a_prompt_that_was_read(
    error: PaiError, said: tuple[str, ...], used: int
) -> None:
    deployment = Deployment(act=fails(error, after=said))

    with pytest.raises(type(error)):
        deployment.ask()

    assert deployment.counts().get("t", 0) == used
    assert (len(deployment.lines()), deployment.held()) == (bool(used), 0)


def test_who_keeps_what_an_error_cut_off_is_told_what_counts_of_it() -> None:
    deployment = Deployment(act=fails(GuardrailIntervened("No."), after=["Some", " words"]))
    told: list[Finish] = []

    with pytest.raises(GuardrailIntervened):
        list(deployment.meter.stream(ME, QUESTION, on_settled=told.append))

    (line,) = deployment.lines()
    assert [(finish.model, finish.usage) for finish in told] == [(line.model, line.usage)]


def test_what_the_model_wants_of_a_tool_counts_as_said() -> None:
    deployment = Deployment(act=lambda request: [ToolCall("1", "find", '{"q": "x"}'), ModelInterrupted("It broke off.")])

    with pytest.raises(ModelInterrupted):
        deployment.ask()

    assert deployment.lines()[0].usage.output_tokens == 5


def test_all_that_is_sent_counts_as_asked() -> None:
    plain = Request([Said("user", "Hello")])
    tool = Tool("find", "Finds things", {"type": "object"})
    fuller = [
        Request(plain.messages, system="Be brief."),
        Request([*plain.messages, Said("assistant", "", (ToolCall("1", "find", '{"q": "x"}'),))]),
        Request([Said("user", "Hello", tool_results=(ToolResult("1", "found it"),))]),
        Request(plain.messages, tools=(tool,)),
        Request(plain.messages, json_form=JsonForm({"type": "object"})),
    ]

    assert all(request_tokens(request) > request_tokens(plain) for request in fuller)


def test_owners_whose_key_is_not_known_are_kept_apart() -> None:
    deployment = Deployment("key-day-tokens=110")

    deployment.ask(Principal("me", ""))
    deployment.ask(Principal("anna", ""))

    assert [(line.owner, line.turns) for line in deployment.lines()] == [("me", 1), ("anna", 1)]


# What is refused


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (
            "day-tokens=1k",
            "This deployment may use 1,000 tokens in a day; 100 tokens are left, and this may need 106 tokens. The next",
        ),
        ("key-day-tokens=1k", "This API key may use 1,000 tokens in a day; 100 tokens are left"),
        ("month-tokens=1k", "This deployment may use 1,000 tokens in a month; 100 tokens are left"),
        ("key-month-tokens=1k", "This API key may use 1,000 tokens in a month; 100 tokens are left"),
        ("day-dollars=0.006", "This deployment may use $0.006 in a day; $0.0015 are left, and this may need $0.001518."),
        ("key-month-dollars=0.006", "This API key may use $0.006 in a month; $0.0015 are left"),
    ],
)
def test_who_passes_a_budget_is_told_which_and_until_when(budget: str, sentence: str) -> None:
    deployment = Deployment(budget)
    with pytest.raises(BudgetSpent) as refused:
        deployment.ask_on_and_on()

    error = refused.value
    assert error.message.startswith(sentence)
    resets = "2027-02-01" if "month" in budget else "2027-01-16"
    assert f"begins {resets} at 00:00 UTC" in error.message
    assert error.details == {"budget": budget.partition("=")[0], "resets_at": f"{resets}T00:00:00.000Z"}
    assert error.retry_after_s == (MIDNIGHT + 16 * 86_400 if "month" in budget else MIDNIGHT) - deployment.clock()
    assert len(deployment.llm.requests) == deployment.lines()[0].turns == 75


def test_of_two_budgets_that_are_spent_the_one_that_lasts_longer_is_named() -> None:
    deployment = Deployment("month-tokens=110, day-tokens=110, key-day-tokens=110")
    deployment.ask()

    with pytest.raises(BudgetSpent) as refused:
        deployment.ask()

    assert refused.value.details["budget"] == "month-tokens"


def test_nobody_asks_a_model_for_what_is_refused() -> None:
    deployment = Deployment("day-tokens=50")

    with pytest.raises(BudgetSpent):
        next(deployment.meter.stream(ME, QUESTION))

    assert deployment.llm.requests == []


def test_a_key_that_asks_too_often_waits_for_the_next_minute() -> None:
    deployment = Deployment("key-minute-requests=2")
    deployment.clock.time += 18
    deployment.ask()
    deployment.ask()

    with pytest.raises(RateLimited, match=r"may make 2 requests in a minute. Ask again in 42 s") as refused:
        deployment.ask()

    assert refused.value.retry_after_s == 42
    deployment.ask(ANNA)
    deployment.clock.time += 42
    deployment.ask()


@pytest.mark.parametrize("budget", ["day-tokens=110", "key-day-tokens=110", "key-minute-requests=1"])
def test_a_client_in_a_loop_costs_nothing(budget: str) -> None:
    deployment = Deployment(budget)
    deployment.ask()
    for _ in range(2):
        with pytest.raises((BudgetSpent, RateLimited)):
            deployment.ask()
    before = dict(deployment.store.asked)

    for _ in range(100):
        with pytest.raises((BudgetSpent, RateLimited)):
            deployment.meter.check(ME)
        with pytest.raises((BudgetSpent, RateLimited)):
            deployment.ask()

    assert deployment.store.asked == before


def test_what_one_key_has_spent_is_not_held_against_another() -> None:
    deployment = Deployment("key-day-tokens=110")
    deployment.ask()
    with pytest.raises(BudgetSpent):
        deployment.ask()

    deployment.meter.check(ANNA)
    deployment.ask(ANNA)


def test_what_the_deployment_has_spent_is_held_against_all_keys() -> None:
    deployment = Deployment("day-tokens=110")
    deployment.ask()
    with pytest.raises(BudgetSpent):
        deployment.ask()

    with pytest.raises(BudgetSpent):
        deployment.meter.check(ANNA)


def test_a_refusal_is_forgotten_after_half_a_minute_so_that_a_raised_budget_works() -> None:
    deployment = Deployment("day-tokens=110")
    deployment.ask()
    with pytest.raises(BudgetSpent):
        deployment.ask()
    deployment.store.update(*KEY, set={"day-tokens": 1000})

    deployment.clock.time += 61

    deployment.meter.check(ME)
    deployment.ask()


def test_a_question_too_large_for_what_is_left_keeps_no_smaller_one_out() -> None:
    deployment = Deployment("day-tokens=500")

    with pytest.raises(BudgetSpent, match="this may need 1,006"):
        deployment.ask(request=Request(QUESTION.messages, max_tokens=1000))

    deployment.meter.check(ME)
    deployment.ask()


def test_what_only_answers_under_way_hold_is_free_again_soon() -> None:
    deployment = Deployment("day-tokens=150")
    with closing(deployment.meter.stream(ME, QUESTION)) as events:
        next(events)
        with pytest.raises(BudgetSpent, match="Answers under way hold the rest of it: ask again in 10 s") as refused:
            deployment.ask()
        assert refused.value.retry_after_s == 10

    deployment.ask()


# The cheaper model


SOFT = f"day-dollars=0.01, soft-percent=10, model=cheap, day-tokens={10**6}"


def test_from_the_soft_limit_on_the_cheaper_model_answers_those_that_name_none() -> None:
    deployment = Deployment(SOFT)
    while deployment.counts().get("d", 0) < 10_000_000 * 0.1:
        deployment.ask()

    deployment.ask()
    deployment.ask(request=Request(QUESTION.messages, model="dear", max_tokens=100))

    assert [request.model for request in deployment.llm.requests[-3:]] == [None, "cheap", "dear"]


def test_without_a_cheaper_model_the_default_goes_on_to_the_end() -> None:
    deployment = Deployment("day-dollars=0.01, soft-percent=10")
    with pytest.raises(BudgetSpent):
        deployment.ask_on_and_on()

    assert {request.model for request in deployment.llm.requests} == {None}


def test_where_there_is_no_room_for_the_default_model_the_cheaper_one_answers() -> None:
    deployment = Deployment("day-dollars=0.001, soft-percent=100, model=cheap-1")

    deployment.ask()

    assert [request.model for request in deployment.llm.requests] == ["cheap-1"]
    with pytest.raises(BudgetSpent):
        deployment.ask(request=Request(QUESTION.messages, model="dear", max_tokens=100))


def test_a_cheaper_model_does_not_help_against_a_budget_of_tokens() -> None:
    deployment = Deployment("day-tokens=50, model=cheap")

    with pytest.raises(BudgetSpent):
        deployment.ask()


def test_a_cheaper_model_that_is_not_there_takes_nobody_down(logged: pytest.LogCaptureFixture) -> None:
    deployment = Deployment("day-dollars=1, soft-percent=1, model=gone", act=answers("dear-1", Usage(10, 1000)))
    deployment.ask()

    deployment.ask()

    assert [request.model for request in deployment.llm.requests] == [None, None]
    assert "budget" in logged.messages


# Prices


def test_the_default_model_is_reserved_for_at_its_own_price_whatever_the_settings_call_it() -> None:
    deployment = Deployment("day-dollars=1")

    with closing(deployment.meter.stream(ME, QUESTION)) as events:
        next(events)
        assert deployment.counts()["d"] == 6 * 3_000 + 100 * 15_000


def test_a_model_without_a_price_counts_tokens_and_no_dollars() -> None:
    deployment = Deployment("day-dollars=0.000001, day-tokens=1M", act=answers("new-1"))

    deployment.ask(request=Request(QUESTION.messages, model="new-1"))

    assert (deployment.lines()[0].nano_dollars, deployment.counts().get("d", 0), deployment.counts()["t"]) == (None, 0, 12)


def test_a_model_in_this_process_costs_nothing() -> None:
    deployment = Deployment("day-dollars=0.000001", backend="echo", act=answers("any.gguf"))

    deployment.ask()

    assert deployment.lines()[0].nano_dollars == 0


def test_prices_that_can_not_be_read_are_told_before_a_model_is_asked() -> None:
    deployment = Deployment(prices="/nowhere")

    with pytest.raises(Misconfigured, match="PAI_PRICES"):
        deployment.ask()

    assert deployment.llm.requests == []


def test_a_model_that_hangs_is_not_asked_for_its_name() -> None:
    deployment = Deployment(act=fails(ModelTimeout("It said nothing.")))

    with pytest.raises(ModelTimeout):
        deployment.ask()

    assert (deployment.llm.listed, [line.model for line in deployment.lines()]) == (0, ["dear"])


# The owner's own limits


def test_what_the_owner_sets_takes_the_place_of_what_the_stage_sets_within_a_minute() -> None:
    deployment = Deployment("day-tokens=1M, key-day-tokens=1M")
    deployment.ask()
    deployment.store.update(*KEY, set={"day-tokens": 50})
    deployment.ask()

    deployment.clock.time += 60

    with pytest.raises(BudgetSpent, match="This deployment may use 50 tokens in a day"):
        deployment.ask()


# When the store fails


def test_without_a_store_no_model_is_asked() -> None:
    deployment = Deployment()
    deployment.store.down = True

    with pytest.raises(StoreUnavailable):
        deployment.ask()

    assert deployment.llm.requests == []


def test_an_answer_that_can_not_be_counted_is_given_all_the_same(logged: pytest.LogCaptureFixture) -> None:
    deployment = Deployment()
    events = deployment.meter.stream(ME, QUESTION)
    next(events)
    deployment.store.down = True

    assert isinstance(list(events)[-1], Finish)

    assert {(record.getMessage(), vars(record)["error"]) for record in logged.records} == {("unsettled", "StoreUnavailable")}
    deployment.store.down = False
    deployment.clock.time += 10 * 60
    deployment.ask()
    assert (deployment.counts()["t"], deployment.held()) == (12, 0)


def test_a_reservation_whose_answer_was_lost_on_its_way_is_not_made_twice() -> None:
    deployment = Deployment()
    deployment.store.loses_answers = True
    events = deployment.meter.stream(ME, QUESTION)

    next(events)

    deployment.store.loses_answers = False
    assert (deployment.counts()["t"], deployment.held()) == (MOST, 1)
    list(events)
    assert deployment.counts()["t"] == 12


def test_two_who_find_the_same_expired_reservation_take_it_off_once() -> None:
    deployment = Deployment()
    events = deployment.meter.stream(ME, QUESTION)
    next(events)
    deployment.clock.time += 10 * 60
    deployment.store.meanwhile = deployment.ask

    deployment.ask()

    assert (deployment.counts()["t"], deployment.held()) == (24, 0)
    events.close()
    assert deployment.counts()["t"] == 24 + 8


# Embeddings


def test_an_embedding_counts_under_its_own_model_and_is_no_answer() -> None:
    deployment = Deployment("day-dollars=1")

    with deployment.meter.embedding(ME, "amazon.titan-embed-text-v2:0", 1000):
        assert deployment.counts()["t"] == 1000

    assert [(line.model, line.usage, line.turns) for line in deployment.lines()] == [
        ("amazon.titan-embed-text-v2:0", Usage(1000), 0)
    ]


def test_an_embedding_whose_tokens_were_told_counts_those() -> None:
    deployment = Deployment()

    with deployment.meter.embedding(ME, "amazon.titan-embed-text-v2:0", 1000) as used:
        used.tokens = 700

    assert deployment.counts()["t"] == 700


def test_an_embedding_that_fails_counts_nothing() -> None:
    deployment = Deployment()

    with pytest.raises(ZeroDivisionError), deployment.meter.embedding(ME, "amazon.titan-embed-text-v2:0", 1000):
        raise ZeroDivisionError

    assert (deployment.counts().get("t", 0), deployment.lines(), deployment.held()) == (0, [], 0)


def test_an_embedding_that_passes_a_budget_is_refused_before_it_begins() -> None:
    deployment = Deployment("key-day-tokens=999")

    with pytest.raises(BudgetSpent), deployment.meter.embedding(ME, "amazon.titan-embed-text-v2:0", 1000):
        pytest.fail("it began")


# Clocks that jump


def test_a_clock_that_goes_back_an_hour_in_an_answer_loses_nothing() -> None:
    deployment = Deployment("day-tokens=1M, month-tokens=1M, key-minute-requests=5")
    events = deployment.meter.stream(ME, QUESTION)
    next(events)
    deployment.clock.time -= 3600

    list(events)
    deployment.ask()

    assert (deployment.counts()["t"], deployment.held()) == (24, 0)


def test_a_clock_that_goes_over_midnight_and_back_counts_each_answer_once() -> None:
    deployment = Deployment("day-tokens=1M, month-tokens=400")
    deployment.clock.time = MIDNIGHT - 5.0
    deployment.ask()
    events = deployment.meter.stream(ME, QUESTION)
    next(events)
    deployment.clock.time = MIDNIGHT + 5.0
    deployment.ask()
    deployment.clock.time = MIDNIGHT - 4.0
    list(events)

    deployment.ask()

    assert [(day.date, day.count("t")) for day in deployment.meter.ledger.days("2027-01")] == [
        ("2027-01-15", 36),
        ("2027-01-16", 12),
    ]
    with pytest.raises(BudgetSpent, match="in a month; "):  # 48 are used, also those of the day to come
        deployment.ask(request=Request(QUESTION.messages, max_tokens=353))


def test_a_refusal_from_a_future_that_was_none_holds_nobody_up() -> None:
    deployment = Deployment("day-tokens=110")
    deployment.ask()
    deployment.clock.time += 3600
    with pytest.raises(BudgetSpent):
        deployment.ask()
    deployment.store.update(*KEY, set={"day-tokens": 10**6})

    deployment.clock.time -= 3600

    deployment.meter.check(ME)


# How large a day is


def day_bytes(deployment: Deployment) -> int:
    """What DynamoDB counts of the day's item: its writes cost one unit for each 1,024 bytes."""
    (day,) = deployment.meter.ledger.days("2027-01")
    return sum(_bytes({name: value}) for name, value in day.item.items())


def _bytes(item: Item) -> int:
    size_checked({"pk": "p", "sk": "s", **item})
    sizes = {str: lambda value: len(value.encode()), int: lambda value: (len(str(value)) + 1) // 2 + 1}
    return sum(len(name.encode()) + sizes[type(value)](value) for name, value in item.items())


def use(deployment: Deployment, keys: int) -> None:
    """Have each of some keys ask two models, as large as a day's counts get."""
    for key in range(keys):
        for model in ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"):
            deployment.llm.acts = [answers(model, Usage(123_456, 23_456, 123_456, 23_456))]
            deployment.ask(Principal(f"owner-{key:03}", f"k_23456{key:03}"))


def test_a_day_with_two_keys_and_two_models_is_written_for_one_unit() -> None:
    deployment = Deployment("day-tokens=900M, key-minute-requests=60")
    use(deployment, keys=2)

    with closing(deployment.meter.stream(ME, QUESTION)) as events:
        next(events)
        assert day_bytes(deployment) <= 1024


def test_a_day_of_a_hundred_keys_is_as_large_as_the_docs_say() -> None:
    deployment = Deployment("day-tokens=900M, key-minute-requests=60")
    use(deployment, keys=100)

    assert day_bytes(deployment) <= 40_000
