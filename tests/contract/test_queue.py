"""The three queues keep one contract; what one machine's own promises beside it, and what SQS says when it can't."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import cast

import boto3
import pytest

from chalicelib.errors import Misconfigured, QueueUnavailable
from chalicelib.platform import DEAD_LETTERS, DOCUMENTS, MOST_RECEIVES, QUEUES, Queue
from chalicelib.platform.aws.clients import client
from chalicelib.platform.aws.queue import SqsQueue
from chalicelib.platform.local import LocalPlatform
from chalicelib.platform.local.messages import VISIBILITY_S, Messages, Taken
from chalicelib.platform.local.queue import LocalQueue
from chalicelib.platform.memory import MemoryPlatform
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from tests.contract.aws_standin import refusing, serving
from tests.contract.queue_contract import LONGEST_S, Box, Delivery, Does, Functions, QueueContract, done, fails
from tests.standins.event_source import EventSource, Function
from tests.standins.processes import ROOT
from tests.unit.conftest import Clock


@contextmanager
def stopping(queue: LocalQueue) -> Iterator[LocalQueue]:
    """Leave no thread behind."""
    try:
        yield queue
    finally:
        queue.stop(grace_s=5)


class TestMemory(QueueContract):
    @pytest.fixture
    def box(self, functions: Functions) -> Iterator[Box]:
        with stopping(MemoryPlatform(Settings()).queue) as queue:
            yield Box(queue)


class TestLocal(QueueContract):
    @pytest.fixture
    def box(self, functions: Functions, tmp_path: Path) -> Iterator[Box]:
        with stopping(LocalPlatform(Settings(home=str(tmp_path / "home"))).queue) as queue:
            yield Box(queue)


# One machine: what the clock says


@dataclass
class Clocked:
    """A queue whose time a test sets."""

    clock: Clock
    queue: LocalQueue
    functions: Functions

    def after(self, seconds: float, nudge: str) -> None:
        """Let time go by, and send a message, so that the queue looks at once for what is due."""
        self.clock.time += seconds
        self.queue.send(nudge)

    def comes_after(self, seconds: float, body: str) -> None:
        """Be sure that this message comes when so much time has gone by, and not before."""
        self.after(seconds - 1, "too early")
        assert self.functions.next().body == "too early"
        self.after(1, "in time")
        assert self.functions.bodies(2) == [body, "in time"]

    def again(self, body: str, delay_s: int) -> Does:
        """Fail at this message only, and ask for it after this time."""

        def does(delivery: Delivery) -> object:
            if delivery.body != body:
                return done(delivery)
            self.queue.retry_in(delivery.record["receiptHandle"], delay_s)
            return fails(delivery)

        return does


@pytest.fixture
def clocked() -> Iterator[Clocked]:
    clock, functions = Clock(), Functions()
    with stopping(LocalQueue(Messages(None, clock), functions.both)) as queue:
        yield Clocked(clock, queue, functions)


def test_a_message_that_failed_comes_again_when_its_visibility_ends(clocked: Clocked) -> None:
    clocked.functions.does = lambda delivery: fails(delivery) if delivery.body == "bad" else done(delivery)
    clocked.queue.send("bad")
    assert clocked.functions.next().body == "bad"

    clocked.comes_after(VISIBILITY_S, "bad")


@pytest.mark.parametrize("delay_s", [5, 900])
def test_a_message_that_failed_comes_again_when_it_asked_to(clocked: Clocked, delay_s: int) -> None:
    clocked.functions.does = clocked.again("bad", delay_s)
    clocked.queue.send("bad")
    assert clocked.functions.next().body == "bad"

    clocked.comes_after(delay_s, "bad")


def test_a_delayed_message_comes_when_its_time_has_come(clocked: Clocked) -> None:
    clocked.queue.send("delayed", delay_s=900)

    clocked.comes_after(900, "delayed")


def test_a_dead_letter_stays_until_it_is_buried(clocked: Clocked) -> None:
    clocked.functions.does = clocked.again("bad", 0)
    clocked.functions.buries = lambda delivery: fails(delivery) if delivery.receives < 5 else done(delivery)
    clocked.queue.send("bad")
    assert clocked.functions.bodies(MOST_RECEIVES) == ["bad"] * MOST_RECEIVES

    letters: list[int] = []
    while len(letters) < 5:
        given = clocked.functions.next()
        if given.queue == DEAD_LETTERS:
            letters.append(given.receives)
            clocked.after(VISIBILITY_S, "another")

    assert letters == [1, 2, 3, 4, 5]
    clocked.after(VISIBILITY_S, "last")
    rest = iter(clocked.functions.next, None)
    assert DEAD_LETTERS not in {given.queue for given in takewhile(lambda given: given.body != "last", rest)}


# One machine: what functions do


def test_a_function_that_exits_ends_its_message_and_nothing_else(clocked: Clocked) -> None:
    clocked.functions.does = lambda delivery: sys.exit(1) if delivery.body == "exit" else done(delivery)

    for body in ("exit", "next"):
        clocked.queue.send(body)

    assert clocked.functions.bodies(2) == ["exit", "next"]
    assert Box(clocked.queue).comes_to(1)


def test_a_failure_is_logged_by_its_class_and_place_and_nothing_it_said(
    clocked: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(delivery: Delivery) -> object:
        raise ValueError(f"what Anna told me: {delivery.body}")

    clocked.functions.does = lambda delivery: done(delivery) if "later" in delivery.body else fail(delivery)
    with caplog.at_level(logging.ERROR):
        for body in ("Anna's letter", "later"):
            clocked.queue.send(body)
        assert clocked.functions.bodies(2) == ["Anna's letter", "later"]

    [record] = [vars(record) for record in caplog.records]
    assert (record["queue"], record["error"]) == (DOCUMENTS, "ValueError")
    assert Path(__file__).name in record["place"]
    assert "Anna" not in str(record)


@pytest.mark.parametrize("answer", [None, "yes", {}, {"batchItemFailures": None}])
def test_any_other_answer_is_a_success(clocked: Clocked, answer: object) -> None:
    clocked.functions.does = lambda delivery: answer
    clocked.queue.send("x")
    assert clocked.functions.next().body == "x"
    assert Box(clocked.queue).comes_to(0)


def test_the_worker_ends_when_nothing_is_left_and_begins_again() -> None:
    before, functions = set(threading.enumerate()), Functions()
    box = Box(LocalQueue(Messages(None), functions.both))
    for body in ("one", "two"):
        box.queue.send(body)
        assert functions.next().body == body
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=LONGEST_S)
        assert set(threading.enumerate()) <= before


def test_a_message_whose_end_could_not_be_written_down_comes_again() -> None:
    class Forgetful(Messages):
        """A file that can't be written, once."""

        writes = True

        def remove(self, taken: Taken) -> None:
            if self.writes:
                self.writes = False
                raise QueueUnavailable("The disk is full.")
            super().remove(taken)

    functions = Functions()
    with stopping(LocalQueue(Forgetful(None), functions.both)) as queue:
        queue.send("x")
        assert [functions.next().receives for _ in range(2)] == [1, 2]
        assert Box(queue).comes_to(0)


