"""What answers cost, and what they may cost: every request to a language model goes through the `Meter`.

    meter.stream(who, request)    reserve the most that the answer can cost, hand out its words, settle on what it used
    ledger     one item a day: what was used and is reserved      limits   what may be spent
    prices     what tokens cost, as of a date                     report   what GET /usage says

A reservation is the prompt by estimate and the longest answer allowed, both in tokens and at the model's price. It is made
only if it fits under every limit: however many answers begin at once, a limit is passed by no more than what the estimates of
their prompts were short of.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from chalicelib import logs
from chalicelib.chat.prompt import count_tokens, request_tokens
from chalicelib.clock import iso
from chalicelib.errors import BudgetSpent, ModelInterrupted, ModelTimeout, PaiError, RateLimited
from chalicelib.llm import LLM, Event, Finish, Request, StopReason, Text, ToolCall
from chalicelib.metering.ledger import NOTHING, Amount, Ledger, Refusal, Reservation, line_of, payer_of
from chalicelib.metering.limits import KEY, Limits, dollars, limits_of, set_by_owner, set_by_stage
from chalicelib.metering.prices import FREE, Price, Prices, prices_of, runs_here
from chalicelib.records import Principal, Usage
from chalicelib.settings import Settings
from chalicelib.store import Store

LIMITS_S = 60.0
"""How long a process trusts the limits it has read."""
REFUSED_S = 30.0
"""How long a process remembers that a budget is spent, so that a client in a loop costs nothing."""
MODELS_S = 60.0
SLACK_S = 60.0
"""What a reservation outlives its answer by: to store it, and for clocks that differ."""

_Place = tuple[str, str, str]


class Cut(Exception):
    """Thrown into a stream by who has enough: `stream.throw(Cut("stopped"))` returns its `Finish`."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class _Heard:
    """What has been said of an answer that is being metered. The model does not count one that is cut off: we estimate."""

    who: Principal
    request: Request
    reservation: Reservation
    aside: bool
    on_settled: Callable[[Finish], object]
    said: str = ""
    settled: bool = False

    def estimate(self) -> Usage:
        return Usage(request_tokens(self.request), count_tokens(self.said))


@dataclass
class Embedded:
    """What one embedding used. Whoever is told the true number sets it; else it is the estimate."""

    tokens: int


