"""API keys as data: made, adopted, disabled, rotated, written and read."""

import json
import re
from dataclasses import replace

import pytest

from chalicelib import keyring
from chalicelib.errors import BadRequest, Conflict, NotFound
from chalicelib.records import ApiKey, KeyRing

NOW = "2026-01-31T12:00:00.000Z"
DAY_LATER = "2026-02-01T12:00:00.000Z"
TOKEN = "correct-horse-battery-staple"


def ring_of(**changes: object) -> tuple[KeyRing, ApiKey]:
    key = replace(keyring.new_key("laptop", "anna", NOW)[0], **changes)  # type: ignore[arg-type]
    return KeyRing((key,), "v1"), key


def test_a_new_key_has_a_long_random_token_that_the_ring_does_not_hold() -> None:
    key, token = keyring.new_key("laptop", "anna", NOW, DAY_LATER)
    assert re.fullmatch(r"pai_[A-Za-z0-9_-]{43}", token)
    assert key == ApiKey(key.id, "laptop", "anna", keyring.digest(token), NOW, DAY_LATER)
    assert token not in keyring.encode(KeyRing((key,)))


def test_keys_have_short_ids_of_letters_that_are_not_mixed_up() -> None:
    ids = {keyring.new_key("laptop", "anna", NOW)[0].id for _ in range(50)}
    assert len(ids) == 50
    assert all(re.fullmatch("k_[2-9a-hj-km-np-z]{8}", key_id) for key_id in ids)


def test_a_digest_is_sha_256_in_hex() -> None:
    assert keyring.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_digest_of_what_is_no_unicode_is_of_no_token() -> None:
    assert keyring.digest("\ud800") != keyring.digest("?")


def test_a_token_of_ones_own_is_adopted() -> None:
    assert keyring.adopt_key(TOKEN, "phone", "anna", NOW).sha256 == keyring.digest(TOKEN)


@pytest.mark.parametrize("token", ["", "x" * 19, "x" * 513, "x" * 20 + " ", "x" * 20 + "\n", "x" * 20 + "ä", "\x7f" * 20])
def test_a_weak_or_unsendable_token_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(BadRequest, match="token") as caught:
        keyring.adopt_key(token, "phone", "anna", NOW)
    assert not token or token not in caught.value.message


@pytest.mark.parametrize("owner", ["a", "anna", "0", "anna.b_c-d@example.org", "a" * 64])
def test_an_owner_may_be_a_name_or_an_address(owner: str) -> None:
    assert keyring.new_key("laptop", owner, NOW)[0].owner == owner


@pytest.mark.parametrize("owner", ["", "Anna", ".anna", "an na", "anna\n", "a" * 65, "änna", "a/b", "a#b"])
def test_an_owner_of_other_characters_is_refused(owner: str) -> None:
    with pytest.raises(BadRequest, match="owner"):
        keyring.new_key("laptop", owner, NOW)


@pytest.mark.parametrize("name", ["", "x" * 65, "two\nlines", "\x1b[31m"])
def test_a_name_that_would_garble_the_list_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="name"):
        keyring.new_key(name, "anna", NOW)


@pytest.mark.parametrize("end", ["", "soon", "2026-02-01", NOW, "2026-01-31T11:59:59.999Z"])
def test_an_end_that_is_no_time_or_is_over_is_refused(end: str) -> None:
    with pytest.raises(BadRequest, match="expires_at"):
        keyring.new_key("laptop", "anna", NOW, end)


def test_adding_keeps_the_others_and_the_version() -> None:
    ring, key = ring_of()
    other = keyring.new_key("phone", "ben", NOW)[0]
    assert keyring.add(ring, other) == KeyRing((key, other), "v1")


def test_one_token_can_not_be_two_keys() -> None:
    ring = keyring.add(KeyRing(), keyring.adopt_key(TOKEN, "phone", "anna", NOW))
    with pytest.raises(Conflict, match=ring.keys[0].id):
        keyring.add(ring, keyring.adopt_key(TOKEN, "phone", "ben", NOW))


def test_a_disabled_key_stays_in_the_ring() -> None:
    ring, key = ring_of()
    disabled = keyring.disable(ring, key.id)
    assert disabled == KeyRing((replace(key, disabled=True),), "v1")
    assert keyring.disable(disabled, key.id) == disabled


