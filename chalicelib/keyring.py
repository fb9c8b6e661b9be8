"""The key ring as data: what makes, changes, writes and reads API keys. No function here touches the world but for chance."""

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any

from chalicelib import clock
from chalicelib.errors import BadRequest, Conflict, NotFound
from chalicelib.records import ApiKey, KeyRing

_OWNER = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_TOKEN = re.compile(r"[!-~]{20,512}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME_CHARACTERS = 64

_LAST_S = clock.seconds("9999-12-31T23:59:59Z")

# Without 0, 1, i, l and o: people read ids to each other.
_ID_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def digest(token: str) -> str:
    """Return the hex SHA-256 of any text. A fast hash is right here: a token is long and random, not a password."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def new_key(name: str, owner: str, now: str, expires_at: str | None = None) -> tuple[ApiKey, str]:
    """Return a key and its token, which nobody can make out from the key again. Times are ISO-8601. Raises `BadRequest`."""
    token = f"pai_{secrets.token_urlsafe(32)}"
    return adopt_key(token, name, owner, now, expires_at), token


def adopt_key(token: str, name: str, owner: str, now: str, expires_at: str | None = None) -> ApiKey:
    """Return a key for a token that the owner chose. Raises `BadRequest`, which never repeats the token."""
    if not _TOKEN.fullmatch(token):
        raise BadRequest("token", "an API key is 20 to 512 printable ASCII characters without spaces.")
    number = "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
    key = ApiKey(f"k_{number}", name, owner, digest(token), now, expires_at)
    for field, problem in _problems(key):
        raise BadRequest(field, problem)
    if expires_at and clock.seconds(expires_at) <= clock.seconds(now):
        raise BadRequest("expires_at", "must be later than now.")
    return key


def add(ring: KeyRing, key: ApiKey) -> KeyRing:
    """Return the ring with one key more. A token that is in it already is a `Conflict`: it would belong to two keys."""
    for other in ring.keys:
        if other.sha256 == key.sha256:
            raise Conflict(f"This API key is in the ring already, as {other.id}. Choose another one.")
    return replace(ring, keys=(*ring.keys, key))


def disable(ring: KeyRing, key_id: str) -> KeyRing:
    """Return the ring with this key disabled, for good. Raises `NotFound`."""
    return _put(ring, replace(_find(ring, key_id), disabled=True))


def rotate(ring: KeyRing, key_id: str, now: str, grace_s: float) -> tuple[KeyRing, ApiKey, str]:
    """Return a ring in which a new key takes this one's place, that key, and its token.

    The old key works for `grace_s` seconds more, or to its own end if that is sooner. The new one lives as long as the
    old one was made to live. Raises `NotFound`, and `Conflict` for a key that has ended.
    """
    old = _find(ring, key_id)
    now_s = clock.seconds(now)
    end_s = clock.seconds(old.expires_at) if old.expires_at else math.inf
    if old.disabled or end_s <= now_s:
        raise Conflict(f"The API key {key_id} has ended and can't be rotated. Create a new one: `pai keys create`.")
    new, token = new_key(old.name, old.owner, now, _time(now_s + end_s - clock.seconds(old.created_at)))
    ending = replace(old, expires_at=_time(min(now_s + grace_s, end_s)))
    return add(_put(ring, ending), new), new, token


def _time(seconds: float) -> str | None:
    """Return an end as ISO-8601; None for never. The calendar's last second is the latest there is."""
    return None if seconds == math.inf else clock.iso(min(seconds, _LAST_S))


def _find(ring: KeyRing, key_id: str) -> ApiKey:
    for key in ring.keys:
        if key.id == key_id:
            return key
    raise NotFound(f"There is no API key {key_id}. `pai keys list` shows them.")


def _put(ring: KeyRing, key: ApiKey) -> KeyRing:
    return replace(ring, keys=tuple(key if other.id == key.id else other for other in ring.keys))


def encode(ring: KeyRing) -> str:
    """Return the ring as JSON, without its version: that is the backend's own."""
    return json.dumps({"keys": [asdict(key) for key in ring.keys]}, separators=(",", ":"))


def decode(text: str, version: str) -> KeyRing:
    """Return the ring that `encode` wrote. Raises ValueError, saying which key is wrong and how.

    Nothing unknown is skipped: a newer PAI may have written that a key may do less.
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.keys() != {"keys"} or not isinstance(data["keys"], list):
        raise ValueError("it is not an object with the one member `keys`")
    keys = tuple(_decode_key(number, entry) for number, entry in enumerate(data["keys"], 1))
    if len({key.id for key in keys}) < len(keys) or len({key.sha256 for key in keys}) < len(keys):
        raise ValueError("two keys have the same id or the same token")
    return KeyRing(keys, version)


def _decode_key(number: int, entry: Any) -> ApiKey:
    if not isinstance(entry, dict) or entry.keys() != {field.name for field in fields(ApiKey)}:
        raise ValueError(f"key {number} lacks a member, or has one that this version of PAI does not know")
    key = ApiKey(**entry)
    for field, problem in _problems(key):
        raise ValueError(f"key {number}: {field}: {problem}")
    return key


def _problems(key: ApiKey) -> Iterator[tuple[str, str]]:
    """Yield each field that is wrong, with what it should be."""
    if not _is(key.id, re.compile(r"\S{1,64}")):
        yield "id", "1 to 64 characters without spaces."
    if not isinstance(key.name, str) or not key.name.isprintable() or not 0 < len(key.name) <= _NAME_CHARACTERS:
        yield "name", f"1 to {_NAME_CHARACTERS} printable characters."
    if not _is(key.owner, _OWNER):
        yield "owner", "1 to 64 of a-z, 0-9 and . _ @ -, beginning with a letter or digit."
    if not _is(key.sha256, _SHA256):
        yield "sha256", "64 hexadecimal digits."
    if not isinstance(key.disabled, bool):
        yield "disabled", "true or false."
    if not _is_time(key.created_at):
        yield "created_at", "a time like 2026-01-31T12:00:00.000Z."
    if key.expires_at is not None and not _is_time(key.expires_at):
        yield "expires_at", "a time like 2026-01-31T12:00:00.000Z."


def _is(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    try:
        clock.seconds(value)
    except (TypeError, ValueError):
        return False
    return True
