"""The whole of it, with nothing standing in: a real model, a real key file, a real database, processes that are killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.local_model import small_model_path
from tests.standins.processes import ROOT

SENTENCE = "My dog is called Bartholomew and he likes carrots."
pytestmark = pytest.mark.skipif(small_model_path() is None, reason="no small model here: `pai models fetch smollm2`")


@contextmanager
def running(home: Path, log: Path) -> Iterator[tuple[httpx.Client, "subprocess.Popen[bytes]"]]:
    """Serve this home with the small model until the block ends; yield a client with its first key, and the process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAI_", "AWS_"))}
    environment = {**kept, "PAI_HOME": str(home), "PAI_MODELS_HOME": str(Path(str(small_model_path())).parent)}
    command = [sys.executable, "-u", "-m", "pai", "run", "--port", "0", "--model", "smollm2"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        url = _address(process, log)
        key = (home / "api-key").read_text().strip()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
            yield client, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=20)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    start = log.stat().st_size
    while process.poll() is None:
        with log.open() as lines:
            lines.seek(start)
            for line in lines:
                if "PAI answers at " in line and line.endswith("\n"):
                    return line.split("PAI answers at ")[1].strip()
    raise RuntimeError(f"pai run ended:\n{log.read_text()}")


def ask(client: httpx.Client, message: str, conversation_id: str = "") -> dict[str, object]:
    body = {"message": message, "conversation_id": conversation_id, "max_tokens": 24, "temperature": 0}
    reply = client.post("/chat", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, object] = reply.json()
    return answer


def events(client: httpx.Client, path: str, last: str = "") -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yield each event of a turn as it comes: its id, name and data."""
    with client.stream("GET", f"{path}/events", headers={"Last-Event-ID": last} if last else {}) as response:
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                fields = {}


def test_answer_is_followed_after_its_server_was_killed_in_the_middle(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    body = {"message": "Tell me a very long story about the sea.", "max_tokens": 400, "temperature": 0}
    with running(home, log) as (client, process):
        turn = client.post("/chat", json=body, headers={"Prefer": "respond-async"}).json()
        path = f"/conversations/{turn['conversation_id']}/turns/{turn['turn_id']}"
        seen, last = "", ""
        for last, name, data in events(client, path):  # noqa: B007 - where it was left is needed below
            seen += str(data["text"]) if name == "text" else ""
            if len(seen) > 20:
                break
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    with running(home, log) as (client, process):
        rest = list(events(client, path, last))
        kept = client.get(path).json()
        again = client.post(f"/conversations/{turn['conversation_id']}/regenerate", json={"max_tokens": 8}).json()

    assert [name for _, name, _ in rest][-1] == "failed"
    assert rest[-1][2]["Code"] == "TurnLost"
    assert kept["message"] == seen + "".join(str(data["text"]) for _, name, data in rest if name == "text")
    assert again["turn_id"] == turn["turn_id"]
    assert again["message"]


def test_answer_is_kept_as_far_as_it_came_when_its_server_is_told_to_stop(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    body = {"message": "Tell me a very long story about the sea.", "max_tokens": 400, "temperature": 0}
    with running(home, log) as (client, process):
        turn = client.post("/chat", json=body, headers={"Prefer": "respond-async"}).json()
        path = f"/conversations/{turn['conversation_id']}/turns/{turn['turn_id']}"
        told = []
        for _, name, data in events(client, path):
            told.append((name, data))
            if name == "text" and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    with running(home, log) as (client, process):
        kept = client.get(path).json()

    assert told[-1][0] == "done"
    assert (kept["state"], kept["stop_reason"]) == ("done", "stopped")
    assert kept["message"]


def test_conversation_goes_on_after_the_server_is_killed_and_nothing_said_is_readable_on_disk(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    with running(home, log) as (client, process):
        first = ask(client, SENTENCE)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    with running(home, log) as (client, process):
        conversation_id = str(first["conversation_id"])
        second = ask(client, "Thank you.", conversation_id)
        messages = client.get(f"/conversations/{conversation_id}").json()["messages"]
        # The database is read while its server runs, write-ahead log and all.
        on_disk = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())

    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    assert messages[0]["content"] == SENTENCE
    assert messages[1]["content"] == first["message"] != ""
    assert messages[3]["content"] == second["message"]
    assert first["model"] == second["model"]
    with closing(sqlite3.connect(home / "pai.sqlite3")) as database:
        assert database.execute("select count(*) from items").fetchone()[0] >= 6
    for secret in (SENTENCE, "Bartholomew", str(first["message"])):
        assert secret.encode() not in on_disk
        assert secret not in log.read_text()
    assert (home / "api-key").read_text().strip() not in log.read_text()
