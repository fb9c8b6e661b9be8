"""What every suite shares: an AWS account on this machine (moto, in a process of its own, over HTTP)."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent
RESOURCES = ROOT / "infrastructure" / "resources.yaml"


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a moto server, started for this run and stopped with it."""
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _announced_url(process, log)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _announced_url(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1:"):
                return word
        time.sleep(0.05)
    raise RuntimeError(f"moto did not start:\n{log.read_text()}")


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty account with PAI's resources for stage dev, reached by any boto3 client made in this test; its address."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{moto_url}/moto-api/reset").raise_for_status()
    boto3.client("cloudformation").create_stack(
        StackName="pai-dev",
        TemplateBody=RESOURCES.read_text(),
        Parameters=[{"ParameterKey": "Environment", "ParameterValue": "dev"}],
    )
    return moto_url
