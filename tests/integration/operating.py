"""An AWS account to operate in, a package to deploy to it, and `pai` as a program calls it: fixtures, imported by name."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pai.operate.template import load_template
from tests.conftest import RESOURCES, ROOT, _announced_url
from tests.standins.bedrock import BedrockStandIn

Pai = Callable[..., "subprocess.CompletedProcess[str]"]

ADDRESS = "https://abc123.execute-api.us-east-1.amazonaws.com/api"
DATABASE = {"AWS::RDS::DBCluster", "AWS::RDS::DBInstance"}
"""What moto's CloudFormation can't make."""
SONNET = "us.anthropic.claude-sonnet-4-6"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.fixture(scope="session")
def account_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an account whose CloudFormation runs change sets."""
    log = tmp_path_factory.mktemp("account") / "log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "tests.standins.aws_account", "-H", "127.0.0.1", "-p", "0"]
        environment = {**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _announced_url(process, log)
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def account(account_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty account, reached by any boto3 client made in this test and by `pai`; its address."""
    for name in ("API_KEY", "S3_BUCKET_NAME", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": account_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{account_url}/moto-api/reset").raise_for_status()
    return account_url


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", standin.url)
        yield standin


@pytest.fixture
def pai(account: str, bedrock: BedrockStandIn, tmp_path: Path) -> Pai:
    """Run `pai …` to its end, in the account; what is named is put into its environment."""

    def pai(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        return subprocess.run(
            [sys.executable, "-m", "pai", *arguments],
            cwd=ROOT,
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


def write_package(folder: Path, stage: str, **outputs: Any) -> Path:
    """Write what `make package` makes, in small: the real resources, and functions that do nothing."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "deployment.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), "def app(event, context):\n    return None\n")
    template = load_template(RESOURCES)
    for name in [name for name, entry in template["Resources"].items() if entry["Type"] in DATABASE]:
        del template["Resources"][name]
    for name in ("Cluster", "ClusterSecret", "Database"):
        template["Outputs"].pop(name, None)
    tags = [{"Key": "pai:app", "Value": "pai"}, {"Key": "pai:stage", "Value": stage}]
    template["Resources"]["ConversationsKey"]["Properties"]["Tags"] = tags
    template["Resources"]["Role"] = {
        "Type": "AWS::IAM::Role",
        "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
    }
    for suffix in ("", "-worker"):
        template["Resources"][f"Function{suffix.strip('-')}"] = _function(f"pai-{stage}{suffix}")
    template["Outputs"] |= {"EndpointURL": {"Value": f"{ADDRESS}/"}, **outputs}
    (folder / "template.json").write_text(json.dumps(template))
    return folder


def _function(name: str) -> dict[str, Any]:
    names = {"PAI_MODEL": "claude-sonnet", "PAI_MODELS": "claude-haiku", "PAI_BUDGET": "day-dollars=2, model=claude-haiku"}
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": name,
            "Runtime": "python3.12",
            "Handler": "app.app",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Timeout": 29,
            "MemorySize": 1024,
            "Code": "./deployment.zip",
            "Environment": {"Variables": names},
        },
    }
