"""What one plain turn of 2.7 KB costs on AWS, at several lengths of its conversation: calls, bytes, units, CPU.

The product's own /chat handler runs in this process, on stage dev against moto and the Bedrock stand-in, which run in
others. Each turn's calls are then made again by bare boto3 clients, on a copy of the table that is as the turn found it:
what the handler took beyond that is the product's own CPU time.
"""

import time
import uuid
from collections.abc import Sequence
from statistics import median
from typing import Any

import boto3
from botocore import xform_name

from benchmarks.support.account import dev_account
from benchmarks.support.asking import App, Event, ask, chat_event
from benchmarks.support.calls import READS, WRITES, Call, Recorder, count
from benchmarks.support.options import Option, number, run
from benchmarks.support.printing import Numbers, product_silenced
from benchmarks.support.seeding import ANSWER, QUESTION, Seeder
from benchmarks.support.tables import Images, Table, written_key, written_keys
from benchmarks.support.units import Index, read_units, write_units

LENGTHS = (1, 10, 100, 1000)
"""Turns that a conversation already has when the measured one comes."""
ROUNDS = 60
WARM_UPS = 3
DELTAS = 80
COPY = "PAI-Conversations-cpy"
"""As long as the real table's name, so that requests are as long too."""

Row = dict[str, Any]


def measure(lengths: Sequence[int] = LENGTHS, rounds: int = ROUNDS) -> Numbers:
    """Return the numbers; in lists, one value for each length. `first_turn` has those of a turn that begins a conversation."""
    with product_silenced(), dev_account(ANSWER, DELTAS):
        bench = Bench()
        kms_cold = bench.kms_calls_when_cold()
        events = [bench.event(length) for length in (0, *lengths)]
        costs = [bench.cost(event) for event in events]
        # The lengths take turns, so that a busy minute of this machine troubles them all alike.
        times = [[bench.times_s(event) for event in events] for _ in range(WARM_UPS + rounds)][WARM_UPS:]
    first, *rows = [cost | _cpu(timed) for cost, timed in zip(costs, zip(*times, strict=True), strict=True)]
    return {
        "lengths": list(lengths),
        **{name: [row[name] for row in rows] for name in first},
        "kms_cold": kms_cold,
        "kms_warm": max(row["kms_calls"] for row in (first, *rows)),
        "first_turn": first,
    }


def _cpu(timed: Sequence[tuple[float, float]]) -> Row:
    """Return medians of the CPU seconds of turns and of their bare calls, in milliseconds."""
    medians_s = {
        "cpu_ms": median(turn_s for turn_s, _ in timed),
        "sdk_cpu_ms": median(bare_s for _, bare_s in timed),
        "own_cpu_ms": median(turn_s - bare_s for turn_s, bare_s in timed),
    }
    return {name: round(seconds * 1000, 2) for name, seconds in medians_s.items()}


class Bench:
    """The product with a recorder on its clients, bare clients, and the table with its copy."""

    def __init__(self) -> None:
        # Made before the recorder is hooked in, which these clients must not have.
        self._bare = {service: boto3.client(service) for service in ("dynamodb", "bedrock-runtime")}
        self._recorder = Recorder()
        self._recorder.hook_in()
        # Imported when the account's environment is there, as in a Lambda function.
        from app import app
        from chalicelib import wiring

        self._app: App = app
        self._forget = wiring.parts.cache_clear
        parts = wiring.here()
        self._seeder = Seeder(parts.platform, parts.settings)
        self._table = Table(self._bare["dynamodb"], parts.settings.table)
        self._copy = Table(self._bare["dynamodb"], COPY)
        self._copy.create_like(self._table)
        self._index = Index.described(self._table.description())

    def event(self, length: int) -> Event:
        """Return the event of a question in a new conversation of this length; with 0, of one that begins a conversation."""
        return chat_event({"message": QUESTION, **({"conversation_id": self._seeded(length)} if length else {})})

    def kms_calls_when_cold(self) -> int:
        """Return how often the first turn of a process calls KMS, for an owner who has been here before."""
        event = self.event(1)
        self._forget()
        return count(self._turn(event), "kms")

    def cost(self, event: Event) -> Row:
        """Return what a turn costs, but for its time."""
        calls = self._turn(event)
        before = self._copy.images(written_keys(calls))
        units = {
            "read_units": sum(self._read_units(call) for call in calls if call.operation in READS),
            "write_units": sum(self._write_units(call) for call in calls if call.operation in WRITES),
        }
        self._rewind(before)
        return {
            "calls": [call.operation for call in calls],
            "reads": count(calls, "dynamodb", READS),
            "writes": count(calls, "dynamodb", WRITES),
            "budget_writes": sum(call.operation in WRITES and written_key(call)[0].startswith("U#") for call in calls),
            "writes_with_idempotency_key": self._writes_with_key(event),
            **units,
            "bedrock_calls": count(calls, "bedrock-runtime"),
            "kms_calls": count(calls, "kms"),
            "bytes_sent": sum(call.sent_bytes for call in calls),
            "bytes_received": sum(call.received_bytes for call in calls),
        }

    def times_s(self, event: Event) -> tuple[float, float]:
        """Return the CPU seconds of a turn, and of its bare calls."""
        started = time.process_time()
        calls = self._turn(event)
        turn_s = time.process_time() - started
        before = self._copy.images(written_keys(calls))
        started = time.process_time()
        for call in calls:
            self._again(call)
        bare_s = time.process_time() - started
        self._rewind(before)
        return turn_s, bare_s

    def _seeded(self, length: int) -> str:
        """Store a conversation of so many turns in both tables; return its id."""
        conversation_id = str(uuid.uuid4())
        items = [*self._seeder.conversation(conversation_id, length), self._seeder.owner_key()]
        for table in (self._table, self._copy):
            table.fill(items)
        return conversation_id

    def _turn(self, event: Event) -> list[Call]:
        return self._recorder.during(lambda: ask(self._app, event))

    def _writes_with_key(self, event: Event) -> int:
        keyed = {**event, "headers": {**event["headers"], "Idempotency-Key": str(uuid.uuid4())}}
        calls = self._turn(keyed)
        self._rewind(self._copy.images(written_keys(calls)))
        return count(calls, "dynamodb", WRITES)

    def _again(self, call: Call) -> Any:
        """Make a call again, by a bare client and on the copy."""
        params = {**call.params, "TableName": COPY} if call.service == "dynamodb" else call.params
        answer = getattr(self._bare[call.service], xform_name(call.operation))(**params)
        for _ in answer.get("stream", ()):
            pass
        return answer

    def _read_units(self, call: Call) -> int:
        answer = self._again(call)
        return read_units(answer["Items"] if call.operation == "Query" else [answer.get("Item", {})])

    def _write_units(self, call: Call) -> int:
        key = written_key(call)
        before = self._copy.image(key)
        self._again(call)
        return write_units(before, self._copy.image(key), self._index)

    def _rewind(self, before: Images) -> None:
        """Make the conversation again what it was, so that it is as long in each round."""
        for table in (self._table, self._copy):
            table.restore(before)


if __name__ == "__main__":
    lengths = Option("lengths", "turns that the conversation has", int, LENGTHS, many=True)
    run(__doc__, measure, lengths, number("rounds", ROUNDS, "timed turns at each length"))
