"""What tokens cost: the dated price file of the repository, and what the owner says instead (PAI_PRICES). Pure, but for files.

An id has a price only as it stands in the file, region's prefix and all: `us.` costs a tenth more than `global.` for some
models, and another region's ids cost something else. What is not in it has no price, and nobody guesses one.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from chalicelib.errors import Misconfigured
from chalicelib.records import Usage
from chalicelib.settings import Settings

FILE = Path(__file__).resolve().parent.parent / "prices.json"
KINDS = ("input", "output", "cache_read", "cache_write")
NANO = 10**9
"""Nano-dollars in a dollar: what dollars are counted in, so that ten tokens of an embedding cost something."""
NANO_PER_TOKEN = NANO / 10**6


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens of each kind; None is not known. `over` holds for prompts of more than `over_tokens`."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    over_tokens: int = 0
    over: "Price | None" = None

    def cost(self, usage: Usage) -> int | None:
        """Return what this costs in nano-dollars, rounded up; None when it holds tokens of a kind whose price is not known."""
        price = self._band(usage)
        amounts = ((usage.cache_read_tokens, price.cache_read), (usage.cache_write_tokens, price.cache_write))
        if any(tokens and rate is None for tokens, rate in amounts):
            return None
        return price.at_least(usage)

    def at_least(self, usage: Usage) -> int:
        """Return nano-dollars to hold against a budget: a kind whose price is not known counts as plain input."""
        price = self._band(usage)
        dollars = (
            usage.input_tokens * price.input
            + usage.output_tokens * price.output
            + usage.cache_read_tokens * (price.input if price.cache_read is None else price.cache_read)
            + usage.cache_write_tokens * (price.input if price.cache_write is None else price.cache_write)
        )
        return math.ceil(round(dollars * NANO_PER_TOKEN, 3))

    def at_most(self, asked_tokens: int, answer_tokens: int) -> int:
        """Return the most nano-dollars that an answer of this length can cost: the whole prompt may go into the cache."""
        written = Usage(output_tokens=answer_tokens, cache_write_tokens=asked_tokens)
        return max(self.at_least(written), self.at_least(Usage(asked_tokens, answer_tokens)))

    def _band(self, usage: Usage) -> "Price":
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        return self.over if self.over and prompt > self.over_tokens else self


FREE = Price(0, 0, 0, 0)
"""What a model costs that runs in this process."""


@dataclass(frozen=True)
class Prices:
    """Prices by the models' ids, and of when they are."""

    as_of: str
    source: str
    models: Mapping[str, Price]

    def of(self, model: str) -> Price | None:
        """Return the price of a model; an ARN means the id at its end."""
        return self.models.get(model) or self.models.get(model.rpartition("/")[2] if model.startswith("arn:") else "")


def prices_of(settings: Settings) -> Prices:
    """Return the prices that hold here. Raises Misconfigured when PAI_PRICES can't be read."""
    return _prices(settings.prices.strip())


def runs_here(backend: str) -> bool:
    """Whether a backend of this name (PAI_LLM, PAI_EMBEDDER) runs its model in this process, which costs no tokens' price."""
    return backend in ("echo", "hashed") or backend.startswith("pai.local.")


@lru_cache(maxsize=4)
def _prices(given: str) -> Prices:
    ours = _read(FILE.read_text())
    if not given:
        return ours
    try:
        theirs = _read(given if given.startswith("{") else Path(given).expanduser().read_text())
    except OSError as error:
        raise Misconfigured(f"PAI_PRICES names {given[:200]!r}, which can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"PAI_PRICES is not like chalicelib/prices.json: {error}.") from error
    return Prices(theirs.as_of or ours.as_of, theirs.source or ours.source, {**ours.models, **theirs.models})


def _read(text: str) -> Prices:
    """Return what a price file says. Raises ValueError."""
    data = json.loads(text)
    if not isinstance(data, dict) or not isinstance(data.get("models"), dict):
        raise ValueError("it is no JSON object with a member `models`")
    models = {model: _price(f"models.{model}", price) for model, price in data["models"].items()}
    return Prices(str(data.get("as_of", "")), str(data.get("source", "")), models)


def _price(name: str, data: Any) -> Price:
    if not isinstance(data, dict) or not data.keys() <= {*KINDS, "over"} or not data.keys() >= {"input", "output"}:
        raise ValueError(f"{name} must have input and output, and may have cache_read, cache_write and over")
    rates = {kind: _rate(f"{name}.{kind}", data[kind]) for kind in KINDS if kind in data}
    price = Price(rates["input"], rates["output"], rates.get("cache_read"), rates.get("cache_write"))
    if "over" not in data:
        return price
    over = data["over"]
    if not isinstance(over, dict) or not isinstance(over.get("prompt_tokens"), int):
        raise ValueError(f"{name}.over must have prompt_tokens, a whole number, and prices")
    further = _price(f"{name}.over", {kind: rate for kind, rate in over.items() if kind != "prompt_tokens"})
    return replace(price, over_tokens=over["prompt_tokens"], over=further)


def _rate(name: str, value: Any) -> float:
    """Return dollars for a million tokens."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError(f"{name} must be dollars for a million tokens, 0 or more")
    return float(value)
