"""Tokens per second through POST /chat of a real `pai run`, against the same model called bare in its engine.

Both get the same system prompt, question, max_tokens and temperature 0, by turns, and each question is new to both. Time is
what the caller waits for, the reading of the question included. The plain question has 700 bytes, as in benchmarks.turn.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.support.engine import DEFAULT_MODEL, bare_engine, model_file
from benchmarks.support.printing import Numbers, parser, show
from benchmarks.support.processes import environment, server
from benchmarks.support.seeding import QUESTION

ROUNDS = 10
MAX_TOKENS = 64
WAKING_TOKENS = 4
SYSTEM_PROMPT = "You are a storyteller. Tell long stories with many details, and never stop early."
SHORT = "Tell me a story."
PLAIN = f"Go on with this story, at length: {QUESTION}"[: len(QUESTION) - len("00. ")]

Ask = Callable[[str, int], int]
"""Asks a question with this max_tokens; returns how many tokens the answer has."""


def measure(model: str = DEFAULT_MODEL, rounds: int = ROUNDS, max_tokens: int = MAX_TOKENS) -> Numbers:
    """Return the medians of both speeds, and of their ratio in each round; of a plain question, and of a short one."""
    path = model_file(model)
    with TemporaryDirectory() as folder, environment({"PAI_HOME": f"{folder}/home", "PAI_TITLES": "0"}):
        run = ("-m", "pai", "run", "--port", "0", "--model", str(path))
        with server(Path(folder, "log"), *run) as url, bare_engine(path) as (engine, _):
            key = Path(folder, "home", "api-key").read_text().strip()
            asks = {"chat": _through_chat(url, key), "bare": _bare(engine)}
            plain = [_round(asks, number, PLAIN, max_tokens) for number in range(rounds)]
            short = [_round(asks, number, SHORT, max_tokens) for number in range(rounds)]
    return {
        **_medians(plain),
        "short_question": _medians(short),
        "model": path.name,
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


def _through_chat(url: str, key: str) -> Ask:
    client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=300)

    def ask(question: str, max_tokens: int) -> int:
        body = {"message": question, "system_prompt": SYSTEM_PROMPT, "max_tokens": max_tokens, "temperature": 0}
        answer = client.post("/chat", json=body).raise_for_status().json()
        return int(answer["usage"]["output_tokens"])

    return ask


def _bare(engine: Any) -> Ask:
    def ask(question: str, max_tokens: int) -> int:
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": question}]
        answer = engine.handle_chat_completions({"messages": messages, "max_tokens": max_tokens, "temperature": 0})
        return int(answer["usage"]["completion_tokens"])

    return ask


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--model", default=DEFAULT_MODEL, help="a name of the catalogue, or the path of a GGUF file")
    arguments.add_argument("--rounds", type=int, default=ROUNDS, help="timed answers of each")
    arguments.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="length of an answer")
    given = arguments.parse_args()
    show(measure(given.model, given.rounds, given.max_tokens), given.json)


if __name__ == "__main__":
    main()
