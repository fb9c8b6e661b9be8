"""The same app.py through Chalice's own server: stage dev on AWS's protocols, over HTTP, in processes of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import httpx
import pytest

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.platform import aws as aws_platform
from chalicelib.records import KeyRing
from chalicelib.settings import Settings
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.processes import ROOT

SENTENCE = "My cat is called Archimedes."


@contextmanager
def chalice_local(stage: str, environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run `chalice local --stage STAGE` until the block ends; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from chalice.cli import main; main()"]
    command += ["local", "--no-autoreload", "--stage", stage, "--port", str(port)]
    with log.open("a") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _answering(f"http://127.0.0.1:{port}", process, log)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _answering(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return url
    raise RuntimeError(f"chalice local did not start:\n{log.read_text()}")


@pytest.fixture
def bedrock() -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        yield standin


@pytest.fixture
def key(aws: str) -> str:
    """An API key of the owner `me` in stage dev's ring."""
    key, token = keyring.new_key("test", "me", iso(time.time()))
    settings = Settings(keys_secret="pai/dev/keys", kms_key="alias/pai-dev")
    aws_platform.build(settings).keys.save(keyring.add(KeyRing(), key))
    return token


def test_stage_dev_holds_a_conversation_on_dynamodb_kms_secrets_manager_and_bedrock(
    aws: str, key: str, bedrock: BedrockStandIn, tmp_path: Path
) -> None:
    bedrock.script(Behaviour(reply="A fine name."))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")} | {
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock.url,
        "AWS_ENDPOINT_URL_BEDROCK": bedrock.url,
    }
    log, headers = tmp_path / "log", {"Authorization": f"Bearer {key}"}

    with chalice_local("dev", environment, log) as url:
        refused = [httpx.get(f"{url}/conversations").status_code]
        refused += [httpx.get(f"{url}/conversations", headers={"Authorization": "Bearer x"}).status_code]
        first = httpx.post(f"{url}/chat", json={"message": SENTENCE}, headers=headers, timeout=30)
    conversation_id = first.json()["conversation_id"]
    with chalice_local("dev", environment, log) as url:
        again = {"message": "What is it called?", "conversation_id": conversation_id}
        second = httpx.post(f"{url}/chat", json=again, headers=headers, timeout=30)
        shown = httpx.get(f"{url}/conversations/{conversation_id}", headers=headers).json()

    assert refused == [401, 403]
    assert first.status_code == second.status_code == 200, first.text + second.text
    assert "claude" in first.json()["model"]
    assert len(shown["messages"]) == 4
    asked = bedrock.asked("ConverseStream")[-1]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]
    assert SENTENCE in str(asked)
    items = boto3.client("dynamodb").scan(TableName="PAI-Conversations-dev")["Items"]
    assert len(items) >= 6
    assert SENTENCE not in str(items)
    assert "Archimedes" not in str(items)
    for secret in (SENTENCE, "A fine name", key):
        assert secret not in log.read_text()
