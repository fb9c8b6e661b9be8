"""An AWS account to operate in, a package to deploy to it, and `pai` as a program calls it: fixtures, imported by name."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import pytest

from tests.conftest import set_account
from tests.standins.bedrock import BedrockStandIn
from tests.standins.templates import sam_template

Pai = Callable[..., "subprocess.CompletedProcess[str]"]

SONNET = "us.anthropic.claude-sonnet-4-6"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture
def account(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty account, reached by any boto3 client made in this test and by `pai`; its address."""
    for name in ("API_KEY", "S3_BUCKET_NAME", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    set_account(monkeypatch, AWS_ENDPOINT_URL=moto_url, **nowhere)
    httpx.post(f"{moto_url}/moto-api/reset").raise_for_status()
    return moto_url


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        for service in ("BEDROCK", "BEDROCK_RUNTIME"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", standin.url)
        yield standin


@pytest.fixture
def pai(account: str, bedrock: BedrockStandIn, clone: Path, tmp_path: Path) -> Pai:
    """Run `pai …` of a clone to its end, in the account; what is named is put into its environment."""

    def pai(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        return subprocess.run(
            [sys.executable, "-m", "pai", *arguments],
            cwd=clone,
            env={**kept, "PAI_HOME": str(tmp_path / "home"), **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return pai


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package", "dev")


def write_package(folder: Path, stage: str) -> Path:
    """Write what `make package` makes: the real template, and an archive that holds nothing."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "deployment.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), "")
    (folder / "sam.json").write_text(json.dumps(sam_template(stage)))
    return folder


def api_of(stage: str = "dev") -> str:
    """Return the id of the deployed API."""
    [api] = [api for api in boto3.client("apigateway").get_rest_apis()["items"] if api["name"] == f"pai-{stage}"]
    return str(api["id"])


def address(stage: str = "dev") -> str:
    """Return the address of the deployed API, as AWS gives it."""
    return f"https://{api_of(stage)}.execute-api.us-east-1.amazonaws.com/api"


def execution_logs(stage: str = "dev") -> str:
    """Return the name of the log group that API Gateway makes by itself."""
    return f"API-Gateway-Execution-Logs_{api_of(stage)}/api"
