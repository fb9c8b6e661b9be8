"""The key hierarchy and the sealing of values, written once over a cipher.

    master key (KMS, or a key file)      wraps one key for each owner, under {deployment, stage, owner}
    └── owner's key                      wraps each conversation's own key (AES key wrap, RFC 3394)
        └── conversation's key           seals each value: AES-256-GCM, random 96-bit nonce

The associated data of a sealed value is its whole address (table, pk, sk, attribute name, format), so that no ciphertext
can be moved or swapped. One cipher call opens everything an owner has, none while the owner's key is cached (5 minutes).
"""

import hmac
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from chalicelib.errors import SealBroken
from chalicelib.platform import Platform
from chalicelib.settings import Settings
from chalicelib.store import Item, Store, When

FORMAT = 1
NONCE_BYTES = 12
CACHE_S = 300
CACHED_OWNERS = 256
CACHED_BOXES = 8
"""For each owner: a turn opens its conversation's box several times."""


@dataclass(frozen=True)
class Box:
    """Seals and opens the values of one partition under its own key."""

    table: str
    pk: str
    aead: AESGCM

    def seal(self, sk: str, attribute: str, text: str) -> bytes:
        """Return format byte + nonce + ciphertext; 29 bytes longer than the text in UTF-8."""
        nonce = os.urandom(NONCE_BYTES)
        return bytes([FORMAT]) + nonce + self.aead.encrypt(nonce, text.encode(), self._address(sk, attribute))

    def open(self, sk: str, attribute: str, sealed: bytes) -> str:
        """Return the text; `SealBroken` if it was changed, or sealed for another place."""
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            if sealed[:1] != bytes([FORMAT]):
                raise InvalidTag
            return self.aead.decrypt(nonce, ciphertext, self._address(sk, attribute)).decode()
        except (InvalidTag, ValueError):
            raise SealBroken(
                f"The {attribute} stored at {sk} does not open with its key: it was changed or moved outside PAI. "
                "Restore the store from a backup, or delete the conversation."
            ) from None

    def _address(self, sk: str, attribute: str) -> bytes:
        return json.dumps([FORMAT, self.table, self.pk, sk, attribute]).encode()


def _opened(table: str, owner_key: bytes, pk: str, wrapped: bytes) -> Box:
    try:
        return Box(table, pk, AESGCM(aes_key_unwrap(owner_key, wrapped)))
    except InvalidUnwrap:
        raise SealBroken(
            "The conversation's key does not open with its owner's key: one of them was changed outside PAI. "
            "Restore the store from a backup."
        ) from None


@dataclass(frozen=True)
class _Held:
    """An owner's key, as long as it may be used, and the boxes it opens."""

    until: float
    key: bytes
    box: Callable[[str, bytes], Box]


class Vault:
    """Opens boxes. Owners' keys are items of their own in the store, wrapped by the platform's cipher."""

    def __init__(
        self, store: Store, platform: Platform, settings: Settings, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._platform = platform
        self._table = settings.table
        self._place = {"deployment": settings.deployment, "stage": settings.stage}
        self._now = now
        self._held: dict[str, _Held] = {}

    def new_box(self, owner: str, pk: str) -> tuple[Box, bytes]:
        """Return a box with a fresh key, and that key wrapped (40 bytes) for the header."""
        key = os.urandom(32)
        return Box(self._table, pk, AESGCM(key)), aes_key_wrap(self._hold(owner).key, key)

    def open_box(self, owner: str, pk: str, wrapped: bytes) -> Box:
        """Return the box whose wrapped key this is; `SealBroken` if it isn't this owner's."""
        return self._hold(owner).box(pk, wrapped)

    def fingerprint(self, owner: str, text: str) -> str:
        """Return a keyed digest (HMAC-SHA-256, hex): equal for equal texts of one owner, and nothing to guess against."""
        return hmac.new(self._hold(owner).key, text.encode(), "sha256").hexdigest()

    def _hold(self, owner: str) -> _Held:
        known = self._held.get(owner)
        if known and self._now() < known.until:
            return known
        key = self._read_owner_key(owner) or self._make_owner_key(owner)
        while len(self._held) >= CACHED_OWNERS:
            self._held.pop(next(iter(self._held)), None)
        # What a key has opened is forgotten with it.
        box = lru_cache(maxsize=CACHED_BOXES)(partial(_opened, self._table, key))
        held = self._held[owner] = _Held(self._now() + CACHE_S, key, box)
        return held

    def _read_owner_key(self, owner: str) -> bytes | None:
        item = self._store.get(f"O#{owner}", "~")
        if item is None:
            return None
        wrapped = item["key"]
        assert isinstance(wrapped, bytes)
        return self._platform.cipher.unwrap(wrapped, self._context(owner))

    def _make_owner_key(self, owner: str) -> bytes:
        key = os.urandom(32)
        item: Item = {"pk": f"O#{owner}", "sk": "~", "key": self._platform.cipher.wrap(key, self._context(owner))}
        if self._store.put(item, [When("absent", "pk")]):
            return key
        return self._read_owner_key(owner) or self._make_owner_key(owner)

    def _context(self, owner: str) -> dict[str, str]:
        return {**self._place, "owner": owner}
