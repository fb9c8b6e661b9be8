"""The master key of one machine: a file of 64 hex digits. Whoever loses it loses every conversation sealed under it."""

import io
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chalicelib.errors import CipherUnavailable, SealBroken
from chalicelib.platform.local.disk import create_file, disk_failures, replace_file

FILE = "master.key"

# Says that there has been a key: without it a lost key file would look like a first start, and a new key would be made
# over data that it can't open.
MARK = "master.key.made"
_MARK_TEXT = b"master.key was made in this folder. While this file is here, PAI never makes another one.\n"

_BYTES = 32


def master_key(home: Path) -> bytes:
    """Return the 32 bytes, made on the first start of this home. Any number of processes at once get the same.

    Raises `SealBroken` when the file is gone or damaged, and `CipherUnavailable` when it can't be read or made.
    """
    with disk_failures(CipherUnavailable, f"The master key in {home}"):
        # Asked first: the mark is written after the key, so a key that is not there although the mark was has been lost.
        marked = (home / MARK).exists()
        key = _decode(home, _read(home, marked))
        if not marked:
            replace_file(home / MARK, io.BytesIO(_MARK_TEXT), scratch=home)
        return key


def derived(key: bytes, purpose: str) -> bytes:
    """Return 32 bytes for one purpose, from which the master key can't be found."""
    return HKDF(SHA256(), 32, salt=None, info=f"pai {purpose}".encode()).derive(key)


def _read(home: Path, marked: bool) -> bytes:
    try:
        return (home / FILE).read_bytes()
    except FileNotFoundError:
        if marked:
            raise SealBroken(
                f"The key file {home / FILE} is gone, and nothing opens without it. Restore it: `pai restore`. "
                f"(To start anew and give up what was sealed, remove {home / MARK} and the data with it.)"
            ) from None
    # Where another process is first, its key is the key.
    with suppress(FileExistsError):
        create_file(home / FILE, io.BytesIO(f"{secrets.token_hex(_BYTES)}\n".encode()))
    return (home / FILE).read_bytes()


def _decode(home: Path, text: bytes) -> bytes:
    try:
        key = bytes.fromhex(text.decode())
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise SealBroken(f"The key file {home / FILE} is damaged: it must hold 64 hex digits. Restore it: `pai restore`.")
    return key
