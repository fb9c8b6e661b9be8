"""The other way to deploy: the base stack, then `chalice deploy` of a copy of this project, which fetches no wheels."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest

import app as product
from infrastructure import wire
from pai.operate import by_chalice
from tests.conftest import RESOURCES, ROOT
from tests.integration.deploying import Account, account, invoking, make_key, outputs, patched_moto, postgres
from tests.standins.bedrock import Behaviour
from tests.standins.event_source import EventSource
from tests.standins.lambda_functions import ask, context, deployed_environment, running

__all__ = ["account", "patched_moto", "postgres"]


@dataclass
class Clone:
    """A clone of the project in which nobody has deployed anything."""

    folder: Path

    def chalice(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", "from chalice.cli import main; raise SystemExit(main())"]
        return subprocess.run(
            [*program, *arguments],
            cwd=self.folder,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def config(self) -> str:
        return (self.folder / ".chalice" / "config.json").read_text()


@pytest.fixture
def clone(account: Account, tmp_path: Path) -> Clone:
    folder = tmp_path / "pai"
    ignored = shutil.ignore_patterns("__pycache__", "deployed", "deployments", "dev", "prod")
    for name in ("chalicelib", ".chalice"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "app.py", folder)
    (folder / "requirements.txt").write_text("")
    for stage in ("dev", "prod"):
        by_chalice.clear(folder, stage)
    return Clone(folder)


@pytest.fixture
def base(request: pytest.FixtureRequest) -> dict[str, str]:
    """The base stack's outputs, with documents unless the test says otherwise."""
    rag = str(getattr(request, "param", True)).lower()
    parameters = [
        {"ParameterKey": "Environment", "ParameterValue": "dev"},
        {"ParameterKey": "EnableRag", "ParameterValue": rag},
    ]
    boto3.client("cloudformation").create_stack(
        StackName="pai-dev",
        TemplateBody=RESOURCES.read_text(),
        Parameters=parameters,
    )
    return outputs()


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_without_a_base_stack_it_stops_before_anything_is_made_and_names_the_command(clone: Clone, stage: str) -> None:
    refused = clone.chalice("deploy", "--stage", stage)

    assert refused.returncode != 0
    assert f"Run `pai deploy --stage {stage} --base-only` first" in refused.stderr
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert boto3.client("lambda").list_functions()["Functions"] == []


def test_functions_deployed_by_chalice_work_again_and_again_and_are_gone_when_deleted(
    clone: Clone, account: Account, base: dict[str, str]
) -> None:
    by_chalice.fill(clone.folder, "dev", base)
    first = clone.chalice("deploy", "--stage", "dev")
    assert first.returncode == 0, first.stderr
    assert by_chalice.finish(clone.folder, "dev", base)

    answer_something(account)
    read_something(account)
    before = shape()
    second = clone.chalice("deploy", "--stage", "dev")
    assert by_chalice.finish(clone.folder, "dev", base)

    assert (second.returncode, shape()) == (0, before)
    assert clone.chalice("delete", "--stage", "dev").returncode == 0
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"] == []


def shape() -> object:
    """What is deployed, but for when."""
    here = boto3.client("lambda")
    functions = [(one["FunctionName"], one["Environment"], one["Role"]) for one in here.list_functions()["Functions"]]
    return sorted(functions), [mapping["UUID"] for mapping in here.list_event_source_mappings()["EventSourceMappings"]]


def answer_something(account: Account) -> None:
    account.bedrock.script(Behaviour("claude", reply="Sixteen."))
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {make_key()}",
        "methodArn": "arn:aws:execute-api:x:1:a/api/GET/models",
    }
    with running("pai-dev-authorizer"):
        assert product.api_key(event, context("pai-dev-authorizer"))["principalId"] == "me"
    with running("pai-dev"), invoking(account):
        asked = ask("POST", "/chat", {"message": "Four times four?"}, headers={"prefer": "respond-async"})
    [(function, job)] = account.invoked.payloads
    with running(function), invoking(account):
        product.worker(job, context(function))
    with running("pai-dev"):
        shown = ask("GET", "/conversations/{conversation_id}", conversation_id=asked["conversation_id"])
        report = ask("GET", "/health/deep")
    assert shown["messages"][-1]["content"] == "Sixteen."
    assert report["status"] == "ok", report


