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
        return f"{self.amount:,.6g} {price.unit} × ${price.dollars:g}{per}"


@dataclass(frozen=True)
class Turn:
    """What one question and its answer take of AWS. Seconds and KB are assumptions, units are measured (benchmarks/)."""

    seconds: float = 5.0
    memory_gb: float = 1.0
    write_units: int = 9
    """Of the turn with its index, and of what holds it against the budgets."""
    read_units: int = 17
    log_kb: float = 2.0
    stored_kb: float = 5.0
    kms_share: float = 0.02
    """KMS requests: one opens all an owner has, for five minutes in each process."""


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
    return [
        Line("API Gateway", turns, "gateway_request", "one request a turn"),
        Line("Lambda, requests", turns * 1.1, "lambda_request", "the authorizer's decision is kept for 60 s"),
        Line(
            "Lambda, time",
            turns * turn.seconds * turn.memory_gb,
            "lambda_gb_s",
            f"{turn.seconds:g} s at {turn.memory_gb:g} GB",
        ),
        Line("DynamoDB, writes", turns * turn.write_units, "dynamodb_write", f"{turn.write_units} units a turn"),
        Line("DynamoDB, reads", turns * turn.read_units, "dynamodb_read", f"{turn.read_units} units a turn"),
        Line("DynamoDB, storage", turns * turn.stored_kb / 1e6, "dynamodb_gb", f"{turn.stored_kb:g} KB a turn, for one month"),
        Line("DynamoDB, backups", turns * turn.stored_kb / 1e6, "dynamodb_backup_gb", "the same, for recovery"),
        Line("KMS", turns * turn.kms_share, "kms_request", f"{turn.kms_share:g} a turn"),
        Line("logs", turns * turn.log_kb / 1e6, "log_gb", f"{turn.log_kb:g} KB a turn"),
    ]


def total(lines: Iterable[Line]) -> float:
    return sum(line.dollars for line in lines)


@dataclass(frozen=True)
class Month:
    """What a month has counted so far. `model` is dollars; `unpriced` are models whose price is not known."""

    turns: int
    model: float
    unpriced: Sequence[str]
    share: float
    """How much of the month has passed, 0 to 1."""

    def aws(self, turn: Turn) -> float:
        """Return dollars for what its turns took of AWS, by what one takes."""
        return total(per_turns(self.turns, turn))


def _metrics(entry: Any) -> int:
    """Return how many metrics an alarm is paid for: those it gathers, or its one."""
    if entry["Type"] != "AWS::CloudWatch::Alarm":
        return 0
    gathered = [metric for metric in entry["Properties"].get("Metrics", ()) if "MetricStat" in metric]
    return len(gathered) or 1
