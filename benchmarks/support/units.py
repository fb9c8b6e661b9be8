"""What DynamoDB charges for a request, from the sizes of its items. Pure.

Sizes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
Index: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html#GSI.ThroughputConsiderations.Writes
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Wire = Mapping[str, Mapping[str, Any]]
"""An item as boto3's low-level client has it: `{"pk": {"S": "…"}, "turns": {"N": "3"}, "content": {"B": b"…"}}`."""

READ_BYTES = 4096
WRITE_BYTES = 1024


@dataclass(frozen=True)
class Index:
    """A global secondary index: the attributes that place an item in it, and those it carries."""

    keys: frozenset[str]
    carried: frozenset[str]

    @classmethod
    def described(cls, table: Mapping[str, Any]) -> "Index":
        """Return the one index of a table, from DescribeTable's answer."""
        [index] = table["GlobalSecondaryIndexes"]
        keys = frozenset(key["AttributeName"] for key in index["KeySchema"])
        table_keys = frozenset(key["AttributeName"] for key in table["KeySchema"])
        return cls(keys, keys | table_keys | frozenset(index["Projection"]["NonKeyAttributes"]))

    def entry(self, item: Wire | None) -> Wire | None:
        """Return what stands in the index for an item; None when it lacks a key."""
        if item is None or not self.keys <= item.keys():
            return None
        return {name: value for name, value in item.items() if name in self.carried}


def item_bytes(item: Wire) -> int:
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def read_units(items: Iterable[Wire]) -> int:
    """Return the units of a strongly consistent Query or GetItem: sizes are added up before they are rounded."""
    return _units(sum(map(item_bytes, items)), READ_BYTES)


def write_units(before: Wire | None, after: Wire | None, index: Index) -> int:
    """Return the units of a write that found the item as `before` and left it as `after` (None: not there)."""
    sizes = [item_bytes(item) for item in (before, after) if item is not None]
    return _units(max(sizes, default=0), WRITE_BYTES) + _index_units(index.entry(before), index.entry(after), index)


def _index_units(before: Wire | None, after: Wire | None, index: Index) -> int:
    """An entry that moves is deleted and put again: two writes. One that changes in its place is one write."""
    sizes = [_units(item_bytes(entry), WRITE_BYTES) for entry in (before, after) if entry is not None]
    if before == after:
        return 0
    moved = before is None or after is None or any(before[key] != after[key] for key in index.keys)
    return sum(sizes) if moved else max(sizes)


def _value_bytes(value: Mapping[str, Any]) -> int:
    [(kind, content)] = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "B":
            return len(content)
        case "N":
            return (len(content.strip("-").strip("0")) + 1) // 2 + 1
    raise ValueError(f"items hold S, B and N, not {kind}")


def _units(size_bytes: int, step_bytes: int) -> int:
    return max(1, -(-size_bytes // step_bytes))
