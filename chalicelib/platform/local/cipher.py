"""AES-256-GCM under one master key in this process, as the cipher."""

import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chalicelib.errors import SealBroken

# A wrapped key is this byte, the nonce, and the sealed key with its tag.
_FORMAT = b"\x01"
_NONCE_BYTES = 12


class KeyCipher:
    """`key` is the 32-byte master key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _FORMAT + nonce + self._aead.encrypt(nonce, key, _associated(context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        head, nonce, sealed = wrapped[:1], wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        try:
            if head != _FORMAT:
                raise InvalidTag
            return self._aead.decrypt(nonce, sealed, _associated(context))
        except (InvalidTag, ValueError):
            raise SealBroken(
                "A wrapped key does not open: it was changed, or moved from another owner or deployment, "
                "or wrapped under another master key. If you replaced the key file, restore the old one: `pai restore`."
            ) from None


def _associated(context: Mapping[str, str]) -> bytes:
    """Return the context in one unambiguous form, whatever the order it was written in."""
    return _FORMAT + json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode()
