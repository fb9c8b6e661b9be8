"""What every backend agrees on about items: their limits, expiry, conditions and changes. Pure functions.

The limits are DynamoDB's, so that what one machine keeps, the cloud keeps too:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chalicelib.errors import BadRequest, TooLarge
from chalicelib.store import Item, Key, Value, When

ITEM_BYTES = 400_000
"""A little under DynamoDB's 409,600, which counts numbers only "approximately" so."""
KEY_BYTES = {"pk": 2048, "sk": 1024, "list_pk": 2048, "list_sk": 1024}
NUMBER_DIGITS = 38


def is_key(name: str, text: str) -> bool:
    """Whether this text can be that key: not empty, not too long, and Unicode that UTF-8 can write."""
    try:
        return 0 < len(text.encode()) <= KEY_BYTES[name]
    except UnicodeEncodeError:
        return False


def can_exist(key: Key) -> bool:
    """Whether an item could stand here. To look where none can is no error: nothing is there."""
    pk, sk = key
    return is_key("pk", pk) and is_key("sk", sk)


def check(item: Item) -> Key:
    """Return the item's key. Refuse what a backend could not keep: TooLarge, BadRequest; defects are TypeError, ValueError."""
    size_bytes = sum(len(name.encode()) + _size_bytes(name, value) for name, value in item.items())
    if size_bytes > ITEM_BYTES:
        raise TooLarge("item", f"is {size_bytes:,} bytes; the store takes {ITEM_BYTES:,} at most in one piece. Send less.")
    for name in {"pk", "sk", *(KEY_BYTES.keys() & item.keys())}:
        if not is_key(name, _text(name, item[name])):
            raise BadRequest(name, f"must be 1 to {KEY_BYTES[name]} bytes of valid Unicode.")
    if not 0 <= _number("expires_at", item.get("expires_at", 0)) < 2**53:
        raise ValueError("expires_at is no time in Unix seconds")
    return _text("pk", item["pk"]), _text("sk", item["sk"])


def live(item: Item | None, now: float) -> Item | None:
    """Return the item, or None when it has expired: from then on nothing is there."""
    if item is None or ("expires_at" in item and _number("expires_at", item["expires_at"]) <= now):
        return None
    return item


def holds(when: Iterable[When], item: Item | None) -> bool:
    """Whether all conditions hold on the live item, or on nothing (None)."""
    return all(_holds(condition, (item or {}).get(condition.name)) for condition in when)


def _holds(condition: When, found: Value | None) -> bool:
    match condition.test:
        case "present":
            return found is not None
        case "absent":
            return found is None
        case "equals":
            return found == condition.value
        case "at_most":
            return found is None or _number(condition.name, found) <= _number("the limit", condition.value)


@dataclass(frozen=True)
class Change:
    """What an update does to the item at `pk`, `sk`: the arguments of `Store.update`, checked when made."""

    pk: str
    sk: str
    set: Item
    add: Mapping[str, int]
    remove: tuple[str, ...]

    def __post_init__(self) -> None:
        names = ["pk", "sk", *self.set, *self.add, *self.remove]
        if len(names) != len({*names}):
            raise ValueError(f"an update may name each attribute once, and no key: {names[2:]}")
        for name, more in self.add.items():
            _number(name, more)
        check({"pk": self.pk, "sk": self.sk, **self.set, **self.add})

    def applied(self, item: Item | None) -> Item:
        """Return what becomes of the live item, or of nothing."""
        kept = {name: value for name, value in (item or {}).items() if name not in self.remove}
        counted = {name: _number(name, kept.get(name, 0)) + more for name, more in self.add.items()}
        changed = {"pk": self.pk, "sk": self.sk, **kept, **self.set, **counted}
        check(changed)
        return changed


def _size_bytes(name: str, value: Value) -> int:
    """Return what DynamoDB counts for a value."""
    if type(value) is bytes:
        return len(value)
    if type(value) is str:
        try:
            return len(value.encode())
        except UnicodeEncodeError:
            raise BadRequest(name, "holds half a character (a lone surrogate). Send valid Unicode.") from None
    number = _number(name, value)
    if abs(number) >= 10**NUMBER_DIGITS:
        raise ValueError(f"{name} is a number of more than {NUMBER_DIGITS} digits")
    return (len(str(number)) + 1) // 2 + 1


def _number(name: str, value: Value) -> int:
    if type(value) is not int:
        raise TypeError(f"{name} is a {type(value).__name__} and not an int; items hold str, int and bytes")
    return value


def _text(name: str, value: Value) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__} and not a str")
    return value
