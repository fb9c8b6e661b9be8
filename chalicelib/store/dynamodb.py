"""The store in one DynamoDB table (`ConversationsTable` of infrastructure/resources.yaml), over boto3's low-level client.

DynamoDB deletes what has expired up to days later, so every condition here says what it means for an expired item.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from chalicelib.errors import StoreUnavailable, TooLarge
from chalicelib.platform.aws.clients import client
from chalicelib.settings import Settings
from chalicelib.store import Item, Key, Page, Store, Value, When
from chalicelib.store.items import Change, can_exist, check, holds, live
from chalicelib.store.queries import Query, read_query

INDEX = "by-activity"
BATCH = 25
"""Items that one BatchWriteItem may delete."""
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Waits before the further tries at what a batch left undone."""
UPDATE_TRIES = 10

Wire = dict[str, Any]
"""An item as DynamoDB has it: `{"n": {"N": "1"}, "s": {"S": "text"}, "b": {"B": b"bytes"}}`."""


def build(settings: Settings) -> Store:
    # botocore need not look again at what store.items has checked: that would be a twentieth of a request's CPU time.
    return DynamoStore(client("dynamodb", parameter_validation=False), settings.table)


class DynamoStore:
    """One table, behind a boto3 client for `dynamodb`; `pause` waits some seconds.

    The client tries again when an answer is lost on its way: a counter may then have counted twice, never too little.
    """

    def __init__(
        self,
        client: Any,
        table: str,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._now = now
        self._pause = pause

    def put(self, item: Item, when: Iterable[When] = ()) -> bool:
        key, when = check(item), tuple(when)
        expressions = _Expressions()
        condition = {"ConditionExpression": expressions.for_put(when, int(self._now()))} if when else {}
        try:
            self._put(item, **condition, **expressions.members())
        except _Refused as refused:
            # If the answer to a first try was lost on its way, the second is refused because the first succeeded.
            return refused.retried and self._read(key) == item
        return True

    def get(self, pk: str, sk: str) -> Item | None:
        return live(self._read((pk, sk)), self._now()) if can_exist((pk, sk)) else None

    def query(
        self,
        pk: str,
        *,
        index: bool = False,
        first: str = "",
        last: str = "",
        newest_first: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        query = read_query(pk, index=index, first=first, last=last, newest_first=newest_first, limit=limit, cursor=cursor)
        if query.finds_nothing:
            return Page(())
        with self._explaining():
            answer = self._client.query(TableName=self._table, **_query_members(query))
        now, end = self._now(), answer.get("LastEvaluatedKey")
        items = [item for item in map(_from_wire, answer["Items"]) if live(item, now)]
        return Page(items, query.cursor(_from_wire(end)) if end else None)

    def update(
        self,
        pk: str,
        sk: str,
        *,
        set: Item | None = None,
        add: Mapping[str, int] | None = None,
        remove: Iterable[str] = (),
        when: Iterable[When] = (),
    ) -> Item | None:
        """Update in one write. Only an item that has expired takes more: it is replaced, so that nothing of it comes back."""
        change, when = Change(pk, sk, set or {}, add or {}, tuple(remove)), tuple(when)
        for _ in range(UPDATE_TRIES):
            now = int(self._now())
            try:
                return self._update_live(change, when, now)
            except _Refused:
                there = self._read((pk, sk))
            item = live(there, now)
            if not holds(when, item):
                return None
            if there and not item and (new := self._replace_expired(change, now)):
                return new
        raise StoreUnavailable("Others change the same item of the table all the time. Try again in a few seconds.")

    def delete(self, keys: Iterable[Key]) -> None:
        requests = [{"DeleteRequest": {"Key": _key(key)}} for key in dict.fromkeys(keys) if can_exist(key)]
        for start in range(0, len(requests), BATCH):
            self._delete_batch(requests[start : start + BATCH])

    def _delete_batch(self, requests: Sequence[Wire]) -> None:
        for pause_s in (*PAUSES_S, None):
            with self._explaining():
                answer = self._client.batch_write_item(RequestItems={self._table: requests})
            requests = answer["UnprocessedItems"].get(self._table, ())
            if not requests:
                return
            if pause_s:
                self._pause(pause_s * random.uniform(0.5, 1))
        raise StoreUnavailable(BUSY.format(code="UnprocessedItems"))

    def _put(self, item: Item, **members: Any) -> None:
        with self._explaining():
            self._client.put_item(TableName=self._table, Item=_to_wire(item), **members)

    def _read(self, key: Key) -> Item | None:
        """Return the item, expired or not."""
        with self._explaining():
            answer = self._client.get_item(TableName=self._table, Key=_key(key), ConsistentRead=True)
        return _from_wire(answer["Item"]) if "Item" in answer else None

    def _update_live(self, change: Change, when: Sequence[When], now: int) -> Item:
        expressions = _Expressions()
        with self._explaining():
            answer = self._client.update_item(
                TableName=self._table,
                Key=_key((change.pk, change.sk)),
                ConditionExpression=expressions.all_of([expressions.alive(now), *map(expressions.test, when)]),
                UpdateExpression=expressions.for_update(change),
                ReturnValues="ALL_NEW",
                **expressions.members(),
            )
        return _from_wire(answer["Attributes"])

    def _replace_expired(self, change: Change, now: int) -> Item | None:
        """Put what the change makes of nothing in place of the expired item; None when that is no longer there."""
        item, expressions = change.applied(None), _Expressions()
        try:
            self._put(item, ConditionExpression=expressions.expired(now), **expressions.members())
        except _Refused:
            return None
        return item

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise _explained(error, self._table) from error


class _Expressions:
    """The expressions of one request. All names and values stand behind placeholders: DynamoDB reserves 573 words."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: Wire = {}

    def members(self) -> Wire:
        """Return what the placeholders stand for, as members of the request; DynamoDB refuses empty or unused ones."""
        names = {"ExpressionAttributeNames": {placeholder: name for name, placeholder in self._names.items()}}
        values = {"ExpressionAttributeValues": self._values}
        return {**(names if self._names else {}), **(values if self._values else {})}

    def name(self, attribute: str) -> str:
        return self._names.setdefault(attribute, f"#n{len(self._names)}")

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = _value(value)
        return placeholder

    def expired(self, now: int) -> str:
        return f"{self.name('expires_at')} <= {self.value(now)}"

    def alive(self, now: int) -> str:
        """True for what is not there at all, too."""
        name = self.name("expires_at")
        return f"(attribute_not_exists({name}) OR {name} > {self.value(now)})"

    def test(self, condition: When) -> str:
        name = self.name(condition.name)
        match condition.test:
            case "present":
                return f"attribute_exists({name})"
            case "absent":
                return f"attribute_not_exists({name})"
            case "equals":
                return f"{name} = {self.value(condition.value)}"
            case "at_most":
                return f"(attribute_not_exists({name}) OR {name} <= {self.value(condition.value)})"

    def all_of(self, tests: Iterable[str]) -> str:
        return " AND ".join(tests)

    def for_put(self, when: Sequence[When], now: int) -> str:
        """Return the conditions, as they are when an expired item counts as nothing."""
        tests = self.all_of(map(self.test, when))
        return f"{self.expired(now)} OR {tests}" if holds(when, None) else f"{self.alive(now)} AND {tests}"

    def for_update(self, change: Change) -> str:
        clauses = {
            "SET": [f"{self.name(name)} = {self.value(value)}" for name, value in change.set.items()],
            "ADD": [f"{self.name(name)} {self.value(more)}" for name, more in change.add.items()],
            "REMOVE": [self.name(name) for name in change.remove],
        }
        if not any(clauses.values()):  # not everything that speaks DynamoDB takes an update without an expression
            clauses["REMOVE"] = [self.name("nothing")]
        return " ".join(f"{clause} {', '.join(parts)}" for clause, parts in clauses.items() if parts)


def _query_members(query: Query) -> Wire:
    expressions, sort = _Expressions(), query.order[0]
    condition = f"{expressions.name(query.partition)} = {expressions.value(query.pk)}"
    match bool(query.first), bool(query.last):
        case True, True:
            bounds = f"BETWEEN {expressions.value(query.first)} AND {expressions.value(query.last)}"
        case True, False:
            bounds = f">= {expressions.value(query.first)}"
        case False, True:
            bounds = f"<= {expressions.value(query.last)}"
        case _:
            bounds = ""
    start = {query.partition: query.pk, **dict(zip(query.order, query.after, strict=False))} if query.after else {}
    return {
        "KeyConditionExpression": f"{condition} AND {expressions.name(sort)} {bounds}" if bounds else condition,
        "ScanIndexForward": not query.newest_first,
        "Limit": query.limit,
        **({"IndexName": INDEX} if query.index else {"ConsistentRead": True}),
        **({"ExclusiveStartKey": _to_wire(start)} if start else {}),
        **expressions.members(),
    }


def _key(key: Key) -> Wire:
    pk, sk = key
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _to_wire(item: Item) -> Wire:
    return {name: _value(value) for name, value in item.items()}


def _value(value: Value) -> Wire:
    if isinstance(value, str):
        return {"S": value}
    return {"B": value} if isinstance(value, bytes) else {"N": str(value)}


def _from_wire(attributes: Wire) -> dict[str, Value]:
    return {
        name: typed["S"] if "S" in typed else typed["B"] if "B" in typed else int(typed["N"])
        for name, typed in attributes.items()
    }


class _Refused(Exception):
    """A condition does not hold. `retried`: it was not the first try of this request."""

    def __init__(self, retried: bool) -> None:
        super().__init__()
        self.retried = retried


BUSY = "DynamoDB takes no more requests just now ({code}). Try again in a few seconds."
_SENTENCES = {
    "ResourceNotFoundException": "There is no table {table} in this account and region. Deploy this stage, or set PAI_TABLE.",
    "AccessDeniedException": (
        "AWS does not allow dynamodb:{operation} on the table {table}, or the use of its key. "
        "Grant it to this function, or to whoever runs this."
    ),
    "ProvisionedThroughputExceededException": BUSY,
    "RequestLimitExceeded": BUSY,
    "ThrottlingException": BUSY,
    **dict.fromkeys(
        ("UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "IncompleteSignature"),
        "AWS does not accept these credentials ({code}). Renew them, and check this machine's clock.",
    ),
}


def _explained(error: BotoCoreError | ClientError, table: str) -> Exception:
    """Return the error to raise; the SDK's own when the request was a defect of ours."""
    if isinstance(error, ParamValidationError):
        return error
    if isinstance(error, NoCredentialsError):
        return StoreUnavailable("There are no AWS credentials in this environment. Set them, or PAI_STORE=sqlite.")
    if not isinstance(error, ClientError):
        return StoreUnavailable(f"DynamoDB can't be reached ({type(error).__name__}). Check the network and the region.")
    code = error.response["Error"]["Code"]
    if code == "ConditionalCheckFailedException":
        return _Refused(retried=error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0)
    if code == "ValidationException":
        too_large = "maximum allowed size" in error.response["Error"]["Message"]
        return TooLarge("item", "would grow over the 400 KB that the store keeps in one piece.") if too_large else error
    sentence = _SENTENCES.get(code, "DynamoDB failed ({code}). Try again in a few seconds.")
    return StoreUnavailable(sentence.format(table=table, operation=error.operation_name, code=code))
