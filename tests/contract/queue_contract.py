"""What the queue of every platform must do. A backend of one's own passes it too: subclass QueueContract, give it a `box`.

Who calls the functions is part of it: a platform does so by itself, and where Lambda would, the test's `box` stands in.
"""

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib.errors import BadRequest, QueueUnavailable, TooLarge
from chalicelib.platform import DEAD_LETTERS, DOCUMENTS, MOST_RECEIVES, QUEUES, Queue, QueueFunction

LONGEST_S = 10
"""How long a test waits for what must come; nothing that passes waits so long."""

Does = Callable[["Delivery"], object]


@dataclass(frozen=True)
class Delivery:
    """One message, as a queue's function was given it."""

    queue: str
    record: Mapping[str, Any]

    @property
    def body(self) -> str:
        return str(self.record["body"])

    @property
    def receives(self) -> int:
        return int(self.record["attributes"]["ApproximateReceiveCount"])


def done(delivery: Delivery) -> object:
    return {"batchItemFailures": []}


def fails(delivery: Delivery) -> object:
    raise ZeroDivisionError


def says_failed(delivery: Delivery) -> object:
    return {"batchItemFailures": [{"itemIdentifier": delivery.record["messageId"]}]}


class Functions:
    """The functions of a queue: they keep what they are given, and then do what a test says."""

    def __init__(self) -> None:
        self.does: Does = done
        self.buries: Does = done
        self.both: Mapping[str, QueueFunction] = {name: self._of(name) for name in (DOCUMENTS, DEAD_LETTERS)}
        self._given: queue.Queue[Delivery] = queue.Queue()

    def _of(self, name: str) -> QueueFunction:
        def function(event: Mapping[str, Any], context: object) -> object:
            [record] = event["Records"]
            delivery = Delivery(name, record)
            try:
                return (self.buries if name == DEAD_LETTERS else self.does)(delivery)
            finally:
                self._given.put(delivery)

        return function

    def next(self) -> Delivery:
        """Return the next message that a function has been given."""
        return self._given.get(timeout=LONGEST_S)

    def bodies(self, count: int) -> list[str]:
        return [self.next().body for _ in range(count)]


@dataclass
class Box:
    """A queue of its own, empty, whose messages are brought to the functions of QUEUES."""

    queue: Queue

    def comes_to(self, count: int) -> bool:
        """Whether before long so many messages are left."""
        deadline = time.monotonic() + LONGEST_S
        while self.queue.waiting() != count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.queue.waiting() == count


