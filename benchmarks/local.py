"""Tokens per second through POST /chat of a real `pai run`, against the same model called bare in its engine.

Both get the same system prompt, question, max_tokens and temperature 0, in turns, each question a new one to both. Time is
what the caller waits for, the reading of the prompt included.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.support.engine import DEFAULT_MODEL, bare_engine, model_file
from benchmarks.support.printing import Numbers, parser, show
from benchmarks.support.processes import environment, server

ROUNDS = 7
MAX_TOKENS = 96
SYSTEM_PROMPT = "You are a storyteller. Tell long stories with many details, and never stop early."
QUESTIONS = ("a dog who learns to read", "a lighthouse in the desert", "the last letter of a clockmaker", "two rival bakers")

Ask = Callable[[str], int]
"""Asks a question and returns how many tokens the answer has."""


def measure(model: str = DEFAULT_MODEL, rounds: int = ROUNDS, max_tokens: int = MAX_TOKENS) -> Numbers:
    path = model_file(model)
    with TemporaryDirectory() as folder, environment({"PAI_HOME": f"{folder}/home"}):
        run = ("-m", "pai", "run", "--port", "0", "--model", str(path))
        with server(Path(folder, "log"), *run) as url, bare_engine(path) as (engine, _):
            key = Path(folder, "home", "api-key").read_text().strip()
            client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=300)
            asks = (_through_chat(client, max_tokens), _bare(engine, max_tokens))
            speeds = [[_tokens_per_s(ask, _question(number)) for ask in asks] for number in range(1 + rounds)][1:]
    chat, bare = zip(*speeds, strict=True)
    return {
        "throughput_ratio": round(median(ours / theirs for ours, theirs in speeds), 3),
        "chat_tokens_per_s": round(median(chat), 2),
        "bare_tokens_per_s": round(median(bare), 2),
        "model": path.name,
        "max_tokens": max_tokens,
        "rounds": rounds,
    }


def _question(number: int) -> str:
    """Return a question that begins like no other: nothing but the system prompt is read from the engine's cache."""
    return f"{number}. Write a story about {QUESTIONS[number % len(QUESTIONS)]}."


def _tokens_per_s(ask: Ask, question: str) -> float:
    started = time.perf_counter()
    tokens = ask(question)
    return tokens / (time.perf_counter() - started)


def _through_chat(client: httpx.Client, max_tokens: int) -> Ask:
    def ask(question: str) -> int:
        body = {"message": question, "system_prompt": SYSTEM_PROMPT, "max_tokens": max_tokens, "temperature": 0}
        usage: Mapping[str, int] = client.post("/chat", json=body).raise_for_status().json()["usage"]
        return usage["output_tokens"]

    return ask


def _bare(engine: Any, max_tokens: int) -> Ask:
    def ask(question: str) -> int:
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
