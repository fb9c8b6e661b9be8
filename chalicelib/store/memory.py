"""The store in this process's memory: for tests, and for trying things out. It ends with the process."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from chalicelib.settings import Settings
from chalicelib.store import Item, Key, Page, Store, When
from chalicelib.store.items import Change, check, holds, live
from chalicelib.store.queries import Query, read_query


def build(settings: Settings) -> Store:
    return MemoryStore()


class MemoryStore:
    """A dict behind a lock. A query looks at every item: good for thousands of them."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._items: dict[Key, Item] = {}

    def put(self, item: Item, when: Iterable[When] = ()) -> bool:
        key, when = check(item), tuple(when)
        with self._lock:
            if not holds(when, self._live(key)):
                return False
            self._items[key] = dict(item)
        return True

    def get(self, pk: str, sk: str) -> Item | None:
        with self._lock:
            item = self._live((pk, sk))
        return dict(item) if item else None

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
        now = self._now()
        with self._lock:
            found = [item for item in self._items.values() if live(item, now) and _answers(item, query)]
        # Python orders strings by code point, which is the order of their UTF-8 bytes.
        found.sort(key=query.place, reverse=newest_first)
        page = [query.shown(item) for item in found[:limit]]
        return Page(page, query.cursor(page[-1]) if len(found) > limit else None)

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
        change, when = Change(pk, sk, set or {}, add or {}, tuple(remove)), tuple(when)
        with self._lock:
            item = self._live((pk, sk))
            if not holds(when, item):
                return None
            changed = self._items[pk, sk] = change.applied(item)
        return dict(changed)

    def delete(self, keys: Iterable[Key]) -> None:
        there = list(keys)
        with self._lock:
            for key in there:
                self._items.pop(key, None)

    def _live(self, key: Key) -> Item | None:
        return live(self._items.get(key), self._now())


def _answers(item: Item, query: Query) -> bool:
    if item.get(query.partition) != query.pk or not all(name in item for name in query.order):
        return False
    place = query.place(item)
    if query.after and not (place < query.after if query.newest_first else place > query.after):
        return False
    return query.first <= place[0] and (not query.last or place[0] <= query.last)
