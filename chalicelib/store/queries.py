"""What every backend agrees on about queries: which part of which order they ask for, and cursors."""

import base64
import json
from dataclasses import dataclass

from chalicelib.errors import BadRequest
from chalicelib.store import INDEXED, Item
from chalicelib.store.items import is_key

TABLE_ORDER = ("sk",)
INDEX_ORDER = ("list_sk", "pk", "sk")
"""Sort keys of the index need not differ; the item's own key then decides, so that a cursor names one place."""


@dataclass(frozen=True)
class Query:
    """One page that is asked for. `after` is the place of the last item of the page before; empty on the first."""

    pk: str
    index: bool
    first: str
    last: str
    newest_first: bool
    limit: int
    after: tuple[str, ...]

    @property
    def partition(self) -> str:
        return "list_pk" if self.index else "pk"

    @property
    def order(self) -> tuple[str, ...]:
        return INDEX_ORDER if self.index else TABLE_ORDER

    def place(self, item: Item) -> tuple[str, ...]:
        return tuple(str(item[name]) for name in self.order)

    def shown(self, item: Item) -> Item:
        """Return the attributes that this query sees."""
        return {name: item[name] for name in INDEXED if name in item} if self.index else dict(item)

    def cursor(self, item: Item) -> str:
        """Return the cursor to go on with behind this item."""
        return base64.urlsafe_b64encode(json.dumps(self.place(item), ensure_ascii=False).encode()).decode()

    @property
    def finds_nothing(self) -> bool:
        """Whether no item can answer: DynamoDB refuses such queries, where there is nothing to refuse."""
        end = self.first if self.newest_first else self.last
        at_end = not self.index and self.after == (end,)
        return at_end or not is_key(self.partition, self.pk) or bool(self.last and self.first > self.last)


def read_query(pk: str, *, index: bool, first: str, last: str, newest_first: bool, limit: int, cursor: str | None) -> Query:
    """Return the checked query. BadRequest for a cursor that we did not give for it, or a bound that can't be a key."""
    if limit < 1:
        raise ValueError(f"limit is {limit}; a page has one item at least")
    for name, bound in (("first", first), ("last", last)):
        if bound and not is_key("sk", bound):
            raise BadRequest(name, "is not the beginning or end of anything that can be stored here.")
    order = INDEX_ORDER if index else TABLE_ORDER
    after = _read_cursor(cursor, order) if cursor is not None else ()
    if after and (after[0] < first or (last and after[0] > last)):
        raise _not_ours()
    return Query(pk, index, first, last, newest_first, limit, after)


def _read_cursor(cursor: str, order: tuple[str, ...]) -> tuple[str, ...]:
    try:
        place = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):  # JSON of a thousand brackets is a RecursionError
        raise _not_ours() from None
    if not (isinstance(place, list) and len(place) == len(order)):
        raise _not_ours()
    if not all(isinstance(key, str) and is_key(name, key) for name, key in zip(order, place, strict=True)):
        raise _not_ours()
    return tuple(place)


def _not_ours() -> BadRequest:
    return BadRequest("cursor", "was not given by this list. Leave it out to begin at the start.")
