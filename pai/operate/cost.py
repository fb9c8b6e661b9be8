"""What a stage costs: idle, by its template; for a turn, by what one takes; and this month, by what was counted. Pure.

A month has 730 hours. Free tiers are left out: most end after a year, the others are shared with all else in the account.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pai.operate.prices import aws_price
from pai.operate.template import holds

HOURS = 730
ROTATIONS = 2
"""Rotations of a key, one a year, that are paid for: with the third the price does not rise any more."""
FREE_DASHBOARDS = 3
POLLS = 5 * 3 * 60 * HOURS
"""Requests in a month of one queue that Lambda polls: five pollers, each waiting 20 s for a message.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""
POLLED = 2
"""Queues that functions work on while documents are on: the documents' and its dead letters."""
API_GB, WORKER_GB = 1.0, 0.5
"""Memory of the functions, as .chalice/config.json has it."""
FUNCTION_LOG_KB = 0.7
"""What a call of a function logs: Lambda's START, END and REPORT, a line of ours, and 26 bytes with each of them."""
ACCESS_LOG_KB = 0.3
"""API Gateway's line of a request, where it may log; at level ERROR its execution logs say nothing of one that went well."""
STORED_KB = 5.0
"""Of a turn, in the table: an assumption."""


@dataclass(frozen=True)
class Line:
    """One line of a bill: an amount at a price, and where the amount comes from."""

    what: str
    amount: float
    price: str
    why: str = ""

    @property
    def dollars(self) -> float:
        return aws_price(self.price).cost(self.amount)

    @property
    def formula(self) -> str:
        price = aws_price(self.price)
        per = f" / {price.per:,}" if price.per > 1 else ""
        return f"{self.amount:,.12g} {price.unit} × ${price.dollars:g}{per}"


@dataclass(frozen=True)
class Turn:
    """What one question and its answer take of AWS. The model speaks for 8.3 s; `source` is what measured it (benchmarks/).

    `polls` are requests for events, each held until there are words; `api_s` is how long the API's function runs in all.
    KMS requests are those of a turn after a pause, when no process has a key any more.
    """

    kind: str
    source: str
    polls: int
    api_s: float
    worker_s: float
    write_units: int
    """Of the turn with its index and its events, and of what holds it against the budgets."""
    read_units: int
    kms_requests: int
    """For the key ring; and of each function for the owner's key and, by DynamoDB itself, for the table's.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.howitworks.html"""

    @property
    def requests(self) -> int:
        """Requests to API Gateway, which are as many calls of the API's function."""
        return 1 + self.polls

    @property
    def workers(self) -> int:
        return 1 if self.worker_s else 0

    @property
    def calls(self) -> int:
        """Calls of functions: for each request, of the worker, and one of the authorizer."""
        return self.requests + self.workers + 1

    @property
    def gb_s(self) -> float:
        return self.api_s * API_GB + self.worker_s * WORKER_GB

    @property
    def log_kb(self) -> float:
        return self.calls * FUNCTION_LOG_KB + self.requests * ACCESS_LOG_KB


WAITED_FOR = Turn(
    kind="waited for",
    source="benchmarks.turn",
    polls=0,
    api_s=8.5,
    worker_s=0,
    write_units=9,
    read_units=17,
    kms_requests=3,
)
"""One request that lasts until the answer is there. 0.2 s beside the model's are an assumption: seven calls of 30 ms."""
FOLLOWED = Turn(
    kind="followed",
    source="benchmarks.stream",
    polls=23,
    api_s=8.7,
    worker_s=8.3,
    write_units=32,
    read_units=105,
    kms_requests=5,
)
"""A worker answers in the background, and requests for its words are held: as `pai chat` and `pai ask` do."""


def floor(template: Any, *, rag: bool, rotations: int = ROTATIONS) -> list[Line]:
    """Return what the resources of a template cost in a month in which nobody asks anything.

    `rotations` of each key that rotates have been, one a year. Log groups, queues, topics, an API, functions and a database
    at 0 ACU cost nothing while they hold and do nothing.
    """
    found = list(holds(template, {"EnableRag": str(rag).lower()}).resources(template).values())
    keys = [entry for entry in found if entry["Type"] == "AWS::KMS::Key"]
    turning = [key for key in keys if key["Properties"].get("EnableKeyRotation")]
    clusters = [entry for entry in found if entry["Type"] == "AWS::RDS::DBCluster"]
    own_secrets = sum(entry["Type"] == "AWS::SecretsManager::Secret" for entry in found)
    managed = sum(bool(entry["Properties"].get("ManageMasterUserPassword")) for entry in clusters)
    dashboards = max(0, sum(entry["Type"] == "AWS::CloudWatch::Dashboard" for entry in found) - FREE_DASHBOARDS)
    acu = sum(entry["Properties"]["ServerlessV2ScalingConfiguration"]["MinCapacity"] for entry in clusters)
    lines = [
        Line("KMS key", len(keys), "kms_key"),
        Line("its rotations", len(turning) * min(rotations, ROTATIONS), "kms_rotation", f"after {rotations} years"),
        Line("key ring", own_secrets, "secret"),
        Line("database's password", managed, "secret"),
        Line("alarms", sum(_metrics(entry) for entry in found), "alarm_metric", "each metric of each alarm"),
        Line("dashboards", dashboards, "dashboard", f"beyond {FREE_DASHBOARDS}"),
        Line("database at rest", acu * HOURS, "aurora_acu_hour", "MinCapacity"),
        Line("database's storage", len(clusters), "aurora_gb", "an empty one has less than 1 GB"),
        Line("polling of queues", POLLS * POLLED if clusters else 0, "sqs_request", f"{POLLED} queues, 5 pollers, 20 s"),
    ]
    return [line for line in lines if line.amount]


