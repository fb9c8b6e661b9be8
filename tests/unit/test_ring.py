"""Changes to a key ring that others change at the same time."""

import time
from pathlib import Path

import pytest

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.errors import KeyRingChanged
from chalicelib.platform import Keys
from chalicelib.platform.memory import build
from chalicelib.records import KeyRing
from chalicelib.settings import Settings
from pai.home import Home
from pai.ring import change, ensure_first_key


@pytest.fixture
def keys() -> Keys:
    return build(Settings()).keys


def named(ring: KeyRing, name: str) -> tuple[KeyRing, str]:
    """Return the ring with a key of this name more."""
    key, _ = keyring.new_key(name, "me", iso(time.time()))
    return keyring.add(ring, key), name


def test_change_that_comes_between_is_kept(keys: Keys) -> None:
    others = ["theirs", "theirs too"]

    def edit(ring: KeyRing) -> tuple[KeyRing, str]:
        if others:
            keys.save(named(keys.load(), others.pop())[0])
        return named(ring, "ours")

    assert change(keys, edit) == "ours"
    assert {key.name for key in keys.load().keys} == {"theirs", "theirs too", "ours"}


def test_change_that_is_always_overtaken_gives_up(keys: Keys) -> None:
    def edit(ring: KeyRing) -> tuple[KeyRing, str]:
        keys.save(named(keys.load(), "theirs")[0])
        return named(ring, "ours")

    with pytest.raises(KeyRingChanged):
        change(keys, edit)

    assert {key.name for key in keys.load().keys} == {"theirs"}


def test_first_key_that_works_stays(keys: Keys, tmp_path: Path) -> None:
    home = Home(tmp_path)

    ensure_first_key(home, keys)
    token = home.api_key.read_text()
    ensure_first_key(home, keys)

    assert home.api_key.read_text() == token
    assert [key.sha256 for key in keys.load().keys] == [keyring.digest(token.strip())]


@pytest.mark.parametrize("content", [b"", b"pai_of_another_home", b"\xff\xfe"])
def test_first_key_that_does_not_work_is_replaced(keys: Keys, tmp_path: Path, content: bytes) -> None:
    home = Home(tmp_path)
    home.api_key.write_bytes(content)

    ensure_first_key(home, keys)

    assert keyring.digest(home.api_key.read_text().strip()) in {key.sha256 for key in keys.load().keys}