def test_rotating_gives_the_same_owner_a_new_token_and_the_old_key_an_end() -> None:
    ring, old = ring_of()
    rotated, new, token = keyring.rotate(ring, old.id, NOW, 86_400)
    assert rotated.keys == (replace(old, expires_at=DAY_LATER), new)
    assert (new.name, new.owner, new.created_at, new.expires_at) == ("laptop", "anna", NOW, None)
    assert new.sha256 == keyring.digest(token) != old.sha256


def test_a_rotated_key_does_not_live_longer_than_it_would_have() -> None:
    ring, old = ring_of(expires_at=DAY_LATER)
    rotated, new, _ = keyring.rotate(ring, old.id, NOW, 1e12)
    assert rotated.keys[0].expires_at == DAY_LATER
    assert new.expires_at == DAY_LATER


def test_the_new_key_lives_as_long_as_the_old_one_was_made_to() -> None:
    ring, old = ring_of(created_at="2026-01-30T12:00:00.000Z", expires_at=DAY_LATER)
    _, new, _ = keyring.rotate(ring, old.id, NOW, 0)
    assert new.expires_at == "2026-02-02T12:00:00.000Z"


def test_an_end_in_the_last_year_of_the_calendar_can_be_rotated() -> None:
    ring, old = ring_of(expires_at="9999-12-31T23:59:59.000Z")
    _, new, _ = keyring.rotate(ring, old.id, DAY_LATER, 60)
    assert new.expires_at == "9999-12-31T23:59:59.000Z"


def test_a_key_rotated_at_once_leaves_a_ring_that_can_be_read() -> None:
    ring, old = ring_of()
    rotated, _, _ = keyring.rotate(ring, old.id, NOW, 0)
    assert keyring.decode(keyring.encode(rotated), "v1") == rotated


@pytest.mark.parametrize("ended", [{"disabled": True}, {"expires_at": NOW}])
def test_a_key_that_has_ended_is_not_rotated(ended: dict[str, object]) -> None:
    ring, key = ring_of(**ended)
    with pytest.raises(Conflict, match="pai keys create"):
        keyring.rotate(ring, key.id, NOW, 60)


def test_a_key_that_is_not_there_is_named() -> None:
    ring, _ = ring_of()
    with pytest.raises(NotFound, match="k_none"):
        keyring.disable(ring, "k_none")
    with pytest.raises(NotFound, match="k_none"):
        keyring.rotate(ring, "k_none", NOW, 60)


def test_a_ring_written_and_read_is_the_same() -> None:
    ring, key = ring_of(name="Annas Händy 📱", expires_at=DAY_LATER, disabled=True)
    assert keyring.decode(keyring.encode(ring), "v1") == ring
    assert keyring.decode(keyring.encode(KeyRing()), "v0") == KeyRing(version="v0")
    assert json.loads(keyring.encode(ring))["keys"][0]["id"] == key.id


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '{"keys": {}}', '{"keys": [], "more": 1}', '{"keys": [7]}'])
def test_what_is_no_ring_is_not_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        keyring.decode(text, "v1")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", 1),
        ("name", None),
        ("name", ""),
        ("owner", "ANNA"),
        ("owner", ["anna"]),
        ("sha256", "short"),
        ("sha256", "G" * 64),
        ("created_at", "now"),
        ("created_at", 1.5),
        ("expires_at", "later"),
        ("expires_at", 1),
        ("disabled", None),
        ("disabled", "false"),
        ("disabled", 0),
    ],
)
def test_a_key_with_a_wrong_value_is_named_and_not_read(field: str, value: object) -> None:
    data = json.loads(keyring.encode(ring_of()[0]))
    data["keys"][0][field] = value
    with pytest.raises(ValueError, match=f"key 1: {field}"):
        keyring.decode(json.dumps(data), "v1")


def test_a_key_with_a_member_missing_or_unknown_is_not_read() -> None:
    data = json.loads(keyring.encode(ring_of()[0]))
    key = data["keys"][0]
    for members in ({**key, "scope": "read"}, {name: key[name] for name in key if name != "disabled"}):
        with pytest.raises(ValueError, match="key 1"):
            keyring.decode(json.dumps({"keys": [members]}), "v1")


@pytest.mark.parametrize("shared", ["id", "sha256"])
def test_two_keys_with_one_id_or_token_are_not_read(shared: str) -> None:
    (ring, key), (_, other) = ring_of(), ring_of()
    both = replace(ring, keys=(key, replace(other, **{shared: getattr(key, shared)})))
    with pytest.raises(ValueError, match="two keys"):
        keyring.decode(keyring.encode(both), "v1")
