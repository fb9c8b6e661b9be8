"""A stage from an empty account to an empty account, both ways to deploy it, as typed in a clone of this project."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import httpx
import pytest

import app as product
from infrastructure import wire
from pai.operate import by_chalice
from tests.integration.deploying import Account, account, answer_in_background, make_key, outputs, postgres
from tests.integration.operating import write_package
from tests.standins.bedrock import Behaviour
from tests.standins.event_source import EventSource
from tests.standins.lambda_functions import ask, context, deployed_environment, running

__all__ = ["account", "postgres"]
CHALICE = [sys.executable, "-c", "from chalice.cli import main; raise SystemExit(main())"]
PAI = [sys.executable, "-m", "pai"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(clone: Path, account: Account) -> Run:
    """Run a command to its end in the clone."""

    def run(program: list[str], *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
        return subprocess.run(
            [*program, *arguments], cwd=clone, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def succeeded(done: "subprocess.CompletedProcess[str]") -> str:
    """Return all that was said."""
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_stage_goes_through_its_life_in_one_stack(run: Run, account: Account, tmp_path: Path) -> None:
    package = str(write_package(tmp_path / "package", "dev"))
    said = succeeded(run(PAI, "deploy", "--stage", "dev", "--rag", "--package", package))
    assert f"API_ENDPOINT=https://{api_id()}.execute-api.us-east-1.amazonaws.com/api\n" in said

    answer_something(account)
    read_something(account)
    first = shape()
    assert "stack: no change" in succeeded(run(PAI, "deploy", "--stage", "dev", "--package", package))
    assert shape() == first

    see_that_all_is_gone(run(PAI, "destroy", "--stage", "dev", "--yes"))


def see_that_all_is_gone(done: "subprocess.CompletedProcess[str]") -> None:
    """Look that nothing is left but the key, and that the command says so."""
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr + done.stdout
    assert done.stdout.startswith("key ")
    here = boto3.client("lambda")
    assert here.list_functions()["Functions"] == here.list_event_source_mappings()["EventSourceMappings"] == []
    assert boto3.client("rds").describe_db_clusters()["DBClusters"] == []
    assert boto3.client("apigateway").get_rest_apis()["items"] == []


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_without_a_base_stack_chalice_stops_before_anything_is_made_and_names_the_command(run: Run, stage: str) -> None:
    refused = run(CHALICE, "deploy", "--stage", stage)

    assert refused.returncode != 0
    assert f"Run `pai deploy --stage {stage} --base-only` first" in refused.stderr
    assert boto3.client("iam").list_roles()["Roles"] == []
    assert boto3.client("lambda").list_functions()["Functions"] == []


def test_a_stage_goes_through_its_life_by_chalice(run: Run, account: Account, clone: Path) -> None:
    before = config(clone)
    said = succeeded(run(PAI, "deploy", "--stage", "dev", "--base-only", "--rag"))
    assert "Now: chalice deploy --stage dev" in said
    assert said.index("✔ chalice deploy") < said.index("✔ API key")  # it is shown once: nothing may fail after it
    succeeded(run(CHALICE, "deploy", "--stage", "dev"))
    assert "PAI_PARTIAL_BATCHES" not in deployed_environment("pai-dev-documents")
    said = succeeded(run(PAI, "deploy", "--stage", "dev", "--base-only"))
    assert f"API_ENDPOINT=https://{api_id()}.execute-api.us-east-1.amazonaws.com/api\n" in said

    see_that_it_is_finished()
    answer_something(account)
    read_something(account)
    first = shape()
    succeeded(run(CHALICE, "deploy", "--stage", "dev"))
    assert "✘ chalice deploy: not finished" in run(PAI, "status", "--stage", "dev").stdout
    succeeded(run(PAI, "deploy", "--stage", "dev", "--base-only"))
    assert shape() == first
    assert "✔ chalice deploy: finished" in run(PAI, "status", "--stage", "dev").stdout

    whole = run(PAI, "deploy", "--stage", "dev")
    assert (whole.returncode, "`chalice delete --stage dev` first" in whole.stderr) == (1, True)

    see_that_all_is_gone(run(PAI, "destroy", "--stage", "dev", "--yes"))
    assert config(clone) == before
    assert "Run `pai deploy" in run(CHALICE, "deploy", "--stage", "dev").stderr


def test_a_clone_with_another_ones_configuration_is_known_to_be_filled(run: Run, clone: Path) -> None:
    before = config(clone)
    succeeded(run(PAI, "deploy", "--stage", "dev", "--base-only"))
    shutil.rmtree(clone / ".chalice" / "policies" / "dev")  # git does not take it along

    run(PAI, "deploy", "--stage", "dev", "--package", str(clone))

    assert config(clone) == before


def test_a_record_of_chalice_s_that_is_damaged_is_not_replaced(run: Run, clone: Path) -> None:
    record = clone / ".chalice" / "deployed" / "dev.json"
    record.write_text('{"resources": [')

    refused = run(PAI, "deploy", "--stage", "dev", "--base-only")

    assert (refused.returncode, "can't be read" in refused.stderr) == (1, True)
    assert record.read_text() == '{"resources": ['


def config(clone: Path) -> str:
    return (clone / ".chalice" / "config.json").read_text()


def api_id() -> str:
    [found] = boto3.client("apigateway").get_rest_apis()["items"]
    return str(found["id"])


def see_that_it_is_finished() -> None:
    """Look for all that Chalice can't say of its functions and its API."""
    here, api = boto3.client("lambda"), boto3.client("apigateway")
    mappings = here.list_event_source_mappings()["EventSourceMappings"]
    worker = here.get_function_event_invoke_config(FunctionName="pai-dev-worker")
    refusal = api.get_gateway_response(restApiId=api_id(), responseType="ACCESS_DENIED")
    assert all(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for mapping in mappings)
    assert deployed_environment("pai-dev-documents")["PAI_PARTIAL_BATCHES"] == "1"
    assert deployed_environment("pai-dev-documents")["PAI_BUCKET"] == outputs()["Bucket"]
    assert (worker["MaximumRetryAttempts"], worker["MaximumEventAgeInSeconds"]) == (0, 60)
    assert api.get_rest_api(restApiId=api_id())["name"] == "pai-dev"
    assert json.loads(refusal["responseTemplates"]["application/json"])["Code"] == "Forbidden"


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
    _, shown = answer_in_background(account, "Four times four?")
    with running("pai-dev"):
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


