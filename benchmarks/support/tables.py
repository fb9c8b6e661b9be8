"""The deployment's table, and a copy of it that bare clients may write to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.support.calls import WRITES, Call
from benchmarks.support.units import Wire

BATCH = 25
Key = tuple[str, str]
Images = Mapping[Key, Wire | None]
"""Items by their key; None for one that is not there."""


class Table:
    """A DynamoDB table, by a client of its own."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def create_like(self, other: "Table") -> None:
        """Make the table with the keys of another. It has no index: what that costs is worked out, not run."""
        keys = other.description()["KeySchema"]
        types = [{"AttributeName": key["AttributeName"], "AttributeType": "S"} for key in keys]
        self._client.create_table(
            TableName=self.name, KeySchema=keys, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST"
        )

    def description(self) -> Mapping[str, Any]:
        description: Mapping[str, Any] = self._client.describe_table(TableName=self.name)["Table"]
        return description

    def image(self, key: Key) -> Wire | None:
        item: Wire | None = self._client.get_item(TableName=self.name, Key=_wire_key(key), ConsistentRead=True).get("Item")
        return item

    def images(self, keys: Iterable[Key]) -> Images:
        return {key: self.image(key) for key in keys}

    def fill(self, items: Iterable[Wire]) -> None:
        self._write([{"PutRequest": {"Item": item}} for item in items])

    def restore(self, images: Images) -> None:
        """Make these items again what they were."""
        self._write(
            [
                {"PutRequest": {"Item": item}} if item else {"DeleteRequest": {"Key": _wire_key(key)}}
                for key, item in images.items()
            ]
        )

    def _write(self, requests: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(requests), BATCH):
            self._client.batch_write_item(RequestItems={self.name: requests[start : start + BATCH]})


def written_key(call: Call) -> Key:
    """Return the key of the item that a PutItem or UpdateItem writes."""
    key = call.params["Item"] if call.operation == "PutItem" else call.params["Key"]
    return key["pk"]["S"], key["sk"]["S"]


def written_keys(calls: Iterable[Call]) -> set[Key]:
    return {written_key(call) for call in calls if call.operation in WRITES}


def _wire_key(key: Key) -> dict[str, Any]:
    pk, sk = key
    return {"pk": {"S": pk}, "sk": {"S": sk}}
