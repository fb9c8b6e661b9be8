"""The product deployed as one stack: the environment that its functions get is what their handlers need."""

import json
from collections.abc import Iterator

import boto3
import pytest

import app as product
from tests.integration.deploying import Account, account, answer_in_background, deploy_stack, make_key, postgres
from tests.standins.bedrock import Behaviour
from tests.standins.event_source import EventSource
from tests.standins.lambda_functions import ask, context, deployed_environment, forget, running

__all__ = ["account", "postgres"]
LEASE = "The tenant may keep one small dog with the written consent of the landlord."


@pytest.fixture(params=[False, True], ids=["without documents", "with documents"])
def rag(request: pytest.FixtureRequest, account: Account) -> Iterator[bool]:
    """The stack, with documents or without."""
    deploy_stack(request.param)
    yield request.param
    forget()


def test_the_authorizer_admits_a_key_of_the_ring(rag: bool) -> None:
    token = make_key()
    event = {"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": "arn:aws:execute-api:x:1:a/api/GET/models"}

    with running("pai-dev-authorizer"):
        admitted = product.api_key(event, context("pai-dev-authorizer"))
        refused = product.api_key({**event, "authorizationToken": "Bearer pai_no"}, context("pai-dev-authorizer"))

    assert (admitted["principalId"], refused["principalId"]) == ("me", "nobody")
    assert refused["policyDocument"]["Statement"][0]["Resource"] == []


def test_every_part_works_with_what_the_stack_gives_it(rag: bool, account: Account) -> None:
    with running("pai-dev"):
        report = ask("GET", "/health/deep")

    assert {name: part["ok"] for name, part in report["parts"].items()} == dict.fromkeys(report["parts"], True)
    assert ("retriever" in report["parts"]) == rag


def test_a_worker_answers_what_the_api_was_asked(rag: bool, account: Account) -> None:
    account.bedrock.script(Behaviour("claude", reply="Sixteen."))

    function, shown = answer_in_background(account, "Four times four?")

    assert function == "pai-dev-worker"
    assert [message["content"] for message in shown["messages"]] == ["Four times four?", "Sixteen."]


def test_a_file_becomes_a_document_where_there_are_documents(rag: bool) -> None:
    environment = deployed_environment("pai-dev-documents")
    boto3.client("s3").put_object(Bucket=environment["PAI_BUCKET"], Key="documents/me/lease.txt", Body=LEASE.encode())
    with running("pai-dev"):
        before = ask("POST", "/search", {"query": "dog"})
    send_news(environment, "documents/me/lease.txt", len(LEASE))

    with running("pai-dev-documents"):
        [*_, last] = EventSource(environment["PAI_QUEUE_URL"], product.documents).work()

    with running("pai-dev"):
        after = ask("POST", "/search", {"query": "dog"})
    assert last.answer == {"batchItemFailures": []}
    if rag:
        assert (before["passages"], [passage["text"] for passage in after["passages"]]) == ([], [LEASE])
    else:
        assert (before["http"], before["Code"], after["Code"]) == (404, "LibraryOff", "LibraryOff")


def test_a_dead_letter_is_taken(rag: bool) -> None:
    environment = deployed_environment("pai-dev-documents_dead")
    dead = environment["PAI_QUEUE_URL"].replace("documents-dev", "documents-dead-dev")
    boto3.client("sqs").send_message(QueueUrl=dead, MessageBody=news(environment, "documents/me/gone.txt", 5))

    with running("pai-dev-documents_dead"):
        [taken] = EventSource(dead, product.documents_dead).work()

    assert (taken.error, taken.answer) == (None, {"batchItemFailures": []}) if rag else taken.error is None


def test_queues_are_polled_only_where_there_are_documents_and_ask_for_partial_answers(rag: bool) -> None:
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]

    assert len(mappings) == 2
    assert {mapping["State"] for mapping in mappings} == {"Enabled" if rag else "Disabled"}
    assert all(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for mapping in mappings)


def test_a_worker_is_not_tried_again_and_its_failure_is_kept(rag: bool) -> None:
    config = boto3.client("lambda").get_function_event_invoke_config(FunctionName="pai-dev-worker")

    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)
    assert config["DestinationConfig"]["OnFailure"]["Destination"].endswith(":PAI-worker-dead-dev")


def test_deploying_again_changes_nothing_and_deleting_leaves_only_what_is_kept(rag: bool) -> None:
    functions = boto3.client("lambda")
    before = functions.list_functions()["Functions"], functions.list_event_source_mappings()["EventSourceMappings"]

    deploy_stack(rag)
    after = functions.list_functions()["Functions"], functions.list_event_source_mappings()["EventSourceMappings"]
    boto3.client("cloudformation").delete_stack(StackName="pai-dev")

    assert before == after
    assert functions.list_functions()["Functions"] == []
    assert boto3.client("rds").describe_db_clusters()["DBClusters"] == []
    assert boto3.client("dynamodb").list_tables()["TableNames"] == ["PAI-Conversations-dev"]


def news(environment: dict[str, str], key: str, size: int) -> str:
    file = {"key": key, "size": size, "sequencer": "0055AED6DCD90281E5"}
    s3 = {"bucket": {"name": environment["PAI_BUCKET"]}, "object": file}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}]})


def send_news(environment: dict[str, str], key: str, size: int) -> None:
    """Say what the bucket's notification says: moto's CloudFormation makes none."""
    boto3.client("sqs").send_message(QueueUrl=environment["PAI_QUEUE_URL"], MessageBody=news(environment, key, size))
