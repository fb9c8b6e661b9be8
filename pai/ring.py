"""Changes to a key ring that others may be changing too, and the first key of a machine."""

import time
from collections.abc import Callable
from typing import TypeVar

from chalicelib import keyring
from chalicelib.clock import iso, seconds
from chalicelib.errors import KeyRingChanged
from chalicelib.platform import Keys
from chalicelib.records import ApiKey, KeyRing
from pai.config import write_private
from pai.home import Home

TRIES = 5
FIRST_OWNER = "me"

T = TypeVar("T")


def change(keys: Keys, edit: Callable[[KeyRing], tuple[KeyRing, T]]) -> T:
    """Save what `edit` makes of the ring and return what it says beside it.

    Begins again with the ring as it then is when another change came between, so that both get in.
    """
    for _ in range(TRIES - 1):
        try:
            return _change_once(keys, edit)
        except KeyRingChanged:
            continue
    return _change_once(keys, edit)


def state(key: ApiKey) -> str:
    """Return `active`, `disabled` or `expired`."""
    if key.disabled:
        return "disabled"
    return "expired" if key.expires_at and seconds(key.expires_at) <= time.time() else "active"


def ensure_first_key(home: Home, keys: Keys) -> None:
    """See to it that the home's api-key file holds a key that works.

    The file comes before the ring: killed in between, the next start finds a key that does not work, and makes another.
    """
    if any(key.sha256 == first_digest(home) and state(key) == "active" for key in keys.load().keys):
        return
    key, token = keyring.new_key("first", FIRST_OWNER, iso(time.time()))
    write_private(home.api_key, f"{token}\n".encode())
    change(keys, lambda ring: (keyring.add(ring, key), key))


def first_digest(home: Home) -> str:
    """Return the digest of the key in the home's api-key file; that of nothing when there is none."""
    try:
        return keyring.digest(home.api_key.read_text().strip())
    except (FileNotFoundError, UnicodeDecodeError):
        return keyring.digest("")


def _change_once(keys: Keys, edit: Callable[[KeyRing], tuple[KeyRing, T]]) -> T:
    ring, result = edit(keys.load())
    keys.save(ring)
    return result