# One machine: stopping and starting


def opened(home: Path, functions: Functions | None = None) -> LocalQueue:
    """The queue of a home, as a process opens it whose app declares these functions, or none."""
    return LocalQueue(Messages(home / "queue.sqlite3"), functions.both if functions else {}, home / "queue.lock")


def test_what_waited_when_the_process_ended_is_delivered_by_the_next(tmp_path: Path) -> None:
    opened(tmp_path).send("before")
    functions = Functions()

    with stopping(opened(tmp_path, functions)) as queue:
        queue.work()

        assert functions.next().body == "before"
        assert Box(queue).comes_to(0)


def test_a_process_without_functions_leaves_messages_to_those_that_have_them(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    queue.send("x")
    queue.work()
    assert queue.waiting() == 1
    assert queue.stop(grace_s=0)


def test_stopping_waits_for_the_message_in_hand(tmp_path: Path) -> None:
    functions, begun = Functions(), threading.Event()

    def take_time(delivery: Delivery) -> object:
        begun.set()
        time.sleep(0.05)
        return done(delivery)

    functions.does = take_time
    queue = opened(tmp_path, functions)
    for body in ("in hand", "not begun"):
        queue.send(body)
    assert begun.wait(LONGEST_S)

    assert queue.stop(grace_s=LONGEST_S)
    assert functions.next().body == "in hand"
    assert queue.waiting() == 1

    queue.send("after")
    with stopping(opened(tmp_path, functions)) as following:
        following.work()
        assert functions.bodies(2) == ["not begun", "after"]


def test_a_message_that_outlasts_the_grace_is_taken_anew_as_if_for_the_first_time(tmp_path: Path) -> None:
    functions, begun, go_on = Functions(), threading.Event(), threading.Event()

    def hang(delivery: Delivery) -> object:
        begun.set()
        go_on.wait(LONGEST_S)
        return done(delivery)

    functions.does = hang
    queue = opened(tmp_path, functions)
    queue.send("slow")
    assert begun.wait(LONGEST_S)

    assert not queue.stop(grace_s=0)
    go_on.set()
    assert functions.next().receives == 1

    with stopping(opened(tmp_path, functions)) as following:
        following.work()
        again = functions.next()
        assert (again.body, again.receives) == ("slow", 1)
        assert Box(following).comes_to(0)


# One machine: several processes

PROGRAM = """
import os, sys, time
from chalicelib.platform import DEAD_LETTERS, DOCUMENTS, QUEUES
from chalicelib.platform.local import build
from chalicelib.settings import Settings

def say(*words):
    print(*words, flush=True)

queue = build(Settings(home=sys.argv[1])).queue
"""
HANGS = """
def hang(event, context):
    say(event["Records"][0]["body"], event["Records"][0]["attributes"]["ApproximateReceiveCount"])
    time.sleep(60)

QUEUES[DOCUMENTS] = hang
queue.work()
time.sleep(60)
"""
ALONE = """
def alone(event, context):
    os.mkdir(sys.argv[1] + "/at work")  # fails, so that the message comes again, where somebody else is at it
    time.sleep(0.002)
    os.rmdir(sys.argv[1] + "/at work")
    say(event["Records"][0]["body"], event["Records"][0]["attributes"]["ApproximateReceiveCount"])

QUEUES[DOCUMENTS] = alone
sys.stdin.readline()
queue.work()
sys.stdin.read()
"""


@contextmanager
def process(home: Path, program: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a program that has the queue of this home, and kill it at the end of the block."""
    command = [sys.executable, "-c", PROGRAM + program, str(home)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line(started: "subprocess.Popen[str]") -> str:
    assert started.stdout
    return started.stdout.readline().strip()


def test_a_message_whose_process_was_killed_is_taken_over_by_one_that_waits(tmp_path: Path) -> None:
    functions = Functions()
    opened(tmp_path).send("x")
    with process(tmp_path, HANGS) as other, stopping(opened(tmp_path, functions)) as queue:
        assert line(other) == "x 1"
        queue.work()
        assert queue.waiting() == 1

        other.kill()

        taken_over = functions.next()
        assert (taken_over.queue, taken_over.body, taken_over.receives) == (DOCUMENTS, "x", 2)
        assert Box(queue).comes_to(0)


def test_a_message_that_kills_three_processes_is_a_dead_letter(tmp_path: Path) -> None:
    functions = Functions()
    opened(tmp_path).send("killer")
    for receives in range(1, MOST_RECEIVES + 1):
        with process(tmp_path, HANGS) as other:
            assert line(other) == f"killer {receives}"

    with stopping(opened(tmp_path, functions)) as queue:
        queue.work()
        letter = functions.next()
        assert (letter.queue, letter.body) == (DEAD_LETTERS, "killer")
        assert queue.waiting() == 0


def test_what_another_process_sends_is_noticed(tmp_path: Path) -> None:
    functions = Functions()
    with stopping(opened(tmp_path, functions)) as queue:
        queue.work()
        queue.send("own")
        assert functions.next().body == "own"
        with process(tmp_path, 'queue.send("theirs")'):
            assert functions.next().body == "theirs"


def test_processes_that_share_a_queue_handle_each_message_once_and_one_at_a_time(tmp_path: Path) -> None:
    queue = opened(tmp_path)
    for number in range(20):
        queue.send(str(number))

    with process(tmp_path, ALONE) as one, process(tmp_path, ALONE) as other:
        for started in (one, other):
            assert started.stdin
            print("go", file=started.stdin, flush=True)
        assert Box(queue).comes_to(0)
        outputs = [started.communicate(timeout=LONGEST_S)[0].splitlines() for started in (one, other)]

    assert sorted(outputs[0] + outputs[1]) == sorted(f"{number} 1" for number in range(20))


# One machine: the file


def test_the_queues_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    with stopping(opened(tmp_path / "home", Functions())) as queue:
        queue.send("x")
        assert Box(queue).comes_to(0)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "home").iterdir()}
    assert modes == {"queue.sqlite3": 0o600, "queue.lock": 0o600}
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


def test_a_damaged_file_says_what_to_do_and_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "queue.sqlite3"
    file.write_bytes(b"no database" * 100)
    with pytest.raises(QueueUnavailable, match=r"damaged.*move it away"):
        opened(tmp_path)
    assert file.read_bytes() == b"no database" * 100


def test_a_home_that_is_a_file_is_queue_unavailable(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(QueueUnavailable, match="Check that the folder is there"):
        opened(tmp_path / "home")


# SQS


@contextmanager
def event_sources(urls: Mapping[str, str]) -> Iterator[None]:
    """Bring the messages of these queues to the functions of QUEUES until the block ends."""
    sources = [EventSource(url, cast(Function, QUEUES[name])) for name, url in urls.items()]
    ended = threading.Event()

    def bring() -> None:
        while not ended.wait(0.02):
            for source in sources:
                source.poll()

    thread = threading.Thread(target=bring, name="event sources")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def url_of(queue: str) -> str:
    """The address of a queue of the stack."""
    return str(boto3.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"])


class TestAws(QueueContract):
    @pytest.fixture
    def box(self, functions: Functions, aws: str) -> Iterator[Box]:
        urls = {DOCUMENTS: url_of("PAI-documents-dev"), DEAD_LETTERS: url_of("PAI-documents-dead-dev")}
        with event_sources(urls):
            yield Box(Parts(Settings(platform="aws", queue_url=urls[DOCUMENTS])).platform.queue)

    def test_a_dead_letter_is_counted_in_its_own_queue(self, box: Box, functions: Functions) -> None:
        functions.does, functions.buries = self.again(box), fails
        box.queue.send("poison")
        assert functions.bodies(MOST_RECEIVES + 1) == ["poison"] * (MOST_RECEIVES + 1)
        assert SqsQueue(client("sqs"), url_of("PAI-documents-dead-dev")).waiting() == 1

    def test_a_queue_that_is_not_there_names_the_setting(self, box: Box, subtests: pytest.Subtests) -> None:
        queue = SqsQueue(client("sqs"), f"{os.environ['AWS_ENDPOINT_URL']}/123456789012/typo")
        for use in USES:
            with subtests.test(use=use), pytest.raises(QueueUnavailable, match=r"typo.*PAI_QUEUE_URL"):
                USES[use](queue)


USES: dict[str, Callable[[Queue], object]] = {
    "send": lambda queue: queue.send("x"),
    "retry_in": lambda queue: queue.retry_in("receipt", 1),
    "waiting": lambda queue: queue.waiting(),
}


def failures_at(url: str, monkeypatch: pytest.MonkeyPatch) -> list[QueueUnavailable]:
    """Use a queue of an SQS at this address in every way; return how each fails."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
    once: dict[str, object] = {"mode": "standard", "total_max_attempts": 1}
    queue = SqsQueue(client("sqs", retries=once), f"{url}/123456789012/PAI-documents-dev")
    failures = []
    for use in USES.values():
        with pytest.raises(QueueUnavailable) as failure:
            use(queue)
        failures.append(failure.value)
    return failures


def test_an_sqs_that_does_not_answer_is_queue_unavailable(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for failure in failures_at(f"http://127.0.0.1:{port}", monkeypatch):
        assert "does not answer" in failure.message
        assert (failure.status, bool(failure.retry_after_s)) == (503, True)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("AccessDenied", "Allow it for this deployment's role"),
        ("ThrottlingException", "Try again in a moment"),
        ("ExpiredToken", "Renew them"),
        ("InternalError", "pai doctor"),
    ],
)
def test_what_sqs_refuses_says_what_to_do(aws: str, monkeypatch: pytest.MonkeyPatch, code: str, advice: str) -> None:
    with serving(refusing(code)) as url:
        for failure in failures_at(url, monkeypatch):
            assert advice in failure.message
            assert "never to be repeated" not in failure.message


def test_a_stage_without_a_queue_is_told_which_setting_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(Misconfigured, match="PAI_QUEUE_URL"):
        _ = Parts(Settings(platform="aws")).platform.queue
