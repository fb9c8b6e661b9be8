"""The store's contract as tests. A backend of your own passes them like this, in any test file:

class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        return MyStore(now=clock)
"""

import base64
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest

from chalicelib.errors import BadRequest, TooLarge
from chalicelib.store import INDEXED, Item, Store, When
from chalicelib.store.memory import MemoryStore

Result = TypeVar("Result")
ABSENT = When("absent", "pk")
PRESENT = When("present", "pk")
KEY = {"pk": "p", "sk": "s"}


DECISIONS = {  # conditions: do they hold on n = 5, text = "é", bytes = b"\0"; do they hold on nothing
    (PRESENT,): (True, False),
    (When("present", "n"),): (True, False),
    (When("present", "missing"),): (False, False),
    (ABSENT,): (False, True),
    (When("absent", "n"),): (False, True),
    (When("absent", "missing"),): (True, True),
    (When("equals", "n", 5),): (True, False),
    (When("equals", "n", 6),): (False, False),
    (When("equals", "n", "5"),): (False, False),
    (When("equals", "text", "é"),): (True, False),
    (When("equals", "bytes", b"\0"),): (True, False),
    (When("equals", "bytes", "\0"),): (False, False),
    (When("equals", "missing", ""),): (False, False),
    (When("at_most", "n", 5),): (True, True),
    (When("at_most", "n", 4),): (False, True),
    (When("at_most", "n", -1),): (False, True),
    (When("at_most", "missing", 0),): (True, True),
    (PRESENT, When("equals", "n", 5), When("at_most", "n", 9)): (True, False),
    (PRESENT, When("equals", "n", 6)): (False, False),
    (When("at_most", "n", 4), When("absent", "missing")): (False, True),
    (When("at_most", "n", 9), When("absent", "n")): (False, True),
}


