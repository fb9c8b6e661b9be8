"""Every store of PAI's keeps the store's contract; and what only DynamoDB can meet."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.errors import StoreUnavailable, TooLarge
from chalicelib.settings import Settings
from chalicelib.store import Store, When
from chalicelib.store.dynamodb import DynamoStore, build
from chalicelib.store.memory import MemoryStore
from chalicelib.store.sqlite import SqliteStore
from tests.contract.aws_standin import Answer, Request, serving
from tests.contract.store_contract import ABSENT, KEY, Clock, StoreContract

TABLE = "PAI-Conversations-dev"


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        return MemoryStore(clock)


class TestSqlite(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore(tmp_path / "pai.sqlite3", clock)
        yield store
        store.close()


class OneAtATime:
    """A client whose requests wait for each other: DynamoDB changes an item in one step, moto's threads do not."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = Lock()

    def __getattr__(self, operation: str) -> Any:
        def request(**members: Any) -> Any:
            with self._lock:
                return getattr(self._client, operation)(**members)

        return request


class TestDynamoDB(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock, aws: str) -> Store:
        return DynamoStore(OneAtATime(boto3.client("dynamodb")), TABLE, clock)


# What only DynamoDB can meet

VERBS: dict[str, Callable[[Store], object]] = {
    "put": lambda store: store.put({**KEY}),
    "get": lambda store: store.get("p", "s"),
    "query": lambda store: store.query("p"),
    "update": lambda store: store.update("p", "s"),
    "delete": lambda store: store.delete([("p", "s")]),
}
each_verb = pytest.mark.parametrize("use", VERBS.values(), ids=VERBS.keys())