def read_something(account: Account) -> None:
    environment = deployed_environment("pai-dev-documents")
    with running("pai-dev"):
        announced = ask("POST", "/upload", {"filename": "a.txt", "bytes": 5, "content_type": "text/plain"})
    place = announced["upload"]
    httpx.post(place["url"], data=place["fields"], files={"file": b"A dog"}).raise_for_status()
    file = {"key": place["fields"]["key"], "size": 5, "sequencer": "0055AED6DCD90281E5"}
    s3 = {"bucket": {"name": environment["PAI_BUCKET"]}, "object": file}
    body = json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Post", "s3": s3}]})
    boto3.client("sqs").send_message(QueueUrl=environment["PAI_QUEUE_URL"], MessageBody=body)
    with running("pai-dev-documents"):
        EventSource(environment["PAI_QUEUE_URL"], product.documents).work()
    with running("pai-dev"):
        assert [passage["text"] for passage in ask("POST", "/search", {"query": "dog"})["passages"]] == ["A dog"]


def test_what_chalice_cannot_say_is_set_afterwards(clone: Clone, base: dict[str, str]) -> None:
    by_chalice.fill(clone.folder, "dev", base)
    assert not by_chalice.finish(clone.folder, "dev", base)
    assert clone.chalice("deploy", "--stage", "dev").returncode == 0
    unset = deployed_environment("pai-dev-documents")
    by_chalice.finish(clone.folder, "dev", base)

    here, api = boto3.client("lambda"), boto3.client("apigateway")
    mappings = here.list_event_source_mappings()["EventSourceMappings"]
    worker = here.get_function_event_invoke_config(FunctionName="pai-dev-worker")
    [found] = api.get_rest_apis()["items"]
    refusal = api.get_gateway_response(restApiId=found["id"], responseType="ACCESS_DENIED")
    assert "PAI_PARTIAL_BATCHES" not in unset
    assert all(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for mapping in mappings)
    assert deployed_environment("pai-dev-documents")["PAI_PARTIAL_BATCHES"] == "1"
    assert deployed_environment("pai-dev-documents")["PAI_BUCKET"] == base["Bucket"]
    assert (worker["MaximumRetryAttempts"], worker["MaximumEventAgeInSeconds"]) == (0, 60)
    assert found["name"] == "pai-dev"
    assert json.loads(refusal["responseTemplates"]["application/json"])["Code"] == "Forbidden"


@pytest.mark.parametrize("base", [False, True], indirect=True, ids=["without documents", "with documents"])
def test_policies_of_chalices_roles_have_no_placeholder_and_nothing_of_documents_where_there_are_none(
    clone: Clone, base: dict[str, str]
) -> None:
    by_chalice.fill(clone.folder, "dev", base)

    written = {path.stem: path.read_text() for path in (clone.folder / ".chalice" / "policies" / "dev").glob("*.json")}
    assert written.keys() == {function.policy for function in wire.FUNCTIONS}
    assert all("${" not in text for text in written.values())
    assert ("rds-data" in written["chatbot"]) == ("Cluster" in base)


def test_a_stage_that_is_cleared_is_as_it_was_cloned(clone: Clone, base: dict[str, str]) -> None:
    before = clone.config()
    by_chalice.fill(clone.folder, "dev", base)
    filled = clone.config()

    by_chalice.clear(clone.folder, "dev")

    assert filled != before == clone.config()
    assert not (clone.folder / ".chalice" / "policies" / "dev").exists()
    assert "Run `pai deploy" in clone.chalice("deploy", "--stage", "dev").stderr
