"""An account of one's own to deploy the whole product to: moto with what it lacks (tests/standins/aws_account.py)."""

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import pytest

import app as product
from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.wiring import here
from pai.local.postgres.server import Server
from tests.conftest import EMPTIED
from tests.contract.aws_standin import serving
from tests.standins.bedrock import BedrockStandIn
from tests.standins.data_api import DataApiStandIn
from tests.standins.lambda_functions import Invoked, ask, context, forget, running
from tests.standins.templates import sam_template

Json = dict[str, Any]


@pytest.fixture
def postgres(postgres_server: Server) -> str:
    """In place of the other tests': a database that is called as the stack's is."""
    with postgres_server.connect("pai") as administrator:
        administrator.execute(EMPTIED)
    return postgres_server.url("pai")


@dataclass
class Account:
    """`invoked` is what the functions started in the background, at the address `jobs`."""

    url: str
    bedrock: BedrockStandIn
    database: DataApiStandIn
    invoked: Invoked
    jobs: str


@pytest.fixture
def account(moto_url: str, data_api: DataApiStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An empty account, with Bedrock, the Data API over a real database, and a Lambda that keeps what is invoked."""
    httpx.post(f"{moto_url}/moto-api/reset").raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    invoked = Invoked()
    with BedrockStandIn() as bedrock, serving(invoked) as jobs:
        for service in ("BEDROCK", "BEDROCK_RUNTIME"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", bedrock.url)
        yield Account(moto_url, bedrock, data_api, invoked, jobs)
    forget()


@contextmanager
def invoking(account: Account) -> Iterator[None]:
    """Let the functions of this block start others: they are kept in `account.invoked`, not run."""
    name = "AWS_ENDPOINT_URL_LAMBDA"
    os.environ[name] = account.jobs
    try:
        yield
    finally:
        del os.environ[name]


def deploy_stack(rag: bool, stage: str = "dev") -> dict[str, str]:
    """Deploy the one template, as `pai deploy` does when it has uploaded the archive; return the stack's outputs."""
    put_archive()
    formation = boto3.client("cloudformation")
    request: Json = {
        "StackName": f"pai-{stage}",
        "TemplateBody": json.dumps(sam_template(stage)),
        "Parameters": [{"ParameterKey": "EnableRag", "ParameterValue": str(rag).lower()}],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    known = [stack["StackName"] for stack in formation.list_stacks()["StackSummaries"]]
    (formation.update_stack if f"pai-{stage}" in known else formation.create_stack)(**request)
    return outputs(stage)


def outputs(stage: str = "dev") -> dict[str, str]:
    [stack] = boto3.client("cloudformation").describe_stacks(StackName=f"pai-{stage}")["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def put_archive() -> None:
    """Upload the smallest archive there is, where the translated template looks for one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("app.py"), "")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="deployment")
    s3.put_object(Bucket="deployment", Key="deployment.zip", Body=content.getvalue())


def answer_in_background(account: Account, message: str) -> tuple[str, Json]:
    """Ask the API, and let the worker that it starts answer; return the worker's name and the conversation."""
    with running("pai-dev"), invoking(account):
        asked = ask("POST", "/chat", {"message": message}, headers={"prefer": "respond-async"})
    assert asked["http"] == 202, asked
    [(function, job)] = account.invoked.payloads
    with running(function), invoking(account):
        product.worker(job, context(function))
    with running("pai-dev"):
        return function, ask("GET", "/conversations/{conversation_id}", conversation_id=asked["conversation_id"])


def make_key(owner: str = "me") -> str:
    """Make an API key in the stage's ring, as its operator; return its token."""
    with running("pai-dev"):
        keys = here().platform.keys
        key, token = keyring.new_key("test", owner, iso(0))
        keys.save(keyring.add(keys.load(), key))
        forget()
    return token