def per_turns(turns: float, turn: Turn) -> list[Line]:
    """Return what so many turns take of AWS, in one month, without the model."""
    measured = f"({turn.source})"
    polls = f", {turn.polls} polls {measured}" if turn.polls else ""
    worker = f", worker {turn.worker_s:g} s at {WORKER_GB:g} GB" if turn.workers else ""
    waits = f"API {turn.api_s:g} s at {API_GB:g} GB{worker} ({FOLLOWED.source})"
    called = f"{turn.requests} of the API, 1 of the authorizer{', 1 of the worker' if turn.workers else ''}"
    logged = f"{turn.calls} × {FUNCTION_LOG_KB:g} KB of functions, {turn.requests} × {ACCESS_LOG_KB:g} KB of API Gateway"
    keys = f"{turn.kms_requests} after a pause; keys are kept for 5 minutes"
    return [
        Line("API Gateway", turns * turn.requests, "gateway_request", f"1 question{polls}"),
        Line("Lambda, requests", turns * turn.calls, "lambda_request", called),
        Line("Lambda, time", turns * turn.gb_s, "lambda_gb_s", waits),
        Line("DynamoDB, writes", turns * turn.write_units, "dynamodb_write", f"{turn.write_units} units {measured}"),
        Line("DynamoDB, reads", turns * turn.read_units, "dynamodb_read", f"{turn.read_units} units {measured}"),
        Line("DynamoDB, storage", turns * STORED_KB / 1e6, "dynamodb_gb", f"{STORED_KB:g} KB, assumed, for one month"),
        Line("DynamoDB, backups", turns * STORED_KB / 1e6, "dynamodb_backup_gb", "the same, for recovery"),
        Line("KMS", turns * turn.kms_requests, "kms_request", keys),
        Line("Secrets Manager", turns, "secret_request", "1 after a pause; the key ring is kept for a minute"),
        Line("logs", turns * turn.log_kb / 1e6, "log_gb", logged),
    ]


def total(lines: Iterable[Line]) -> float:
    return sum(line.dollars for line in lines)


@dataclass(frozen=True)
class Part:
    """One line of what a month has cost so far."""

    what: str
    dollars: float
    formula: str
    why: str = ""


@dataclass(frozen=True)
class Month:
    """What a month has counted so far. `model` is dollars; `unpriced` are models whose price is not known.

    `idle` is what the stage costs in a whole month in which nobody asks anything. `documents` None is not known.
    """

    turns: int
    model: float
    unpriced: Sequence[str]
    share: float
    """How much of the month has passed, 0 to 1."""
    documents: bool | None
    idle: float

    def parts(self) -> list[Part]:
        """Return its lines."""
        each, least = (total(per_turns(1, turn)) for turn in (FOLLOWED, WAITED_FOR))
        why = f"as if all were followed, the dearer way: the counters don't tell; one waited for takes ${least:.6g}"
        documents = {True: "on", False: "off", None: "perhaps on"}[self.documents]
        return [
            Part("model", self.model, f"{self.turns:,} answers, as counted"),
            Part("AWS for them", self.turns * each, f"{self.turns:,} answers × ${each:.6g}", why),
            Part(f"idle, documents {documents}", self.idle * self.share, f"${self.idle:.2f} × {self.share:.1%} of the month"),
        ]

    @property
    def dollars(self) -> float:
        return sum(part.dollars for part in self.parts())


def _metrics(entry: Any) -> int:
    """Return how many metrics an alarm is paid for: those it gathers, or its one."""
    if entry["Type"] != "AWS::CloudWatch::Alarm":
        return 0
    gathered = [metric for metric in entry["Properties"].get("Metrics", ()) if "MetricStat" in metric]
    return len(gathered) or 1
