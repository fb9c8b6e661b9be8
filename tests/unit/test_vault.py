"""The vault: what is sealed opens in its own place, for its own owner, unchanged; and nowhere else."""

from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chalicelib.errors import SealBroken
from chalicelib.platform import Cipher, memory
from chalicelib.settings import Settings
from chalicelib.store.memory import MemoryStore
from chalicelib.vault import CACHE_S, CACHED_OWNERS, Box, Vault
from tests.unit.conftest import Clock


class CountingPlatform(memory.MemoryPlatform):
    """The platform in memory, its cipher's calls counted."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.calls = 0
        counted = self.cipher
        platform = self

        class Counting:
            def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
                platform.calls += 1
                return counted.wrap(key, context)

            def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
                platform.calls += 1
                return counted.unwrap(wrapped, context)

        self.cipher: Cipher = Counting()  # type: ignore[assignment]


@pytest.fixture
def platform() -> CountingPlatform:
    return CountingPlatform(Settings())


@pytest.fixture
def vault(platform: CountingPlatform) -> Vault:
    return Vault(MemoryStore(), platform, Settings())


def test_sealed_text_opens_in_its_place(vault: Vault) -> None:
    box, wrapped = vault.new_box("me", "C#me#1")

    sealed = box.seal("M#1", "content", "grüß 🎉 \x00")

    assert vault.open_box("me", "C#me#1", wrapped).open("M#1", "content", sealed) == "grüß 🎉 \x00"
    assert b"gr" not in sealed


def test_same_text_is_sealed_differently_each_time(vault: Vault) -> None:
    box, _ = vault.new_box("me", "C#me#1")

    assert box.seal("M#1", "content", "x") != box.seal("M#1", "content", "x")


MOVES: Mapping[str, Callable[[Box], tuple[Box, str, str]]] = {
    "another table": lambda box: (Box("other", box.pk, box.aead), "M#1", "content"),
    "another partition": lambda box: (Box(box.table, "C#me#2", box.aead), "M#1", "content"),
    "another item": lambda box: (box, "M#2", "content"),
    "another attribute": lambda box: (box, "M#1", "title"),
}


@pytest.mark.parametrize("move", MOVES)
def test_sealed_text_that_was_moved_does_not_open(vault: Vault, move: str) -> None:
    box, _ = vault.new_box("me", "C#me#1")
    sealed = box.seal("M#1", "content", "secret")
    there, sk, attribute = MOVES[move](box)

    with pytest.raises(SealBroken):
        there.open(sk, attribute, sealed)


def test_sealed_text_with_any_byte_changed_or_cut_does_not_open(vault: Vault) -> None:
    box, _ = vault.new_box("me", "C#me#1")
    sealed = box.seal("M#1", "content", "secret")

    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(SealBroken):
            box.open("M#1", "content", changed)
        with pytest.raises(SealBroken):
            box.open("M#1", "content", sealed[:place])


def test_key_of_a_conversation_does_not_open_for_another_owner(vault: Vault) -> None:
    _, wrapped = vault.new_box("me", "C#me#1")

    with pytest.raises(SealBroken):
        vault.open_box("you", "C#me#1", wrapped)


def test_one_cipher_call_opens_everything_an_owner_has(platform: CountingPlatform, vault: Vault) -> None:
    boxes = [vault.new_box("me", f"C#me#{n}") for n in range(20)]
    made = platform.calls
    for n, (_, wrapped) in enumerate(boxes):
        vault.open_box("me", f"C#me#{n}", wrapped)

    assert (made, platform.calls) == (1, 1)


def test_owners_key_is_asked_for_again_after_five_minutes(platform: CountingPlatform) -> None:
    clock = Clock()
    vault = Vault(MemoryStore(), platform, Settings(), clock)
    _, wrapped = vault.new_box("me", "C#me#1")

    clock.time += CACHE_S + 1
    vault.open_box("me", "C#me#1", wrapped)

    assert platform.calls == 2


def test_box_that_was_open_is_forgotten_with_its_owners_key(platform: CountingPlatform) -> None:
    clock = Clock()
    vault = Vault(MemoryStore(), platform, Settings(), clock)
    _, wrapped = vault.new_box("me", "C#me#1")
    vault.open_box("me", "C#me#1", wrapped)

    clock.time += CACHE_S + 1
    vault.open_box("me", "C#me#1", wrapped)

    assert platform.calls == 2


def test_box_that_is_open_for_one_conversation_is_not_the_box_of_another(vault: Vault) -> None:
    box, wrapped = vault.new_box("me", "C#me#1")
    sealed = box.seal("M#1", "content", "secret")
    vault.open_box("me", "C#me#1", wrapped)

    with pytest.raises(SealBroken):
        vault.open_box("me", "C#me#2", wrapped).open("M#1", "content", sealed)


def test_cache_of_owners_keys_is_bounded(platform: CountingPlatform, vault: Vault) -> None:
    for n in range(CACHED_OWNERS + 1):
        vault.fingerprint(f"owner{n}", "x")
    made = platform.calls

    vault.fingerprint("owner0", "x")

    assert platform.calls == made + 1


def test_owners_key_of_another_stage_does_not_open(platform: CountingPlatform) -> None:
    store = MemoryStore()
    Vault(store, platform, Settings(stage="dev")).new_box("me", "C#me#1")

    with pytest.raises(SealBroken):
        Vault(store, platform, Settings(stage="prod")).new_box("me", "C#me#1")


def test_conversation_key_is_wrapped_by_rfc_3394(vault: Vault) -> None:
    _, wrapped = vault.new_box("me", "C#me#1")

    assert len(wrapped) == 40


def test_fingerprints_differ_between_owners(vault: Vault) -> None:
    assert vault.fingerprint("me", "x") == vault.fingerprint("me", "x")
    assert vault.fingerprint("me", "x") != vault.fingerprint("you", "x")


def test_format_of_sealed_values_is_stable() -> None:
    """What an older version sealed must open: format byte, nonce, AES-256-GCM over the address as a JSON list."""
    key, nonce = bytes(32), bytes(12)
    address = b'[1, "T", "C#me#1", "M#1", "content"]'
    sealed = b"\x01" + nonce + AESGCM(key).encrypt(nonce, b"kept", address)

    assert Box("T", "C#me#1", AESGCM(key)).open("M#1", "content", sealed) == "kept"