class QueueContract:
    @pytest.fixture
    def functions(self) -> Iterator[Functions]:
        """Functions in the places of those that `app.py` declares."""
        before, ours = dict(QUEUES), Functions()
        QUEUES.update(ours.both)
        yield ours
        QUEUES.clear()
        QUEUES.update(before)

    @pytest.fixture
    def box(self, functions: Functions) -> Iterator[Box]:
        raise NotImplementedError("Yield an empty queue whose messages are brought to QUEUES, and stop that at the end.")

    def again(self, box: Box, does: Does = fails) -> Does:
        """Fail, and ask to be tried again at once."""

        def fail_for_now(delivery: Delivery) -> object:
            box.queue.retry_in(delivery.record["receiptHandle"], 0)
            return does(delivery)

        return fail_for_now

    # Delivery

    def test_a_message_is_delivered_as_lambda_would(self, box: Box, functions: Functions) -> None:
        body = '{"who": "Ä \\n 🐈", "<&>": "line\n\ttab"}'
        sent_ms = time.time() * 1000
        box.queue.send(body)
        given = functions.next()
        assert (given.queue, given.body, given.receives) == (DOCUMENTS, body, 1)
        assert given.record["eventSource"] == "aws:sqs"
        assert given.record["messageId"] != given.record["receiptHandle"] != ""
        assert abs(int(given.record["attributes"]["SentTimestamp"]) - sent_ms) < 60_000

    def test_what_was_done_is_not_delivered_again(self, box: Box, functions: Functions) -> None:
        box.queue.send("once")
        assert functions.next().body == "once"
        assert box.comes_to(0)
        box.queue.send("more")
        assert functions.next().body == "more"

    def test_every_message_of_many_senders_is_delivered(self, box: Box, functions: Functions) -> None:
        sent = {f"message {number}" for number in range(24)}
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(box.queue.send, sent))
        assert sorted(functions.bodies(len(sent))) == sorted(sent)
        assert box.comes_to(0)

    def test_a_function_may_send_what_is_to_follow(self, box: Box, functions: Functions) -> None:
        def follow(delivery: Delivery) -> object:
            if delivery.body == "first":
                box.queue.send("second")
            return done(delivery)

        functions.does = follow
        box.queue.send("first")
        assert functions.bodies(2) == ["first", "second"]

    def test_a_delayed_message_lets_others_go_first(self, box: Box, functions: Functions) -> None:
        box.queue.send("later", delay_s=1)
        box.queue.send("now")
        assert functions.bodies(2) == ["now", "later"]

    def test_a_message_may_be_delayed_by_a_quarter_of_an_hour(self, box: Box, functions: Functions) -> None:
        box.queue.send("later", delay_s=900)
        box.queue.send("now")
        assert functions.next().body == "now"
        assert box.comes_to(1)

    # Failure

    @pytest.mark.parametrize("failure", [fails, says_failed])
    def test_a_message_that_failed_is_delivered_again(self, box: Box, functions: Functions, failure: Does) -> None:
        again = self.again(box, failure)
        functions.does = lambda delivery: again(delivery) if delivery.receives == 1 else done(delivery)
        box.queue.send("x")
        first, second = functions.next(), functions.next()
        assert (second.body, second.receives) == ("x", 2)
        assert second.record["messageId"] == first.record["messageId"]
        assert second.record["receiptHandle"] != first.record["receiptHandle"]
        assert box.comes_to(0)

    def test_a_message_that_failed_holds_no_other_up(self, box: Box, functions: Functions) -> None:
        functions.does = lambda delivery: fails(delivery) if delivery.body == "bad" else done(delivery)
        for body in ("bad", "good", "better"):
            box.queue.send(body)
        assert sorted(functions.bodies(3)) == ["bad", "better", "good"]
        assert box.comes_to(1)

    def test_a_message_that_fails_three_times_is_a_dead_letter(self, box: Box, functions: Functions) -> None:
        functions.does = self.again(box)
        box.queue.send("poison")
        given = [functions.next() for _ in range(MOST_RECEIVES + 1)]
        assert [(delivery.queue, delivery.body) for delivery in given] == [
            *[(DOCUMENTS, "poison")] * MOST_RECEIVES,
            (DEAD_LETTERS, "poison"),
        ]
        assert [delivery.receives for delivery in given[:MOST_RECEIVES]] == [1, 2, 3]
        assert given[-1].record["messageId"] == given[0].record["messageId"]

    def test_a_message_that_is_done_at_the_last_try_is_no_dead_letter(self, box: Box, functions: Functions) -> None:
        again = self.again(box)
        functions.does = lambda delivery: again(delivery) if delivery.receives < MOST_RECEIVES else done(delivery)
        box.queue.send("x")
        assert [functions.next().receives for _ in range(MOST_RECEIVES)] == [1, 2, 3]
        assert box.comes_to(0)
        box.queue.send("next")
        assert functions.next().body == "next"

    # Counting

    def test_what_waits_is_counted_and_so_is_what_is_being_handled(self, box: Box, functions: Functions) -> None:
        counts: queue.Queue[int] = queue.Queue()

        def count(delivery: Delivery) -> object:
            counts.put(box.queue.waiting())
            return done(delivery)

        functions.does = count
        box.queue.send("later", delay_s=900)
        box.queue.send("now")
        assert counts.get(timeout=LONGEST_S) == 2
        assert box.comes_to(1)

    def test_dead_letters_are_not_counted(self, box: Box, functions: Functions) -> None:
        functions.does, functions.buries = self.again(box), fails
        box.queue.send("poison")
        assert [functions.next().queue for _ in range(MOST_RECEIVES + 1)][-1] == DEAD_LETTERS
        assert box.queue.waiting() == 0

    # Refusals

    def test_the_largest_message_arrives_whole(self, box: Box, functions: Functions) -> None:
        body = "ä" * (128 * 1024)
        box.queue.send(body)
        assert functions.next().body == body

    def test_what_no_queue_takes_is_refused_and_not_sent(self, box: Box, subtests: pytest.Subtests) -> None:
        for body, delay_s, error, field in (
            ("x" * (256 * 1024 + 1), 0, TooLarge, "message"),
            ("ä" * (128 * 1024) + "x", 0, TooLarge, "message"),
            ("", 0, BadRequest, "message"),
            ("x", -1, BadRequest, "delay_s"),
            ("x", 901, BadRequest, "delay_s"),
        ):
            with subtests.test(length=len(body), delay_s=delay_s), pytest.raises(error, match=field):
                box.queue.send(body, delay_s=delay_s)
        assert box.queue.waiting() == 0

    def test_a_message_that_is_done_can_not_be_asked_for_again(self, box: Box, functions: Functions) -> None:
        box.queue.send("x")
        receipt = functions.next().record["receiptHandle"]
        assert box.comes_to(0)
        with pytest.raises(QueueUnavailable, match="not being handled any more"):
            box.queue.retry_in(receipt, 0)

    def test_a_receipt_that_nobody_gave_is_refused(self, box: Box) -> None:
        with pytest.raises(QueueUnavailable, match="not being handled any more"):
            box.queue.retry_in("no such receipt", 0)
