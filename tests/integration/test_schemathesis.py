"""The API against its description: Schemathesis asks the running product what the description allows, and what it does not.

Nothing may end in a 5xx, or in a status, type, header or member that is not described. What is described is taken, and what
is not is refused.
"""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from pai.local.gateway import Gateway
from tests.integration.conftest import DEPLOYMENTS, Api, served

ROOT = Path(__file__).resolve().parents[2]
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
ST = Path(sys.executable).with_name("st")
LONGEST_S = 120
LEASE = b"Pets are allowed in the garden, and nowhere else, said the lease of 2023."
IN_MEMORY = {"PAI_LLM": "echo", "PAI_RETRIEVER": "memory", "PAI_KEY_CACHE_S": "0", "PAI_TITLES": "0"}
WITHOUT_DOCUMENTS = {**DEPLOYMENTS["one machine"], "PAI_LLM": "echo", "PAI_RETRIEVER": "none"}

CONFIGURATION = """
hooks = "{hooks}"
continue-on-failure = true
request-timeout = 20

[auth.openapi]
key = {{ bearer = "{key}" }}

[generation]
deterministic = true
max-examples = 20

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 413, 422]

[[operations]]  # the same Idempotency-Key comes with another body, too
include-name = ["POST /chat", "POST /conversations/{{conversation_id}}/regenerate"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 404, 409, 422]

[[operations]]  # of which type and how large the file is, its announcement says
include-name = "PUT /uploads/{{token}}"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 403, 404, 413]

[[operations]]  # that calls have results, and whose turn it is, no schema says
include-name = "POST /v1/chat/completions"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 404]
"""
KNOWN = """
[[operations]]
include-name = "{operation}"
parameters = {parameters}
"""


def checked(api: Api, known: Mapping[str, Mapping[str, str]], folder: Path, *options: str) -> str:
    """Have Schemathesis check a deployment; return what it says. `known` are parameters that nobody could guess."""
    key = api.key("me")[1]
    operations = [KNOWN.format(operation=name, parameters=_inline(values)) for name, values in known.items()]
    settings = folder / "schemathesis.toml"
    settings.write_text(CONFIGURATION.format(hooks=HOOKS, key=key) + "".join(operations))
    command = [str(ST), "--config-file", str(settings), "run", f"{api.url}/openapi.json", "--no-color", *options]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )  # its database of examples and its reports stay in the folder
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _inline(values: Mapping[str, str]) -> str:
    """Return a table of TOML on one line."""
    return "{" + ", ".join(f'"path.{name}" = "{value}"' for name, value in values.items()) + "}"


def known_things(me: httpx.Client) -> Mapping[str, Mapping[str, str]]:
    """Make an answered turn, a document that can be read, and an address that takes a file."""
    answered = me.post("/chat", json={"message": "May I keep a dog?"}).json()
    turn = {"conversation_id": answered["conversation_id"], "turn_id": answered["turn_id"]}
    file = {"filename": "lease.txt", "content_type": "text/plain", "bytes": len(LEASE)}
    announced = me.post("/upload", json=file).json()
    me.put(urlsplit(announced["upload"]["url"]).path, content=LEASE, headers={"Content-Type": "text/plain"})
    deadline = time.monotonic() + 20
    while me.get(f"/documents/{announced['document_id']}").json()["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    place = me.post("/upload", json={**file, "content_type": "application/octet-stream"}).json()["upload"]["url"]
    return {
        "DELETE /conversations/{conversation_id}/turns/{turn_id}": turn,
        "PUT /uploads/{token}": {"token": place.rpartition("/")[2]},
        "GET /documents/{document_id}/passages/{passage_id}": {"document_id": announced["document_id"], "passage_id": "0"},
    }


def test_whatever_is_asked_the_answer_is_one_that_is_described(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with served(gateway, IN_MEMORY, monkeypatch) as api, api.client("me") as me:
        said = checked(api, known_things(me), tmp_path)

    assert "Stateful" in said


def test_answers_are_described_where_no_documents_are_kept(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with served(gateway, {**WITHOUT_DOCUMENTS, "PAI_HOME": str(tmp_path / "home")}, monkeypatch) as api:
        said = checked(api, {}, tmp_path, "--phases", "examples,fuzzing")

    assert "28 selected" in said


def test_description_is_there_without_a_key(memory_api: Api) -> None:
    reply = httpx.get(f"{memory_api.url}/openapi.json")

    assert reply.status_code == 200
    assert reply.json()["openapi"].startswith("3.1")
    assert urljoin(str(reply.url), reply.json()["servers"][0]["url"]) == f"{memory_api.url}/"
    assert urljoin("https://x.example/api/openapi.json", reply.json()["servers"][0]["url"]) == "https://x.example/api/"