Reply = tuple[int, dict[str, Any]]
PLAIN = {"pk": {"S": "p"}, "sk": {"S": "s"}}
REFUSED: Reply = (400, {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"})
FAILED: Reply = (500, {"__type": "InternalServerError"})
"""DynamoDB's word for: it may have been done or not."""
DONE: Reply = (200, {"UnprocessedItems": {}})


class Replies:
    """A DynamoDB that gives these replies, one after the other and then the last again, and keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.operations: list[str] = []
        self.members: list[Any] = []
        self.pauses: list[float] = []

    def __call__(self, request: Request) -> Answer:
        self.operations.append(request.headers["X-Amz-Target"].partition(".")[2])
        self.members.append(json.loads(request.body))
        status, body = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.0"})

    def batches(self) -> list[list[str]]:
        """Return the sort keys of each batch that was to be deleted."""
        batches = [members["RequestItems"][TABLE] for members in self.members]
        return [[request["DeleteRequest"]["Key"]["sk"]["S"] for request in batch] for batch in batches]


@contextmanager
def store_over(replies: Replies, tries: int = 1) -> Iterator[DynamoStore]:
    """Lend a store whose DynamoDB replies like this. Its pauses are noted there, and take no time."""
    with serving(replies) as url:
        client = boto3.client(
            "dynamodb",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"mode": "legacy", "total_max_attempts": tries}),
        )
        yield DynamoStore(client, TABLE, pause=replies.pauses.append)


def undone(*sort_keys: str) -> Reply:
    """Reply that these are left to do of a batch."""
    keys = [{"pk": {"S": "p"}, "sk": {"S": sk}} for sk in sort_keys]
    return 200, {"UnprocessedItems": {TABLE: [{"DeleteRequest": {"Key": key}} for key in keys]}}


def test_the_settings_name_the_table(aws: str) -> None:
    store = build(Settings(table=TABLE))

    assert store.put({**KEY})

    assert "Item" in boto3.client("dynamodb").get_item(TableName=TABLE, Key=PLAIN)


@each_verb
def test_a_missing_table_is_named(aws: str, use: Callable[[Store], object]) -> None:
    with pytest.raises(StoreUnavailable, match=r"There is no table PAI-Conversations-prod .*Deploy"):
        use(build(Settings(table="PAI-Conversations-prod")))


@each_verb
def test_a_dynamodb_that_is_down_is_unavailable(use: Callable[[Store], object]) -> None:
    with store_over(Replies(DONE)) as store:
        pass

    with pytest.raises(StoreUnavailable, match=r"can't be reached \(EndpointConnectionError\)"):
        use(store)


def test_missing_credentials_are_said_to_be(aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))

    with pytest.raises(StoreUnavailable, match="no AWS credentials"):
        build(Settings(table=TABLE)).get("p", "s")


@pytest.mark.parametrize(
    ("code", "status", "sentence"),
    [
        ("ProvisionedThroughputExceededException", 400, r"no more requests just now \(Prov.*Try again"),
        ("ThrottlingException", 400, r"no more requests just now \(Thr.*Try again"),
        ("RequestLimitExceeded", 400, r"no more requests just now \(Req.*Try again"),
        ("AccessDeniedException", 400, r"not allow dynamodb:PutItem on the table PAI-Conversations-dev"),
        ("UnrecognizedClientException", 400, r"not accept these credentials \(Unr"),
        ("ExpiredTokenException", 400, r"not accept these credentials \(Exp"),
        ("InternalServerError", 500, r"DynamoDB failed \(InternalServerError\)"),
        ("SomethingNew", 400, r"DynamoDB failed \(SomethingNew\)"),
    ],
)
def test_each_refusal_is_a_sentence(code: str, status: int, sentence: str) -> None:
    refusal = Replies((status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "account 123456789012"}))

    with store_over(refusal) as store, pytest.raises(StoreUnavailable, match=sentence) as raised:
        store.put({**KEY})

    assert "123456789012" not in raised.value.message


def test_an_update_that_makes_an_item_too_large_is_too_large() -> None:
    message = "Item size to update has exceeded the maximum allowed size"

    with (
        store_over(Replies((400, {"__type": "ValidationException", "message": message}))) as store,
        pytest.raises(TooLarge, match=r"^item: "),
    ):
        store.update("p", "s", set={"v": "x"})


def test_a_request_that_dynamodb_does_not_understand_is_a_defect() -> None:
    with (
        store_over(Replies((400, {"__type": "ValidationException", "message": "Invalid"}))) as store,
        pytest.raises(ClientError, match="Invalid"),
    ):
        store.put({**KEY})


def test_each_operation_is_one_request_and_reads_are_consistent() -> None:
    replies = Replies((200, {"Attributes": PLAIN, "Items": [], "Item": PLAIN, "UnprocessedItems": {}}))

    with store_over(replies) as store:
        for use in VERBS.values():
            use(store)
        store.put({**KEY}, [ABSENT])
        store.update("p", "s", add={"n": 1}, when=[When("at_most", "n", 9)])
        store.query("p", index=True)

    plain = ["PutItem", "GetItem", "Query", "UpdateItem", "BatchWriteItem"]
    assert replies.operations == [*plain, "PutItem", "UpdateItem", "Query"]
    assert replies.members[0] == {"TableName": TABLE, "Item": PLAIN}
    assert [asked.get("ConsistentRead") for asked in replies.members] == [None, True, True, *[None] * 5]
    assert replies.members[-1]["IndexName"] == "by-activity"


@pytest.mark.parametrize(("there", "won"), [("ours", True), ("theirs", False)])
def test_a_put_whose_answer_was_lost_knows_its_own_item(there: str, won: bool) -> None:
    replies = Replies(FAILED, REFUSED, (200, {"Item": {**PLAIN, "id": {"S": there}}}))

    with store_over(replies, tries=2) as store:
        assert store.put({**KEY, "id": "ours"}, [ABSENT]) is won

    assert replies.operations == ["PutItem", "PutItem", "GetItem"]


def test_an_update_tries_again_when_the_item_changed_in_its_favour() -> None:
    replies = Replies(REFUSED, (200, {}), (200, {"Attributes": {**PLAIN, "n": {"N": "1"}}}))

    with store_over(replies) as store:
        assert store.update("p", "s", add={"n": 1}, when=[ABSENT]) == {**KEY, "n": 1}


def test_an_item_that_changes_under_every_try_is_unavailable() -> None:
    replies = Replies(*[REFUSED, (200, {})] * 20)

    with store_over(replies) as store, pytest.raises(StoreUnavailable, match="Others change the same item"):
        store.update("p", "s", set={"v": "x"}, when=[ABSENT])

    assert replies.operations == ["UpdateItem", "GetItem"] * 10


def test_deletions_go_in_batches_of_25_without_doubles() -> None:
    replies = Replies(DONE)

    with store_over(replies) as store:
        store.delete([("p", f"{number % 60:02}") for number in range(70)])

    assert [len(batch) for batch in replies.batches()] == [25, 25, 10]
    assert [sk for batch in replies.batches() for sk in batch] == [f"{number:02}" for number in range(60)]


def test_what_a_batch_left_undone_is_asked_for_again_after_a_pause() -> None:
    replies = Replies(undone("2", "3"), undone("3"), DONE)

    with store_over(replies) as store:
        store.delete([("p", "1"), ("p", "2"), ("p", "3")])

    assert replies.batches() == [["1", "2", "3"], ["2", "3"], ["3"]]
    assert len(replies.pauses) == 2
    assert 0 < replies.pauses[0] <= 0.05 <= replies.pauses[1] <= 0.1


def test_a_batch_that_is_never_done_is_unavailable() -> None:
    replies = Replies(undone("s"))

    with store_over(replies) as store, pytest.raises(StoreUnavailable, match="no more requests just now"):
        store.delete([("p", "s")])

    assert len(replies.batches()) == 7
    assert len(replies.pauses) == 6
