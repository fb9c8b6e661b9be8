"""The API key that a deployment begins with: made here, or the owner's own, of which only the digest is kept."""

import time
from dataclasses import dataclass, field

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.platform import Keys
from chalicelib.records import KeyRing
from pai.ring import FIRST_OWNER, change, state

FIRST, GIVEN = "first", "given"


@dataclass(frozen=True)
class Given:
    """What came of it: a sentence, and the new key where one was made, to be shown this once."""

    said: str
    token: str = field(default="", repr=False)


def ensure_key(keys: Keys, own: str, stage: str) -> Given:
    """See to it that a key works: the owner's `own`, or (empty) any; one is made where there is none.

    A key that was disabled stays so. Raises `BadRequest` for an `own` that can't be one.
    """
    now = iso(time.time())
    if own:
        return change(keys, lambda ring: _adopt(ring, own, now, stage))
    return change(keys, lambda ring: _make(ring, now))


def _make(ring: KeyRing, now: str) -> tuple[KeyRing, Given]:
    active = sum(state(key) == "active" for key in ring.keys)
    if active:
        return ring, Given(f"{active} that work{'s' if active == 1 else ''}")
    key, token = keyring.new_key(FIRST, FIRST_OWNER, now)
    return keyring.add(ring, key), Given(f"{key.id} of {key.owner} is new", token)


def _adopt(ring: KeyRing, own: str, now: str, stage: str) -> tuple[KeyRing, Given]:
    known = next((key for key in ring.keys if key.sha256 == keyring.digest(own)), None)
    if known:
        works = state(known) == "active"
        again = "" if works else f" and is {state(known)}: give another one, or `pai keys create --stage {stage}`"
        return ring, Given(f"your own is in the ring as {known.id}{again}")
    key = keyring.adopt_key(own, GIVEN, FIRST_OWNER, now)
    older = [other.id for other in ring.keys if other.name == GIVEN and state(other) == "active"]
    still = f"; {', '.join(older)}, given before, works until `pai keys disable {older[0]} --stage {stage}`" if older else ""
    return keyring.add(ring, key), Given(f"your own is new in the ring, as {key.id}{still}")
