"""Tokens per second through POST /chat of a real `pai run`, against the same model called bare in its engine.

Both get the same system prompt, question, max_tokens and temperature 0, by turns, and each question is new to both. Time is
what the caller waits for, the reading of the question included. The plain question has 700 bytes, as in benchmarks.turn.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import httpx

from benchmarks.support.engine import DEFAULT_MODEL
from benchmarks.support.options import MODEL, number, run
from benchmarks.support.printing import Numbers
from benchmarks.support.seeding import QUESTION
from benchmarks.support.side_by_side import side_by_side, to_engine, to_pai

ROUNDS = 10
MAX_TOKENS = 64
WAKING_TOKENS = 4
SHORT = "Tell me a story."
PLAIN = f"Go on with this story, at length: {QUESTION}"[: len(QUESTION) - len("00. ")]

Ask = Callable[[str, int], int]
"""Asks a question with this max_tokens; returns how many tokens the answer has."""


def measure(model: str = DEFAULT_MODEL, rounds: int = ROUNDS, max_tokens: int = MAX_TOKENS) -> Numbers:
    """Return the medians of both speeds, and of their ratio in each round; of a plain question, and of a short one."""
    with side_by_side(model) as sides:
        asks = {"chat": _through_chat(sides.pai), "bare": _bare(sides.engine)}
        plain = [_round(asks, number, PLAIN, max_tokens) for number in range(rounds)]
        short = [_round(asks, number, SHORT, max_tokens) for number in range(rounds)]
    return {
        **_medians(plain),
        "short_question": _medians(short),
        "model": sides.model,
        "max_tokens": max_tokens,
        "rounds": rounds,
    }


def _medians(speeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        "throughput_ratio": round(median(speed["chat"] / speed["bare"] for speed in speeds), 3),
        "chat_tokens_per_s": round(median(speed["chat"] for speed in speeds), 2),
        "bare_tokens_per_s": round(median(speed["bare"] for speed in speeds), 2),
    }


def _round(asks: Mapping[str, Ask], number: int, question: str, max_tokens: int) -> dict[str, float]:
    """Return the tokens per second of each, which take turns in being first. Questions differ from their beginning on."""
    names = sorted(asks, reverse=number % 2 == 0)
    return {name: _tokens_per_s(asks[name], f"{number:02}. {question}", max_tokens) for name in names}


def _tokens_per_s(ask: Ask, question: str, max_tokens: int) -> float:
    # While one of the two works, the other's memory gets cold, which is nothing of what is compared: wake it first.
    ask("Hello!", WAKING_TOKENS)
    started = time.perf_counter()
    tokens = ask(question, max_tokens)
    return tokens / (time.perf_counter() - started)


def _through_chat(client: httpx.Client) -> Ask:
    def ask(question: str, max_tokens: int) -> int:
        answer = client.post("/chat", json=to_pai(question, max_tokens)).raise_for_status().json()
        return int(answer["usage"]["output_tokens"])

    return ask


def _bare(engine: Any) -> Ask:
    def ask(question: str, max_tokens: int) -> int:
        answer = engine.handle_chat_completions(to_engine(question, max_tokens))
        return int(answer["usage"]["completion_tokens"])

    return ask


if __name__ == "__main__":
    rounds, longest = (
        number("rounds", ROUNDS, "timed answers of each"),
        number("max_tokens", MAX_TOKENS, "length of an answer"),
    )
    run(__doc__, measure, MODEL, rounds, longest)