class Meter:
    """Counts what the deployment's model does, and refuses what its owner has not allowed."""

    def __init__(self, llm: LLM, store: Store, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._llm = llm
        self._store = store
        self._settings = settings
        self.now = now
        self.ledger = Ledger(store, now)
        self._limits_read: tuple[float, Limits] = (-math.inf, Limits())
        self._models_read: tuple[float, Mapping[str | None, str]] = (-math.inf, {})
        self._refused: dict[_Place, tuple[float, Refusal]] = {}

    def check(self, who: Principal, model: str | None = None) -> None:
        """Raise BudgetSpent or RateLimited if this process was told so lately of this key and model. Asks nobody."""
        now = self.now()
        for place in _places(who, model):
            at, refusal = self._refused.get(place, (-math.inf, None))
            if refusal and 0 <= now - at < REFUSED_S and now < refusal.until:
                raise _error(refusal, now)

    def stream(
        self,
        who: Principal,
        request: Request,
        *,
        aside: bool = False,
        on_settled: Callable[[Finish], object] = lambda finish: None,
    ) -> Generator[Event]:
        """Yield the model's events. Raises BudgetSpent or RateLimited before it asks the model, and what the model raises.

        An answer that takes longer than `request.timeout_s` ends with what there is of it ("deadline"), and so does one that
        its caller throws a `Cut` into; both count by estimate, like one that is closed early. One that fails before its first
        word does not count at all; only a model that ran out of time has read the prompt, and may want to be paid for it.
        `aside`: nobody has asked for this; it is no turn, and not held against the key's rate. `on_settled` is told what is
        counted, also of an answer that an error cuts off, whose caller may keep what came before it.
        """
        request, reservation = self._hold(who, request, aside)
        heard = _Heard(who, request, reservation, aside, on_settled)
        unfinished = Usage()
        try:
            yield from self._words(heard)
        except ModelTimeout:
            unfinished = Usage(request_tokens(request))
            raise
        finally:
            if not heard.settled:
                # A model that said nothing may be one that hangs: nobody waits for it once more to learn its name.
                model = self._model_id(request.model) if heard.said else self._known_id(request.model)
                self._settle_answer(heard, Finish(heard.estimate() if heard.said else unfinished, "deadline", model))

    def _words(self, heard: "_Heard") -> Generator[Event]:
        """Yield what the model says, up to its end or its caller's; settle on it before the last event goes out."""
        request, until = heard.request, time.monotonic() + heard.request.timeout_s
        reason: StopReason = "deadline"
        with closing(self._llm.stream(request)) as events:
            try:
                for event in events:
                    if isinstance(event, Finish):
                        self._settle_answer(heard, event)
                        yield event
                        return
                    heard.said += _said(event)
                    yield event
                    if time.monotonic() >= until:
                        break
                else:
                    return
            except Cut as cut:
                reason = cut.reason
            except (ModelTimeout, ModelInterrupted):
                if not heard.said or time.monotonic() < until:
                    raise
        if reason == "deadline" and not heard.said:
            raise ModelTimeout("The model said nothing in time. Ask again, or ask for less.")
        finish = Finish(heard.estimate(), reason, self._model_id(request.model))
        self._settle_answer(heard, finish)
        yield finish

    @contextmanager
    def embedding(self, who: Principal, model: str, tokens: int) -> Iterator[Embedded]:
        """Meter the embedding of some texts, of so many tokens by estimate. One that fails counts nothing.

        Raises BudgetSpent or RateLimited before the block begins.
        """
        self.check(who, model)
        price = FREE if runs_here(self._settings.embedder) else self.prices().of(model)
        amount = Amount(tokens, price.at_most(tokens, 0) if price else 0)
        outcome = self.ledger.reserve(payer_of(who), amount, self.limits(), SLACK_S)
        if isinstance(outcome, Refusal):
            raise self._remember(who, model, outcome, Amount(1, 1))
        used = Embedded(tokens)
        try:
            yield used
        except BaseException:
            self._settle(who, outcome, model, Usage(), price)
            raise
        self._settle(who, outcome, model, Usage(used.tokens), price, turns=0)

    def limits(self) -> Limits:
        """Return what may be spent: as the owner has set it, else the stage. Raises StoreUnavailable, Misconfigured."""
        read_at, limits = self._limits_read
        now = self.now()
        if not 0 <= now - read_at < LIMITS_S:
            limits = limits_of({**set_by_stage(self._settings), **set_by_owner(self._store.get(*KEY))})
            self._limits_read = (now, limits)
        return limits

    def prices(self) -> Prices:
        """Return the prices that hold here. Raises Misconfigured."""
        return prices_of(self._settings)

    def _hold(self, who: Principal, request: Request, aside: bool) -> tuple[Request, Reservation]:
        """Reserve what the answer can cost. The request comes back with the cheaper model if that is due, or all that fits."""
        started = time.monotonic()
        self.check(who, request.model)
        self.prices()  # what is wrong with them shows before a model is asked
        limits = replace(self.limits(), requests=0) if aside else self.limits()
        amount = self._most(request, limits)
        outcome = self.ledger.reserve(payer_of(who), amount, limits, request.timeout_s + SLACK_S)
        cheaper = self._cheaper(request, limits, outcome)
        if isinstance(outcome, Refusal) and cheaper:
            amount = self._most(cheaper, limits)
            outcome = self.ledger.reserve(payer_of(who), amount, limits, request.timeout_s + SLACK_S)
        if isinstance(outcome, Refusal):
            raise self._remember(who, request.model, outcome, self._least(request, limits))
        left_s = max(request.timeout_s - (time.monotonic() - started), 0)
        return replace(cheaper or request, timeout_s=left_s), outcome

    def _most(self, request: Request, limits: Limits) -> Amount:
        """Return the most that an answer can use."""
        return self._amount(request, limits, request_tokens(request), request.max_tokens)

    def _least(self, request: Request, limits: Limits) -> Amount:
        """Return what must be left of a budget for it not to count as spent: a usual answer to no question at all."""
        return self._amount(request, limits, 0, min(request.max_tokens, self._settings.max_tokens))

    def _amount(self, request: Request, limits: Limits, asked_tokens: int, answer_tokens: int) -> Amount:
        name = request.model or self._settings.model
        price = (self._price(name) or self._price(self._model_id(request.model))) if limits.has("dollars") else None
        return Amount(asked_tokens + answer_tokens, price.at_most(asked_tokens, answer_tokens) if price else 0)

    def _cheaper(self, request: Request, limits: Limits, outcome: Reservation | Refusal) -> Request | None:
        """Return the request as the cheaper model gets it; None when that is not due, or the request names its model."""
        match outcome:
            case Reservation():
                due = outcome.soft
            case Refusal():
                due = outcome.budget is not None and outcome.budget.unit == "dollars"
        if not due or request.model or not limits.model:
            return None
        if limits.model not in self._models(limits.model):
            logs.log.warning("budget", extra={"reason": "the cheaper model is not one of this deployment's"})
            return None
        return replace(request, model=limits.model)

    def _price(self, model: str) -> Price | None:
        return FREE if runs_here(self._settings.llm) else self.prices().of(model)

    def _model_id(self, name: str | None) -> str:
        """Return what the backend calls a model; the name itself when the backend can't say."""
        self._models(name)
        return self._known_id(name)

    def _known_id(self, name: str | None) -> str:
        return self._models_read[1].get(name) or name or self._settings.model

    def _models(self, name: str | None) -> Mapping[str | None, str]:
        """Return the ids of the models by their ids and aliases; the default's under None. Asked again for a new name."""
        read_at, ids = self._models_read
        now = self.now()
        if name not in ids and not 0 <= now - read_at < MODELS_S:
            try:
                infos = self._llm.models()
            except PaiError:  # an answer is not given up for the name of its model
                return ids
            ids = {alias: info.id for info in reversed(infos) for alias in (None, *info.aliases, info.id)}
            self._models_read = (now, ids)
        return ids

    def _settle_answer(self, heard: _Heard, finish: Finish) -> None:
        heard.settled = True
        turns = 0 if heard.aside else 1
        self._settle(heard.who, heard.reservation, finish.model, finish.usage, self._price(finish.model), turns)
        heard.on_settled(finish)

    def _settle(
        self, who: Principal, reservation: Reservation, model: str, usage: Usage, price: Price | None, turns: int = 1
    ) -> None:
        """Count what was used and release the rest; nothing used is no answer. What can't be stored is logged, not raised."""
        tokens = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        used = Amount(tokens, price.at_least(usage) if price else 0) if tokens else NOTHING
        line = line_of(who, model, usage, price.cost(usage) if price else None, turns) if tokens else None
        try:
            self.ledger.settle(reservation, used, line)
        except PaiError as error:
            logs.log.warning("unsettled", extra={"error": error.code, "key_id": who.key_id, "tokens": tokens})

    def _remember(self, who: Principal, model: str | None, refusal: Refusal, least: Amount) -> PaiError:
        """Return the error of a refusal. It is remembered if too little is unused for a usual answer."""
        now = self.now()
        self._refused = {place: known for place, known in self._refused.items() if 0 <= now - known[0] < REFUSED_S}
        deployment, key, rate = _places(who, model)
        if refusal.budget is None:
            self._refused[rate] = (now, refusal)
        elif refusal.unused < least.of(refusal.budget.unit):
            self._refused[deployment if refusal.budget.scope == "deployment" else key] = (now, refusal)
        return _error(refusal, now)


def _said(event: Text | ToolCall) -> str:
    return event.text if isinstance(event, Text) else f"{event.name} {event.arguments}"


def _places(who: Principal, model: str | None) -> tuple[_Place, _Place, _Place]:
    """Return where refusals are remembered: of the deployment and of the key for this model, and of the key's rate."""
    return ("deployment", "", model or ""), ("key", payer_of(who), model or ""), ("rate", payer_of(who), "")


def _error(refusal: Refusal, now: float) -> PaiError:
    wait_s = max(math.ceil(refusal.until - now), 1)
    if refusal.budget is None:
        return RateLimited(
            f"This API key may make {refusal.needed:,} requests in a minute. Ask again in {wait_s} s, or have its owner raise "
            "the limit: `pai budget set`.",
            retry_after_s=wait_s,
        )
    budget = refusal.budget
    whose = "This API key" if budget.scope == "key" else "This deployment"
    limit, left, needed = (_amount(budget.unit, value) for value in (budget.limit, refusal.left, refusal.needed))
    if refusal.passes:
        wait = f"Answers under way hold the rest of it: ask again in {wait_s} s,"
    else:
        wait = f"The next {budget.period} begins {iso(refusal.until)[:10]} at 00:00 UTC: until then"
    error = BudgetSpent(
        f"{whose} may use {limit} in a {budget.period}; {left} are left, and this may need {needed}. "
        f"{wait} ask for less (`max_tokens`), or have the owner raise the limit: `pai budget set`.",
        retry_after_s=wait_s,
    )
    error.details = {"budget": budget.name, "resets_at": iso(refusal.until)}
    return error


def _amount(unit: str, value: int) -> str:
    return dollars(value) if unit == "dollars" else f"{value:,} tokens"
