"""The owners' keys of a backup, and how what they have wrapped comes under those of the stage.

The stage may have another KMS key than it had, if it was destroyed and made anew; and then, or after its table was lost, a
new key for an owner. So an owner's key is wrapped anew, or the keys of that owner's conversations and documents are. What
these have sealed stays as it is. chalicelib/vault.py has the hierarchy.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from chalicelib.errors import PaiError, SealBroken
from chalicelib.platform.aws.cipher import KmsCipher
from chalicelib.platform.aws.clients import client
from chalicelib.settings import Settings
from chalicelib.store import Item, Store, When
from pai.archive import ArchiveError
from pai.operate.saved import Origin, owner_of

CANT_OPEN = (
    "Only the KMS key {key} can open this backup, and it does not. {reason} If that key is pending deletion, "
    "`aws kms cancel-key-deletion --key-id {key}` and then `aws kms enable-key --key-id {key}` bring it back, until its last "
    "day; restore again after that. Nothing was changed."
)


class OwnerKeys:
    """`closed` are the owners whose key was damaged before: nobody can read what is theirs."""

    def __init__(self, wrapped: Mapping[str, Item], origin: Origin, settings: Settings, store: Store) -> None:
        """Open the owners' keys, by owner as the backup has them, which changes nothing.

        Raises `ArchiveError` where the backup's KMS key does not do that.
        """
        self._wrapped = wrapped
        self._store = store
        self._place = {"deployment": origin.deployment, "stage": origin.stage}
        self._cipher = KmsCipher(client("kms"), settings.kms_key)
        self.same_master = origin.kms_key == settings.kms_key
        try:
            self._saved = self._opened(KmsCipher(client("kms", region_name=origin.kms_key.split(":")[3]), origin.kms_key))
        except PaiError as error:
            raise ArchiveError(CANT_OPEN.format(key=origin.kms_key, reason=error.message)) from error
        self._standing: dict[str, bytes] = {}

    @property
    def owners(self) -> list[str]:
        return list(self._saved)

    @property
    def closed(self) -> list[str]:
        return sorted(self._wrapped.keys() - self._saved.keys())

    def put_back(self, owner: str) -> Literal["put", "there"]:
        """Put an owner's key, if the stage has none, and learn which one it has then."""
        item, key = self._wrapped[owner], self._saved[owner]
        while True:
            there = self._store.get(str(item["pk"]), str(item["sk"]))
            if there is not None:
                self._standing[owner] = self._unwrapped(owner, there)
                return "there"
            wrapped = _key(item) if self.same_master else self._cipher.wrap(key, self._context(owner))
            if self._store.put({**item, "key": wrapped}, [When("absent", "pk")]):
                self._standing[owner] = key
                return "put"

    def fitting(self, item: Item) -> Item:
        """Return an item so that the stage's key of its owner opens it. What its own did not open stays closed."""
        owner = owner_of(str(item["pk"]))
        saved, standing, key = self._saved.get(owner), self._standing.get(owner), item.get("key")
        if saved and standing and saved != standing and isinstance(key, bytes):
            with suppress(InvalidUnwrap):
                return {**item, "key": aes_key_wrap(standing, aes_key_unwrap(saved, key))}
        return item

    def _opened(self, cipher: KmsCipher) -> dict[str, bytes]:
        """Return the keys that open. Raises SealBroken if none does: then it is not one of them that is damaged."""
        opened, broken = dict[str, bytes](), SealBroken("")
        for owner, item in self._wrapped.items():
            try:
                opened[owner] = cipher.unwrap(_key(item), self._context(owner))
            except SealBroken as error:
                broken = error
        if self._wrapped and not opened:
            raise broken
        return opened

    def _unwrapped(self, owner: str, there: Item) -> bytes:
        try:
            return self._cipher.unwrap(_key(there), self._context(owner))
        except SealBroken as broken:
            raise ArchiveError(
                f"The key of {owner} in the table does not open: {broken.message} Delete the item O#{owner} from the table, "
                "then restore again: the backup has one that opens."
            ) from broken

    def _context(self, owner: str) -> dict[str, str]:
        return {**self._place, "owner": owner}


def _key(item: Item) -> bytes:
    key = item["key"]
    if not isinstance(key, bytes):
        raise TypeError("a wrapped key is not bytes")
    return key