@pytest.mark.parametrize("documents", [False, True], ids=["without documents", "with documents"])
def test_policies_of_chalices_roles_have_no_placeholder_and_nothing_of_documents_where_there_are_none(
    run: Run, clone: Path, documents: bool
) -> None:
    succeeded(run(PAI, "deploy", "--stage", "dev", "--base-only", "--rag" if documents else "--no-rag"))

    written = {path.stem: path.read_text() for path in (clone / ".chalice" / "policies" / "dev").glob("*.json")}
    variables = json.loads(config(clone))["stages"]["dev"]["environment_variables"]
    assert written.keys() == {function.policy for function in wire.FUNCTIONS}
    assert all("${" not in text for text in written.values())
    assert ("rds-data" in written["chatbot"]) == documents
    assert variables["PAI_RETRIEVER"] == ("pgvector" if documents else "none")


def test_a_stage_that_is_deployed_whole_is_not_chalices_any_more(run: Run, clone: Path) -> None:
    before = config(clone)
    succeeded(run(PAI, "deploy", "--stage", "dev", "--base-only"))
    assert by_chalice.is_filled(clone, "dev")

    policies = clone / ".chalice" / "policies" / "dev"
    (policies / "chatbot.new").write_text("")  # of a run that was killed
    run(PAI, "deploy", "--stage", "dev", "--package", str(clone))  # no package, but it gets as far as that

    assert config(clone) == before
    assert "Run `pai deploy" in run(CHALICE, "deploy", "--stage", "dev").stderr
