"""What may be spent: by the whole deployment and by each API key, in a day and a month, in tokens and dollars.

Limits are written `day-dollars=2, key-minute-requests=60` in PAI_BUDGET. One item of the store (`pk` B#, `sk` ~) holds those
that `pai budget set` has changed, under the same names. There is no way to change them over HTTP: a leaked key must not raise
its own budget.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chalicelib.errors import Misconfigured
from chalicelib.metering.prices import NANO
from chalicelib.settings import Settings
from chalicelib.store import Value

Scope = Literal["deployment", "key"]
Period = Literal["day", "month"]
Unit = Literal["tokens", "dollars"]

KEY = ("B#", "~")
SAFE = "day-dollars=2, month-dollars=20, day-tokens=2M, month-tokens=20M, key-minute-requests=60"
"""What holds for a deployment whose owner has said nothing."""
LOCAL = "local"
"""The stage whose models are free, and which has no limit unless its owner sets one."""

LONGEST_NAME = 256
MOST = 10**12


@dataclass(frozen=True)
class Budget:
    """One limit. `limit` is tokens, or nano-dollars."""

    scope: Scope
    period: Period
    unit: Unit
    limit: int

    @property
    def name(self) -> str:
        """What PAI_BUDGET and `pai budget set` call it."""
        return next(name for name, kind in BUDGETS.items() if kind == (self.scope, self.period, self.unit))


@dataclass(frozen=True)
class Limits:
    """What holds now. `requests` are those of one key in a minute, 0 is no limit.

    Where `soft_percent` of a budget are used, `model` answers in place of the default one; empty is none.
    """

    budgets: tuple[Budget, ...] = ()
    requests: int = 0
    soft_percent: int = 80
    model: str = ""

    def has(self, unit: Unit) -> bool:
        return any(budget.unit == unit for budget in self.budgets)


BUDGETS: Mapping[str, tuple[Scope, Period, Unit]] = {
    "day-dollars": ("deployment", "day", "dollars"),
    "month-dollars": ("deployment", "month", "dollars"),
    "day-tokens": ("deployment", "day", "tokens"),
    "month-tokens": ("deployment", "month", "tokens"),
    "key-day-dollars": ("key", "day", "dollars"),
    "key-month-dollars": ("key", "month", "dollars"),
    "key-day-tokens": ("key", "day", "tokens"),
    "key-month-tokens": ("key", "month", "tokens"),
}
NAMES = (*BUDGETS, "key-minute-requests", "soft-percent", "model")


def limits_of(values: Mapping[str, Value]) -> Limits:
    """Return the limits of checked values by name; 0 is no limit."""
    budgets = [Budget(*kind, _whole(values, name)) for name, kind in BUDGETS.items() if _whole(values, name)]
    return Limits(
        tuple(budgets),
        _whole(values, "key-minute-requests"),
        _whole(values, "soft-percent") or Limits.soft_percent,
        str(values.get("model", "")),
    )


def set_by_stage(settings: Settings) -> Mapping[str, Value]:
    """Return the values that the stage sets (PAI_BUDGET). Raises Misconfigured."""
    text = settings.budget or ("none" if settings.stage == LOCAL else SAFE)
    if text.strip() == "none":
        return {}
    try:
        return dict(_parsed(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Misconfigured(f"PAI_BUDGET is wrong: {error}") from None


def set_by_owner(item: Mapping[str, Value] | None) -> Mapping[str, Value]:
    """Return the values that `pai budget set` has put in place of the stage's."""
    return {name: value for name, value in (item or {}).items() if name in NAMES}


def value_of(name: str, text: str) -> Value:
    """Return a limit as it is kept; nano-dollars for dollars, `none` for no limit. Raises ValueError with a sentence."""
    text = text.strip()
    if name == "model":
        return "" if text == "none" else text[:LONGEST_NAME]
    if name == "soft-percent":
        return _percent(name, text)
    if text == "none":
        return 0
    if name.endswith("dollars"):
        return _nano_dollars(name, text)
    match = re.fullmatch(r"(\d[\d_]{0,15})([kM]?)", text)
    number = int(match[1]) * {"": 1, "k": 1000, "M": 10**6}[match[2]] if match else -1
    if not 0 <= number <= MOST:
        raise ValueError(f"{name} is {text[:40]!r}; write a whole number, such as 60, 500k or 2M, or none.")
    return number


def shown(name: str, value: Value) -> str:
    """Return a value as `value_of` reads it."""
    if not value:
        return "none"
    return dollars(int(value)) if name.endswith("dollars") else f"{value:,}" if isinstance(value, int) else str(value)


def dollars(nano: int) -> str:
    """Return nano-dollars for people: cents, or as many digits as something so small needs."""
    cents = f"${nano / NANO:,.2f}"
    return cents if nano % (NANO // 100) == 0 or nano >= NANO else f"${nano / NANO:.6f}".rstrip("0").rstrip(".")


def _parsed(part: str) -> tuple[str, Value]:
    name, _, text = (word.strip() for word in part.partition("="))
    if name not in NAMES or not text:
        raise ValueError(f"{part.strip()[:60]!r} is none of {', '.join(NAMES)}, each with = and a value.")
    return name, value_of(name, text)


def _percent(name: str, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d?|100", text):
        raise ValueError(f"{name} is {text[:40]!r}; write a whole number from 1 to 100.")
    return int(text)


def _nano_dollars(name: str, text: str) -> int:
    match = re.fullmatch(r"\$?(\d{1,6})(?:\.(\d{1,9}))?", text)
    if not match:
        raise ValueError(f"{name} is {text[:40]!r}; write dollars, such as 2 or 0.50, or none.")
    return int(match[1]) * NANO + int((match[2] or "").ljust(9, "0"))


def _whole(values: Mapping[str, Value], name: str) -> int:
    value = values.get(name, 0)
    return value if isinstance(value, int) else 0
