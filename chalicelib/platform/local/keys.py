"""A file as the key ring, `keys.json`: its version is the hash of its bytes."""

import hashlib
import io
from pathlib import Path

from chalicelib import keyring
from chalicelib.errors import KeyRingChanged, KeysUnavailable
from chalicelib.platform.local.disk import disk_failures, locked, replace_file
from chalicelib.records import KeyRing


class FileKeys:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_suffix(".lock")
        self._what = f"The API keys in {path}"

    def load(self) -> KeyRing:
        with disk_failures(KeysUnavailable, self._what):
            data = self._read()
        if data is None:
            return KeyRing()
        try:
            return keyring.decode(data.decode(), _version(data))
        except ValueError as error:
            raise KeysUnavailable(
                f"{self._path} does not hold a key ring ({error}). "
                "Restore it: `pai restore`; or remove it and create new keys."
            ) from None

    def save(self, ring: KeyRing) -> None:
        with disk_failures(KeysUnavailable, self._what), locked(self._lock):
            if _version(self._read()) != ring.version:
                raise KeyRingChanged(
                    "Somebody else changed the API keys at the same time. Look at them again, then repeat your change."
                )
            replace_file(self._path, io.BytesIO(keyring.encode(ring).encode()), scratch=self._path.parent)

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None


def _version(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
