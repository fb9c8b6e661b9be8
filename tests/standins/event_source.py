"""A stand-in for Lambda's event source mapping of an SQS queue: takes messages, calls a function with the very event that
Lambda gives it, deletes what it has done and leaves the rest in the queue.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html and services-sqs-errorhandling.html beside it. Time that messages
wait is not waited for: `let_time_pass` ends it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from chalice.local import LambdaContext

from tests.standins.processes import ROOT

Json = dict[str, Any]
MOST = 50
"""Invocations that a test may need in one go."""
Function = Callable[[Json, LambdaContext], object]


@dataclass(frozen=True)
class Invocation:
    """One call of the function: what it answered, or the error it ended with; and the ids of the messages left behind."""

    event: Json
    answer: Any = None
    error: Exception | None = None
    left: tuple[str, ...] = ()


@dataclass
class EventSource:
    """A mapping from the queue at this address. `partial_batches` is FunctionResponseTypes: [ReportBatchItemFailures]."""

    queue_url: str
    function: Function
    batch_size: int = 1
    partial_batches: bool = True
    timeout_s: float = 900
    _receipts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sqs: Any = boto3.client("sqs")
        answer = self._sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=["QueueArn"])
        self._arn = answer["Attributes"]["QueueArn"]

    def work(self) -> list[Invocation]:
        """Call the function until no message is to be had just now; return the invocations."""
        done: list[Invocation] = []
        while invocation := self.poll():
            done.append(invocation)
            assert len(done) < MOST, "One message seems to bring the next, without an end."
        return done

    def poll(self) -> Invocation | None:
        """Call the function with one batch; None if no message is to be had just now."""
        answer = self._sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=self.batch_size, MessageSystemAttributeNames=["All"]
        )
        messages = answer.get("Messages", [])
        if not messages:
            return None
        self._receipts |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        invocation = self._invoked({"Records": [self._record(message) for message in messages]})
        for message in messages:
            if message["MessageId"] not in invocation.left:
                self._sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=self._receipts.pop(message["MessageId"]))
        return invocation

    def let_time_pass(self) -> None:
        """Let the visibility timeouts of the messages that were left be over."""
        for receipt in self._receipts.values():
            self._sqs.change_message_visibility(QueueUrl=self.queue_url, ReceiptHandle=receipt, VisibilityTimeout=0)
        self._receipts.clear()

    def count(self) -> int:
        """Return how many messages are in the queue, whoever sees them."""
        names = ("", "NotVisible", "Delayed")
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self.queue_url, AttributeNames=[f"ApproximateNumberOfMessages{name}" for name in names]
        )
        return sum(map(int, counts["Attributes"].values()))

    def _record(self, message: Json) -> Json:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._arn,
            "awsRegion": self._arn.split(":")[3],
        }

    def _invoked(self, event: Json) -> Invocation:
        ids = tuple(record["messageId"] for record in event["Records"])
        context = LambdaContext(self._arn.rpartition(":")[2], 1024, max_runtime_ms=int(self.timeout_s * 1000))
        try:
            answer = json.loads(json.dumps(self.function(json.loads(json.dumps(event)), context)))
        except Exception as error:  # noqa: BLE001 - to Lambda all errors of a function are one
            return Invocation(event, error=error, left=ids)
        return Invocation(event, answer, left=_failures(answer, ids) if self.partial_batches else ())


def _failures(answer: Any, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return which messages a partial batch answer names; all, if it is none or names what was not in the batch."""
    if not answer or not answer.get("batchItemFailures", ids):
        return ()
    try:
        named = tuple(failure["itemIdentifier"] for failure in answer["batchItemFailures"])
    except (KeyError, TypeError):
        return ids
    return named if set(named) <= set(ids) else ids


class Killed(Exception):
    """What Lambda says of a function whose process has ended: Runtime exited, with this status."""


CALL = """
import json, sys
from chalice.local import LambdaContext
import app
app.documents(json.load(sys.stdin), LambdaContext("documents", 1024, 900_000))
"""


def killed(when: Callable[[], bool], temporary: str) -> Function:
    """Return app.py's `documents` in a process of its own, which is killed as soon as `when` says so.

    What it leaves behind in its folder of temporary files is left in `temporary`.
    """

    def call(event: Json, context: LambdaContext) -> object:
        command, environment = [sys.executable, "-c", CALL], {**os.environ, "TMPDIR": temporary}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            assert process.stdin
            process.stdin.write(json.dumps(event).encode())
            process.stdin.close()
            deadline = time.monotonic() + 60
            while process.poll() is None and not when() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
        raise Killed(process.returncode)

    return call
