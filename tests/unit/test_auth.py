"""Keys are looked up in a ring that is trusted for a while."""

from dataclasses import dataclass, field

import pytest

from chalicelib import keyring
from chalicelib.auth import RELOAD_S, Authenticator
from chalicelib.clock import iso
from chalicelib.errors import Forbidden, KeysUnavailable, Unauthorized
from chalicelib.platform.memory import MemoryKeys
from chalicelib.records import KeyRing
from tests.unit.conftest import Clock


@dataclass
class CountedKeys(MemoryKeys):
    """The ring in memory; counts how often it is read, and can be down."""

    loads: int = 0
    down: bool = False
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        super().__init__()

    def load(self) -> KeyRing:
        if self.down:
            raise KeysUnavailable("Down.")
        self.loads += 1
        return super().load()

    def make(self, expires_in_s: float | None = None) -> tuple[str, str]:
        end = None if expires_in_s is None else iso(self.clock() + expires_in_s)
        key, token = keyring.new_key("laptop", "me", iso(self.clock()), end)
        self.save(keyring.add(super().load(), key))
        return key.id, f"Bearer {token}"


@pytest.fixture
def keys() -> CountedKeys:
    return CountedKeys()


@pytest.fixture
def gate(keys: CountedKeys) -> Authenticator:
    return Authenticator(keys, 60, keys.clock)


def test_known_key_is_its_owner(keys: CountedKeys, gate: Authenticator) -> None:
    key_id, header = keys.make()

    who = gate.principal(header)

    assert (who.owner, who.key_id) == ("me", key_id)


@pytest.mark.parametrize("header", [None, "", "  "])
def test_no_header_is_unauthorized(gate: Authenticator, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        gate.principal(header)


@pytest.mark.parametrize("header", ["Bearer", "Bearer  ", "Basic x", "x", "Bearer x", "Bearer \udcff", "Bearer " + "é" * 99])
def test_malformed_or_unknown_key_is_forbidden(gate: Authenticator, header: str) -> None:
    with pytest.raises(Forbidden):
        gate.principal(header)


def test_ring_is_read_once_in_a_minute(keys: CountedKeys, gate: Authenticator) -> None:
    _, header = keys.make()
    for _ in range(5):
        gate.principal(header)
    read_once = keys.loads
    keys.clock.time += 61
    gate.principal(header)

    assert (read_once, keys.loads) == (1, 2)


def test_disabled_key_works_a_minute_longer_at_most(keys: CountedKeys, gate: Authenticator) -> None:
    key_id, header = keys.make()
    gate.principal(header)
    keys.save(keyring.disable(keys.load(), key_id))
    keys.clock.time += 61

    with pytest.raises(Forbidden, match="disabled"):
        gate.principal(header)


def test_key_expires_at_its_time_whatever_is_cached(keys: CountedKeys, gate: Authenticator) -> None:
    _, header = keys.make(expires_in_s=10)
    gate.principal(header)
    keys.clock.time += 10

    with pytest.raises(Forbidden, match="expired"):
        gate.principal(header)


def test_new_key_works_although_the_ring_is_cached_and_wrong_keys_do_not_flood_the_source(
    keys: CountedKeys, gate: Authenticator
) -> None:
    _, first = keys.make()
    gate.principal(first)
    keys.clock.time += RELOAD_S
    _, second = keys.make()
    gate.principal(second)
    before = keys.loads

    for _ in range(100):
        with pytest.raises(Forbidden):
            gate.principal("Bearer wrong")

    assert keys.loads == before


def test_clock_set_back_reads_the_ring_again(keys: CountedKeys, gate: Authenticator) -> None:
    _, header = keys.make()
    gate.principal(header)
    keys.clock.time -= 10_000
    gate.principal(header)

    assert keys.loads == 2


def test_ring_that_cannot_be_read_is_said(keys: CountedKeys, gate: Authenticator) -> None:
    _, header = keys.make()
    keys.down = True

    with pytest.raises(KeysUnavailable):
        gate.principal(header)
