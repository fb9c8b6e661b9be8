"""Whether words come as soon as they are made, on one machine and on AWS, and what following an answer costs there.

One machine: a real `pai run` whose turn is followed over HTTP, by turns with the same model read straight from its engine.
Both get the same system prompt, question, max_tokens and temperature 0; each question is new to both. Conversations are not
named by the model meanwhile (PAI_TITLES=0).

AWS: stage dev through plain `chalice local`, which like API Gateway can't stream: requests for events are held. moto, the
worker's Lambda and the Bedrock stand-in are other processes, each call 30 ms away. The stand-in says a word every 50 ms, for
8 s. By turns with boto3 that reads the same answer from the stand-in itself. Owner's key and key ring are warm, as API
Gateway's authorizer cache is not there to help: it would save a call.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import httpx

from benchmarks.support import bill
from benchmarks.support.account import bedrock_server, create_stack, script, settings
from benchmarks.support.engine import DEFAULT_MODEL
from benchmarks.support.options import MODEL, number, run
from benchmarks.support.printing import Numbers
from benchmarks.support.processes import environment
from benchmarks.support.seeding import QUESTION
from benchmarks.support.side_by_side import Sides, client_of, side_by_side, to_engine, to_pai
from benchmarks.support.slow_aws import AWAY_S
from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.platform import aws
from chalicelib.settings import read_settings
from pai.sse import EventSource
from pai.stage import enter_stage
from tests.standins.processes import server

ROUNDS = 10
MAX_TOKENS = 64
STORY = f"Go on with this story, at length: {QUESTION}"
WORDS, WORD_S = 160, 0.05
"""An answer of 8 s."""
MODEL_ID = "anthropic.claude-sonnet-4-20250514-v1:0"
ASYNC = {"Prefer": "respond-async"}
CHALICE = ("-c", "from chalice.cli import main; main()", "local", "--no-autoreload", "--stage", "dev", "--port")


@dataclass(frozen=True)
class Heard:
    """When the first word came and when the end, in seconds; how many requests for events that took, and how long together."""

    first_s: float
    total_s: float
    polls: int = 0
    held_s: float = 0.0


def measure(model: str = DEFAULT_MODEL, rounds: int = ROUNDS, words: int = WORDS) -> Numbers:
    """Return the medians. Times of one machine are differences and ratios within a round; so are those on AWS."""
    return {**one_machine(model, rounds), **on_aws(rounds, words)}


def one_machine(model: str, rounds: int) -> Numbers:
    with side_by_side(model) as sides:
        pairs = [_round(sides, number) for number in range(rounds)]
    return {
        "first_word_extra_ms": _ms(pai.first_s - bare.first_s for pai, bare in pairs),
        "total_ratio": round(median(pai.total_s / bare.total_s for pai, bare in pairs), 3),
        "first_word_ms": _ms(pai.first_s for pai, _ in pairs),
        "engine_first_word_ms": _ms(bare.first_s for _, bare in pairs),
        "model": sides.model,
        "max_tokens": MAX_TOKENS,
        "rounds": rounds,
    }


def _round(sides: Sides, number: int) -> tuple[Heard, Heard]:
    """Return what was heard of PAI and of the engine, which take turns in being first."""
    question = f"{number:02}. {STORY}"[: len(QUESTION)]
    asks: list[Callable[[], Heard]] = [
        lambda: _followed(sides.pai, to_pai(question, MAX_TOKENS)),
        lambda: _from_engine(sides.engine, question),
    ]
    heard = [ask() for ask in (asks if number % 2 else asks[::-1])]
    pai, bare = heard if number % 2 else heard[::-1]
    return pai, bare


def _from_engine(engine: Any, question: str) -> Heard:
    times: list[float] = []

    def hear(chunk: Mapping[str, Any]) -> bool:
        if any(choice["delta"].get("content") for choice in chunk.get("choices", ())):
            times.append(time.perf_counter())
        return False

    started = time.perf_counter()
    engine.handle_chat_completions(to_engine(question, MAX_TOKENS) | {"stream": True}, hear)
    return Heard(times[0] - started, time.perf_counter() - started)


def _followed(client: httpx.Client, body: Mapping[str, Any]) -> Heard:
    """Ask for an answer in the background and follow it to its end, as a client does."""
    started = time.perf_counter()
    turn = client.post("/chat", json=body, headers=ASYNC).raise_for_status().json()
    path = f"/conversations/{turn['conversation_id']}/turns/{turn['turn_id']}/events"
    source, first, polls, held_s = EventSource(), 0.0, 0, 0.0
    while True:
        polls, asked = polls + 1, time.perf_counter()
        with client.stream("GET", path, headers={"Last-Event-ID": source.last_id} if source.last_id else {}) as response:
            for event in source.read(response.iter_bytes()):
                first = first or (time.perf_counter() if event.kind == "text" else 0.0)
                if event.kind == "failed":
                    raise RuntimeError(f"The turn failed: {event.data}")
                if event.kind == "done":
                    now = time.perf_counter()
                    return Heard((first or now) - started, now - started, polls, held_s + now - asked)
        held_s += time.perf_counter() - asked


def on_aws(rounds: int, words: int) -> Numbers:
    with _account(words) as (url, key, log, runtime), client_of(url, key) as client:
        conversation_id = client.post("/chat", json={"message": "Hello!"}).raise_for_status().json()["conversation_id"]
        body = {"message": QUESTION, "conversation_id": conversation_id}
        _followed(client, body)
        start = log.stat().st_size
        pairs = [(_followed(client, body), _from_bedrock(runtime)) for _ in range(rounds)]
        calls = [json.loads(line) for line in log.read_bytes()[start:].splitlines()]
    polls, held_s = (median(getattr(pai, name) for pai, _ in pairs) for name in ("polls", "held_s"))
    units = {name: sum(call.get(name, 0) for call in calls) / rounds for name in ("write_units", "read_units")}
    answer_s = median(bare.total_s for _, bare in pairs)
    return {
        "aws_first_word_extra_ms": _ms(pai.first_s - bare.first_s for pai, bare in pairs),
        "aws_total_extra_ms": _ms(pai.total_s - bare.total_s for pai, bare in pairs),
        "aws_answer_s": round(answer_s, 2),
        "polls_per_turn": polls,
        **{f"aws_{name}": round(value, 1) for name, value in units.items()},
        "dollars_per_million_turns": round(bill.requests_and_units(1 + polls, 2 + polls, **units), 2),
        "dollars_per_million_turns_of_function_time": round(bill.function_time(held_s, answer_s), 2),
    }


@contextmanager
def _account(words: int) -> Iterator[tuple[str, str, Path, Any]]:
    """Yield stage dev's address, an API key of it, the log of its calls to AWS, and a client of its Bedrock."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        moto = stack.enter_context(server(folder / "moto", "-m", "benchmarks.support.slow_aws", str(folder / "calls")))
        bedrock = stack.enter_context(bedrock_server(folder))
        ours = settings(folder, moto, bedrock)
        stack.enter_context(environment(ours))
        create_stack()
        functions = stack.enter_context(server(folder / "functions", "-m", "benchmarks.support.functions"))
        stack.enter_context(environment({**ours, "AWS_ENDPOINT_URL_LAMBDA": functions}))
        token = _new_key()
        url = stack.enter_context(server(folder / "chalice", *CHALICE, str(_free_port())))
        script(bedrock, {"reply": "word " * words, "deltas": words, "delay_s": WORD_S, "stall_s": AWAY_S, "at": -1})
        yield url, token, folder / "calls", boto3.client("bedrock-runtime")


def _new_key() -> str:
    """Put an API key into the ring of stage dev; return its token."""
    with environment(dict(os.environ)):
        enter_stage("dev")
        keys = aws.build(read_settings()).keys
    key, token = keyring.new_key("bench", "bench", iso(time.time()))
    keys.save(keyring.add(keys.load(), key))
    return token


def _from_bedrock(runtime: Any) -> Heard:
    """Read an answer from the stand-in, as bare boto3 does."""
    started, first = time.perf_counter(), 0.0
    message = {"role": "user", "content": [{"text": QUESTION}]}
    for event in runtime.converse_stream(modelId=MODEL_ID, messages=[message])["stream"]:
        if "contentBlockDelta" in event:
            first = first or time.perf_counter()
    return Heard(first - started, time.perf_counter() - started)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _ms(seconds: Iterable[float]) -> float:
    return round(median(seconds) * 1000, 1)


if __name__ == "__main__":
    rounds, words = number("rounds", ROUNDS, "timed answers of each"), number("words", WORDS, "length of an answer on AWS")
    run(__doc__, measure, MODEL, rounds, words)
