"""`pai keys`, as a program calls it: on this machine's ring, and on the one of a stage on AWS."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chalicelib import keyring, wiring
from chalicelib.auth import Authenticator
from chalicelib.errors import Forbidden
from chalicelib.records import Principal
from chalicelib.settings import Settings
from tests.standins.processes import ROOT

Keys = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def keys(home: Path) -> Keys:
    """Run `pai keys …` to its end."""

    def keys(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        return subprocess.run(
            [sys.executable, "-m", "pai", "keys", *arguments],
            cwd=ROOT,
            env={**environment, "PAI_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return keys


def listed(keys: Keys, *arguments: str) -> list[dict[str, Any]]:
    answer = keys("list", "--json", *arguments)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)  # type: ignore[no-any-return]


def admitted(home: Path, token: str) -> Principal:
    """Who the server takes the bearer of this token for."""
    ring = wiring.Parts(Settings(platform="local", home=str(home))).platform.keys
    return Authenticator(ring, cache_s=0).principal(f"Bearer {token}")


def test_created_key_is_all_that_a_program_gets_and_it_works(keys: Keys, home: Path) -> None:
    made = keys("create", "--name", "phone", "--owner", "anna")

    assert made.returncode == 0
    assert admitted(home, made.stdout.strip()).owner == "anna"
    assert len(made.stdout.splitlines()) == 1


def test_json_tells_everything_of_a_new_key_but_its_digest(keys: Keys, home: Path) -> None:
    made = json.loads(keys("create", "--name", "phone", "--owner", "anna", "--expires", "2999-12-31", "--json").stdout)

    assert admitted(home, made["token"]) == Principal("anna", made["id"])
    assert (made["name"], made["expires_at"], made["state"]) == ("phone", "2999-12-31T23:59:59.999Z", "active")
    assert keyring.digest(made["token"]) not in json.dumps(made)


def test_list_shows_no_key_and_no_digest(keys: Keys) -> None:
    token = keys("create", "--name", "phone", "--owner", "anna").stdout.strip()

    for shown in (keys("list"), keys("list", "--json")):
        assert "phone" in shown.stdout
        assert "anna" in shown.stdout
        assert token not in shown.stdout
        assert keyring.digest(token) not in shown.stdout


def test_disabled_key_is_refused(keys: Keys, home: Path) -> None:
    token = keys("create", "--name", "phone").stdout.strip()

    assert keys("disable", "phone").returncode == 0

    with pytest.raises(Forbidden, match="disabled"):
        admitted(home, token)
    assert listed(keys)[0]["state"] == "disabled"


def test_rotated_key_has_a_successor_and_an_end(keys: Keys, home: Path) -> None:
    old = keys("create", "--name", "phone", "--owner", "anna").stdout.strip()

    new = keys("rotate", "phone").stdout.strip()

    assert {admitted(home, old).owner, admitted(home, new).owner} == {"anna"}
    assert [key["expires_at"] is None for key in listed(keys)] == [False, True]


def test_rotating_without_grace_ends_the_old_key_at_once(keys: Keys, home: Path) -> None:
    old = keys("create", "--name", "phone").stdout.strip()

    keys("rotate", "phone", "--grace", "0h")

    with pytest.raises(Forbidden, match="expired"):
        admitted(home, old)


def test_rotating_the_first_key_puts_the_new_one_in_its_file(keys: Keys, home: Path) -> None:
    token = keys("create", "--name", "first").stdout
    (home / "api-key").write_text(token)

    new = keys("rotate", "first").stdout

    assert (home / "api-key").read_text() == new != token
    assert (home / "api-key").stat().st_mode & 0o777 == 0o600


def test_name_that_two_keys_have_is_refused_with_their_ids(keys: Keys) -> None:
    ids = [json.loads(keys("create", "--name", "phone", "--json").stdout)["id"] for _ in range(2)]

    refused = keys("disable", "phone")

    assert refused.returncode == 1
    assert all(key_id in refused.stderr for key_id in ids)
    assert keys("disable", ids[0]).returncode == 0
    assert [key["state"] for key in listed(keys)] == ["disabled", "active"]


def test_name_of_an_ended_key_may_be_used_again(keys: Keys) -> None:
    keys("create", "--name", "phone")
    keys("disable", "phone")
    keys("create", "--name", "phone")

    assert keys("disable", "phone").returncode == 0
    assert {key["state"] for key in listed(keys)} == {"disabled"}


def test_key_that_is_not_there_is_a_sentence(keys: Keys) -> None:
    for command in ("disable", "rotate"):
        refused = keys(command, "nothing")
        assert (refused.returncode, "pai keys list" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--owner", "Anna Smith"], "owner"),
        (["--owner", ""], "owner"),
        (["--owner", "x" * 65], "owner"),
        (["--name", "x" * 65], "name"),
        (["--name", "a\nb"], "name"),
        (["--expires", "soon"], "90d"),
        (["--expires", "2020-01-01"], "later than now"),
        (["--expires", "0d"], "later than now"),
        (["--expires", "99999999999d"], "90d"),
        (["--expires", "2030-01-01T00:00:00"], "90d"),
    ],
)
def test_what_a_key_cannot_be_is_a_sentence(keys: Keys, arguments: list[str], words: str) -> None:
    refused = keys("create", *arguments)

    assert refused.returncode == 2
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert listed(keys) == []


def test_many_at_once_lose_no_key(keys: Keys) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: keys("create", "--name", f"key-{number}"), range(4)))

    assert [answer.returncode for answer in made] == [0] * 4
    assert {key["name"] for key in listed(keys)} == {f"key-{number}" for number in range(4)}


def test_ring_of_a_newer_home_is_left_alone(keys: Keys, home: Path) -> None:
    home.mkdir()
    (home / "home.json").write_text('{"format": 99}')

    refused = keys("create")

    assert refused.returncode == 1
    assert "newer PAI" in refused.stderr
    assert not (home / "keys.json").exists()


def test_stage_that_is_not_there_is_a_sentence_with_those_that_are(keys: Keys) -> None:
    refused = keys("list", "--stage", "nowhere")

    assert refused.returncode == 2
    assert "dev, local, prod" in refused.stderr


def test_keys_of_a_stage_on_aws_are_in_its_secret(keys: Keys, home: Path, aws: str) -> None:
    keys("create", "--name", "phone", "--owner", "anna", "--stage", "dev")
    keys("rotate", "phone", "--stage", "dev")
    keys("create", "--name", "laptop", "--stage", "dev")
    keys("disable", "laptop", "--stage", "dev")

    assert [(key["name"], key["owner"], key["state"]) for key in listed(keys, "--stage", "dev")] == [
        ("phone", "anna", "active"),
        ("phone", "anna", "active"),
        ("laptop", "me", "disabled"),
    ]
    assert not home.exists()


def test_aws_that_is_out_of_reach_is_a_sentence(keys: Keys, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    refused = keys("list", "--stage", "dev")

    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
