"""The store's contract: one table of items under (`pk`, `sk`), with conditions, counters and expiry.

An item is a flat mapping of attribute names to `str`, `int` or `bytes`. `pk` and `sk` are strings; `expires_at`, where
present, is in Unix seconds: from then on the item is not there for any read or condition, though it may be deleted late.
`list_pk` and `list_sk`, where an item has both, place it in the one sparse index, `by-activity`.

Strings sort by their UTF-8 bytes. Items are at most 400 KB: more is `TooLarge`. A key that can't be one, or a cursor that
this store never gave, is `BadRequest`. Every backend raises `StoreUnavailable` (or `StorageFull`) when it can't do its
work, and nothing else that is not a defect.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Value = str | int | bytes
Item = Mapping[str, Value]
Key = tuple[str, str]


@dataclass(frozen=True)
class When:
    """One condition on the item that is there; several are joined by AND.

    present: `name` exists. absent: it does not. equals: it exists with `value`. at_most: its number is ≤ `value`, or it
    does not exist (so that a counter needs no first write). An item that expired counts as not there.
    """

    test: Literal["present", "absent", "equals", "at_most"]
    name: str
    value: Value = 0


@dataclass(frozen=True)
class Page:
    """A part of a query's answer. `cursor` is the place to go on from, None at the end."""

    items: Sequence[Item]
    cursor: str | None = None


class Store(Protocol):
    """Reads are strongly consistent, but for the index, which may lag by a second."""

    def put(self, item: Item, when: Iterable[When] = ()) -> bool:
        """Write the whole item in place of what is there; False when a condition does not hold."""
        ...

    def get(self, pk: str, sk: str) -> Item | None:
        """Return the item, or None when it is not there or has expired."""
        ...

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
        """Return the items of a partition in order of their sort key, from `first` to `last` (both inclusive, empty is open).

        With `index`, `pk`, `first` and `last` speak of `list_pk` and `list_sk`, and an item holds only the attributes of
        INDEXED. A page has at most `limit` items and may have fewer, even none, with more to come: go by `cursor`.
        """
        ...

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
        """Change single attributes (`add` counts up, from 0) and return the new item; None when a condition does not hold.

        Makes the item when it is not there: ask for `When("present", …)` to forbid it. An expired item counts as not there.
        """
        ...

    def delete(self, keys: Iterable[Key]) -> None:
        """Delete these items, in batches where the backend has them. Deleting what is not there is no error."""
        ...


INDEXED = ("pk", "sk", "list_pk", "list_sk", "key", "title", "created_at", "updated_at", "user_id", "expires_at")
"""The attributes that the index `by-activity` carries."""