class Clock:
    """Time that moves when a test says so, in Unix seconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def in_s(self, seconds: int) -> int:
        return int(self.now) + seconds


class StoreContract:
    """What every store does. Override `store`; each test wants an empty one."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        raise NotImplementedError

    # put and get

    def test_an_item_comes_back_as_it_was_put(self, store: Store) -> None:
        item: Item = {
            **KEY,
            "text": "Grüße, 🦊 and \0 and \n",
            "empty": "",
            "no_bytes": b"",
            "bytes": bytes(range(256)),
            "zero": 0,
            "negative": -7,
            "exact_in_a_float": 2**53,
            "beyond_a_float": 2**53 + 1,
            "large": 2**63 - 1,
            "odd name: #0, :1": "x",
            "size": "a reserved word of DynamoDB",
        }

        assert store.put(item)

        assert store.get("p", "s") == item
        assert {name: type(value) for name, value in (store.get("p", "s") or {}).items()} == {
            name: type(value) for name, value in item.items()
        }

    def test_putting_replaces_the_whole_item(self, store: Store) -> None:
        store.put({**KEY, "old": "x", "both": 1, "list_pk": "l", "list_sk": "1"})

        assert store.put({**KEY, "both": 2})

        assert store.get("p", "s") == {**KEY, "both": 2}
        assert items(store, "l", index=True) == []

    def test_what_was_never_put_is_not_there(self, store: Store) -> None:
        store.put({**KEY})

        assert store.get("p", "other") is None
        assert store.get("other", "s") is None
        assert items(store, "other") == []

    def test_what_is_returned_is_no_door_to_what_is_stored(self, store: Store) -> None:
        given: dict[str, Any] = {**KEY, "n": 1}
        store.put(given)
        given["n"] = 2
        reads: list[Callable[[], Any]] = [
            lambda: store.get("p", "s"),
            lambda: store.query("p").items[0],
            lambda: store.update("p", "s"),
        ]

        for read in reads:
            read()["n"] = 3
            assert store.get("p", "s") == {**KEY, "n": 1}

    # Conditions

    @pytest.mark.parametrize("verb", ["put", "update"])
    def test_a_condition_decides_and_an_expired_item_is_nothing_to_it(self, store: Store, clock: Clock, verb: str) -> None:
        for number in range(len(DECISIONS)):
            for sk, expires_at in (("there", clock.in_s(1)), ("expired", clock.in_s(0))):
                store.put({"pk": f"{number}", "sk": sk, "n": 5, "text": "é", "bytes": b"\0", "expires_at": expires_at})

        decided = {}
        for number, when in enumerate(DECISIONS):
            decided[when] = tuple(changed(store, verb, f"{number}", sk, iter(when)) for sk in ("there", "expired", "nothing"))

        assert decided == {
            when: (holds_on_item, holds_on_nothing, holds_on_nothing)
            for when, (holds_on_item, holds_on_nothing) in DECISIONS.items()
        }

    def test_the_same_item_again_is_not_absent(self, store: Store) -> None:
        assert store.put({**KEY, "id": "a"}, [ABSENT])
        assert not store.put({**KEY, "id": "a"}, [ABSENT])

    def test_of_many_who_put_what_must_be_absent_one_wins(self, store: Store) -> None:
        won = at_once(20, lambda n: store.put({**KEY, "winner": n}, [ABSENT]))

        assert won.count(True) == 1
        assert store.get("p", "s") == {**KEY, "winner": won.index(True)}

    # update

    def test_an_update_changes_only_what_it_names(self, store: Store) -> None:
        store.put({**KEY, "kept": b"k", "old": "x", "gone": 1, "count": 5})

        new = store.update("p", "s", set={"old": "y", "size": 1}, add={"count": -2, "tokens": 3}, remove=["gone", "never"])

        assert new == {**KEY, "kept": b"k", "old": "y", "size": 1, "count": 3, "tokens": 3}
        assert store.get("p", "s") == new

    def test_an_update_makes_the_item_unless_it_must_be_present(self, store: Store) -> None:
        assert store.update("p", "1", set={"a": "x"}, add={"n": 2}, remove=["b"], when=[PRESENT]) is None
        assert store.get("p", "1") is None

        assert store.update("p", "1", set={"a": "x"}, add={"n": 2}, remove=["b"]) == {"pk": "p", "sk": "1", "a": "x", "n": 2}
        assert store.update("p", "2") == {"pk": "p", "sk": "2"}
        assert items(store, "p") == [{"pk": "p", "sk": "1", "a": "x", "n": 2}, {"pk": "p", "sk": "2"}]

    def test_a_counter_loses_nothing(self, store: Store) -> None:
        at_once(20, lambda n: store.update("p", "s", add={"count": 1, "sum": n}))

        assert store.get("p", "s") == {**KEY, "count": 20, "sum": 190}

    def test_a_budget_is_never_overshot(self, store: Store) -> None:
        spent = at_once(50, lambda _: store.update("p", "s", add={"spent": 10}, when=[When("at_most", "spent", 90)]))

        assert sum(item is not None for item in spent) == 10
        assert store.get("p", "s") == {**KEY, "spent": 100}

    def test_an_update_of_a_key_or_of_one_attribute_twice_is_a_defect(self, store: Store) -> None:
        with pytest.raises(ValueError, match="update"):
            store.update("p", "s", set={"pk": "other"})
        with pytest.raises(ValueError, match="update"):
            store.update("p", "s", remove=["sk"])
        with pytest.raises(ValueError, match="update"):
            store.update("p", "s", set={"n": 1}, add={"n": 1})
        with pytest.raises(ValueError, match="update"):
            store.update("p", "s", add={"n": 1}, remove=["n"])

    # Expiry

    def test_an_item_that_expires_is_there_until_that_second(self, store: Store, clock: Clock) -> None:
        item: Item = {**KEY, "list_pk": "l", "list_sk": "1", "expires_at": clock.in_s(60)}
        store.put(item)

        clock.now += 59.9
        assert store.get("p", "s") == item
        assert items(store, "p") == [item]
        assert items(store, "l", index=True) == [item]

        for now in (clock.in_s(1), clock.in_s(1) + 0.1):
            clock.now = now
            assert store.get("p", "s") is None
            assert items(store, "p") == []
            assert items(store, "l", index=True) == []

    def test_nothing_of_an_expired_item_comes_back_by_an_update(self, store: Store, clock: Clock) -> None:
        store.put({**KEY, "secret": "x", "count": 7, "list_pk": "l", "list_sk": "1", "expires_at": clock.in_s(1)})
        clock.now += 1

        new = store.update("p", "s", set={"expires_at": clock.in_s(9)}, add={"count": 1}, remove=["other"])

        assert new == {**KEY, "count": 1, "expires_at": clock.in_s(9)}
        assert store.get("p", "s") == new
        assert items(store, "l", index=True) == []

    def test_an_expired_counter_begins_anew_and_loses_nothing(self, store: Store, clock: Clock) -> None:
        store.put({**KEY, "spent": 100, "expires_at": clock.in_s(0)})

        at_once(10, lambda _: store.update("p", "s", add={"spent": 1}, when=[When("at_most", "spent", 50)]))

        assert store.get("p", "s") == {**KEY, "spent": 10}

    def test_an_update_can_keep_an_item_from_expiring(self, store: Store, clock: Clock) -> None:
        store.put({**KEY, "n": 1, "expires_at": clock.in_s(1)})
        store.update("p", "s", remove=["expires_at"])
        clock.now += 9

        assert store.get("p", "s") == {**KEY, "n": 1}

    # query

    def test_a_partition_is_in_the_order_of_utf8_bytes(self, store: Store) -> None:
        keys = ["~", "M#2", "M#10", "M#1", "é", "z", "\ue000", "🦊", "Z", "m#1", "\x01"]
        for sk in keys:
            store.put({"pk": "p", "sk": sk})
        store.put({"pk": "p2", "sk": "M#3"})

        expected = sorted(keys, key=str.encode)
        assert expected[-1] == "🦊"  # UTF-16 would have it before U+E000
        assert [item["sk"] for item in items(store, "p")] == expected
        assert [item["sk"] for item in items(store, "p", newest_first=True)] == expected[::-1]

    def test_one_reverse_query_brings_the_header_and_the_newest_messages(self, store: Store) -> None:
        for number in range(30):
            store.put({"pk": "C#1", "sk": f"M#{number:02}"})
        store.put({"pk": "C#1", "sk": "~"})

        page = store.query("C#1", newest_first=True, limit=4)

        assert [item["sk"] for item in page.items] == ["~", "M#29", "M#28", "M#27"]
        assert page.cursor is not None

    @pytest.mark.parametrize("index", [False, True], ids=["table", "index"])
    def test_bounds_are_inclusive(self, store: Store, index: bool) -> None:
        for letter in "abcde":
            store.put({"pk": "p", "sk": letter, "list_pk": "p", "list_sk": letter})
        bounds = {"c ": "cde", " c": "abc", "b d": "bcd", "c c": "c", "bb cc": "c", "d b": "", "x ": "", " A": ""}

        found = {}
        for both in bounds:
            first, last = both.split(" ")
            found[both] = "".join(str(item["sk"]) for item in items(store, "p", index=index, first=first, last=last))
            backwards = items(store, "p", index=index, first=first, last=last, newest_first=True)
            assert "".join(str(item["sk"]) for item in backwards) == found[both][::-1]

        assert found == bounds

    @pytest.mark.parametrize("newest_first", [False, True], ids=["oldest_first", "newest_first"])
    @pytest.mark.parametrize("index", [False, True], ids=["table", "index"])
    def test_pages_bring_every_item_once(self, store: Store, index: bool, newest_first: bool) -> None:
        for number in range(12):
            store.put({"pk": "p", "sk": f"{number:02}", "list_pk": "p", "list_sk": f"{number:02}"})
        expected = [f"{number:02}" for number in range(1, 11)]

        for limit in (1, 3, 9, 10, 11):
            found = items(store, "p", index=index, newest_first=newest_first, limit=limit, first="01", last="10")
            assert [item["sk"] for item in found] == (expected[::-1] if newest_first else expected)

    @pytest.mark.parametrize("newest_first", [False, True], ids=["oldest_first", "newest_first"])
    def test_pages_bring_every_item_of_one_place_in_the_index_once(self, store: Store, newest_first: bool) -> None:
        for number in range(7):
            store.put({"pk": f"{number % 3}", "sk": f"{number}", "list_pk": "l", "list_sk": "same"})

        found = items(store, "l", index=True, newest_first=newest_first, limit=2, first="same", last="same")

        assert sorted(str(item["sk"]) for item in found) == [*"0123456"]

    def test_a_page_goes_on_behind_an_item_that_was_deleted_meanwhile(self, store: Store) -> None:
        for sk in "abcd":
            store.put({"pk": "p", "sk": sk})
        page = store.query("p", limit=2)
        store.delete([("p", "b"), ("p", "c")])

        assert [item["sk"] for item in store.query("p", cursor=page.cursor).items] == ["d"]

    def test_expired_items_do_not_end_a_list(self, store: Store, clock: Clock) -> None:
        for number in range(9):
            store.put({"pk": "p", "sk": f"{number}", **({"expires_at": clock.in_s(0)} if number < 8 else {})})

        assert [item["sk"] for item in items(store, "p", limit=2)] == ["8"]

    def test_a_page_has_a_hundred_items_unless_asked_otherwise(self, store: Store) -> None:
        for number in range(101):
            store.put({"pk": "p", "sk": f"{number:03}"})

        assert len(store.query("p").items) == 100

    @pytest.mark.parametrize("index", [False, True], ids=["table", "index"])
    def test_a_malformed_cursor_is_a_bad_request(self, store: Store, index: bool) -> None:
        texts = ["not JSON", "1", "{}", '{"sk": 1}', "[]", "[1]", '[""]', '["a", "b"]', '["\\ud800"]', "[" * 100_000]
        encoded = [base64.urlsafe_b64encode(text.encode()).decode() for text in texts]

        for cursor in ("", "x", "é", "a+/=", "\ud800", *encoded):
            with pytest.raises(BadRequest, match=r"^cursor: "):
                store.query("p", index=index, cursor=cursor)

    def test_a_cursor_of_another_list_is_a_bad_request(self, store: Store) -> None:
        for number in range(9):
            store.put({"pk": "p", "sk": f"{number}", "list_pk": "l", "list_sk": f"{number}"})
        cursor = store.query("p", first="3", last="5", limit=1).cursor

        for options in ({"first": "4"}, {"last": "2"}, {"index": True}):
            with pytest.raises(BadRequest, match=r"^cursor: "):
                store.query("p", cursor=cursor, **options)

    def test_a_page_of_nothing_is_a_defect(self, store: Store) -> None:
        with pytest.raises(ValueError, match="limit"):
            store.query("p", limit=0)

    # The index

    def test_the_index_lists_what_has_a_place_there_and_only_some_attributes(self, store: Store) -> None:
        listed: dict[str, Any] = {name: f"{name}!" for name in INDEXED if name != "expires_at"} | {
            "expires_at": 2**40,
            "key": b"\0",
        }
        store.put({**listed, "system_prompt": b"not in the list"})
        store.put({"pk": "p", "sk": "no place"})

        assert items(store, "list_pk!", index=True) == [listed]

    def test_an_item_appears_moves_and_disappears_in_the_index(self, store: Store) -> None:
        store.put({"pk": "a", "sk": "~", "list_pk": "l", "list_sk": "1"})
        store.put({"pk": "b", "sk": "~"})
        assert [item["pk"] for item in items(store, "l", index=True)] == ["a"]

        store.update("b", "~", set={"list_pk": "l", "list_sk": "2"})
        assert [item["pk"] for item in items(store, "l", index=True)] == ["a", "b"]

        store.update("a", "~", set={"list_sk": "3"})
        assert [item["pk"] for item in items(store, "l", index=True)] == ["b", "a"]

        store.update("b", "~", remove=["list_pk"])
        assert [item["pk"] for item in items(store, "l", index=True)] == ["a"]

        store.delete([("a", "~")])
        assert items(store, "l", index=True) == []
        assert store.get("b", "~") == {"pk": "b", "sk": "~", "list_sk": "2"}

    # delete

    def test_many_items_are_deleted_at_once(self, store: Store) -> None:
        for number in range(60):
            store.put({"pk": "p", "sk": f"{number:02}"})
        store.put({"pk": "p", "sk": "kept"})

        store.delete(("p", f"{number:02}") for number in range(60))

        assert items(store, "p") == [{"pk": "p", "sk": "kept"}]

    def test_deleting_what_is_not_there_or_twice_is_no_error(self, store: Store) -> None:
        store.put({**KEY})

        store.delete([])
        store.delete([("p", "s"), ("p", "missing"), ("p", "s")])
        store.delete([("p", "s")])

        assert items(store, "p") == []

    # Limits

    def test_an_item_of_400_kB_is_kept_and_a_larger_one_is_too_large(self, store: Store) -> None:
        largest: dict[str, Any] = {**KEY, "v": b"x" * 399_993}  # names count, too: pk, p, sk, s and v are 7 bytes

        assert store.put(largest)
        with pytest.raises(TooLarge, match=r"^item: "):
            store.put({**largest, "v": b"x" * 399_994})
        with pytest.raises(TooLarge, match=r"^item: "):
            store.update("p", "s", set={"w": "é" * 10_000})

        assert store.get("p", "s") == largest

    def test_nothing_is_found_under_a_key_that_cannot_be_and_nothing_put(self, store: Store) -> None:
        keys = [("", "s"), ("p", ""), ("p" * 2049, "s"), ("p", "é" * 513), ("\ud800", "s"), ("p", "\ud800")]

        for pk, sk in keys:
            assert store.get(pk, sk) is None
            with pytest.raises(BadRequest):
                store.put({"pk": pk, "sk": sk})
            with pytest.raises(BadRequest):
                store.update(pk, sk, set={"n": 1})
        store.delete(keys)
        for pk, sk in keys:
            for index in (False, True):
                if pk != "p":
                    assert items(store, pk, index=index) == []
                elif sk:
                    with pytest.raises(BadRequest, match=r"^first: "):
                        store.query("p", first=sk, index=index)
                    with pytest.raises(BadRequest, match=r"^last: "):
                        store.query("p", last=sk, index=index)

    def test_the_longest_keys_are_kept(self, store: Store) -> None:
        item = {"pk": "p" * 2048, "sk": "é" * 512, "list_pk": "l" * 2048, "list_sk": "s" * 1024}

        assert store.put(item)

        assert items(store, "p" * 2048) == [item]
        assert items(store, "l" * 2048, index=True) == [item]

    def test_half_a_character_is_a_bad_request(self, store: Store) -> None:
        for name in ("list_pk", "list_sk", "text"):
            with pytest.raises(BadRequest, match=rf"^{name}: "):
                store.put({**KEY, name: "\ud83e"})
            with pytest.raises(BadRequest, match=rf"^{name}: "):
                store.update("p", "s", set={name: "\ud83e"})

    def test_an_empty_place_in_the_index_is_a_bad_request(self, store: Store) -> None:
        with pytest.raises(BadRequest, match=r"^list_sk: "):
            store.put({**KEY, "list_pk": "l", "list_sk": ""})

    def test_a_value_of_another_type_is_a_defect(self, store: Store) -> None:
        others: list[Any] = [None, True, 1.5, ["a"], {"a": 1}, bytearray(b"a")]

        for value in others:
            with pytest.raises(TypeError, match=r"^v is a "):
                store.put({**KEY, "v": value})
            with pytest.raises(TypeError, match=r"^v is a "):
                store.update("p", "s", set={"v": value})
            with pytest.raises(TypeError, match=r"^v is a "):
                store.update("p", "s", add={"v": value})

    def test_a_number_or_time_that_some_store_could_not_keep_is_a_defect(self, store: Store) -> None:
        store.put({**KEY, "n": 10**38 - 1})

        with pytest.raises(ValueError, match="digits"):
            store.put({**KEY, "n": 10**38})
        with pytest.raises(ValueError, match="expires_at"):
            store.put({**KEY, "expires_at": 2**53})
        with pytest.raises(TypeError, match="expires_at"):
            store.put({**KEY, "expires_at": "tomorrow"})

        assert store.get("p", "s") == {**KEY, "n": 10**38 - 1}

    # All together

    @pytest.mark.parametrize("seed", range(3))
    def test_random_steps_end_as_they_do_in_memory(self, store: Store, clock: Clock, seed: int) -> None:
        twin = MemoryStore(clock)
        steps = random.Random(seed)
        for _ in range(100):
            step = random_step(steps, clock)
            assert step(store) == step(twin)
            clock.now += steps.choice([0, 0, 1])
        for pk in "pq":
            assert items(store, pk) == items(twin, pk)
            assert items(store, pk, index=True) == items(twin, pk, index=True)


def items(store: Store, pk: str, **options: Any) -> list[Item]:
    """Return all items of a query, page after page."""
    page = store.query(pk, **options)
    found = list(page.items)
    while page.cursor is not None:
        page = store.query(pk, **options, cursor=page.cursor)
        found += page.items
        assert len(page.items) <= options.get("limit", 100)
    return found


def changed(store: Store, verb: str, pk: str, sk: str, when: Iterable[When]) -> bool:
    """Put or update under conditions; whether the store says that it did, having seen that it speaks the truth."""
    before, key = store.get(pk, sk), {"pk": pk, "sk": sk}
    if verb == "put":
        expected, done = {**key, "new": 1}, store.put({**key, "new": 1}, when)
    else:
        new = store.update(pk, sk, set={"new": 1}, when=when)
        expected, done = {**key, **(before or {}), "new": 1}, new is not None
        assert new is None or new == expected
    assert store.get(pk, sk) == (expected if done else before)
    return done


def at_once(count: int, work: Callable[[int], Result]) -> list[Result]:
    """Run the work in that many threads, all starting together, and return what each returned."""
    ready = Barrier(count)

    def start(number: int) -> Result:
        ready.wait()
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(start, range(count)))


def random_step(steps: random.Random, clock: Clock) -> Callable[[Store], object]:
    """Return one operation on a handful of keys, conditions and values; it returns all that the caller sees of it."""
    pk, sk = steps.choice("pq"), steps.choice("abc")
    when = steps.sample(CONDITIONS, steps.choice([0, 0, 1, 2]))
    choices: Item = {
        "n": steps.randrange(4),
        "s": steps.choice(["", "é"]),
        "list_pk": steps.choice("pq"),
        "list_sk": steps.choice("xyz"),
        "expires_at": clock.in_s(steps.choice([-1, 0, 1, 3, 9])),
    }
    values = {name: value for name, value in choices.items() if steps.random() < 0.5}
    removed = [name for name in ("s", "list_pk", "expires_at") if name not in values and steps.random() < 0.3]
    added = {"count": 1} | ({} if "n" in values else {"n": 1})
    return steps.choice(
        [
            lambda store: store.put({"pk": pk, "sk": sk, **values}, when),
            lambda store: store.update(pk, sk, set=values, add=added, remove=removed, when=when),
            lambda store: store.update(pk, sk, set=values, when=when),
            lambda store: store.get(pk, sk),
            lambda store: items(store, pk, newest_first=True, limit=2),
            lambda store: items(store, pk, index=True, first="y"),
            lambda store: store.delete([(pk, sk)]),
        ]
    )


CONDITIONS = [
    PRESENT,
    ABSENT,
    When("present", "s"),
    When("absent", "s"),
    When("equals", "n", 1),
    When("equals", "s", ""),
    When("at_most", "n", 1),
    When("at_most", "count", 2),
]
