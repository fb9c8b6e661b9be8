"""The policies against the calls that the code makes: what a function asks of AWS is allowed, and what is allowed is asked.

Every function runs in its deployed environment, and botocore tells what its clients call. What is not theirs to call stands in
BESIDE: AWS asks for it in the function's name.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

import app as product
from chalicelib.platform import MOST_RECEIVES
from infrastructure import wire
from pai.operate.by_chalice import filled_policy, meanings
from tests.integration.deploying import Account, account, deploy_stack, invoking, make_key, outputs, postgres
from tests.integration.test_reading import pdf
from tests.integration.test_wire import LEASE, news, send_news
from tests.standins.bedrock import Behaviour
from tests.standins.data_api import Fault
from tests.standins.event_source import EventSource
from tests.standins.lambda_functions import (
    Recorder,
    Right,
    ask,
    context,
    covers,
    deployed_environment,
    forget,
    granted,
    recorded,
    running,
)

__all__ = ["account", "postgres"]
API, AUTHORIZER, WORKER = "pai-dev", "pai-dev-authorizer", "pai-dev-worker"
DOCUMENTS, DEAD = "pai-dev-documents", "pai-dev-documents_dead"
GUARDRAIL = "abcdefghijkl:1"
BROKEN = Fault("StatementTimeoutException", "ExecuteStatement")
LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
POLLING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
BESIDE = {
    # Its key: of what S3 stores and SQS keeps.
    API: {*LOGS, "kms:GenerateDataKey"},
    # The secret's key, for Secrets Manager.
    AUTHORIZER: {*LOGS, "kms:Decrypt"},
    # Where Lambda puts an event that failed.
    WORKER: {*LOGS, "sqs:SendMessage", "kms:GenerateDataKey"},
    DOCUMENTS: {*LOGS, *POLLING, "kms:GenerateDataKey"},
    DEAD: {*LOGS, *POLLING},
}


@pytest.fixture
def recorder(account: Account) -> Iterator[Recorder]:
    deploy_stack(rag=True)
    account.bedrock.script(Behaviour("claude", reply="The tenant may keep one small dog with written consent."))
    with recorded() as recorder:
        yield recorder
    forget()


def policies(function: str) -> dict[str, Any]:
    [found] = [one for one in wire.FUNCTIONS if wire.function_name(one, "dev") == function]
    return filled_policy(wire.load_policy(found.policy), meanings("dev", outputs()))


def unmade(recorder: Recorder, function: str) -> set[str]:
    """Return the actions that a function's policy allows, and that nothing took."""
    made = {right.action for right in recorder.rights[function]}
    return {right.action for right in granted(policies(function))} - made - BESIDE[function]


def refused(recorder: Recorder, function: str) -> list[Right]:
    """Return what a function asked for and its policy does not allow."""
    allowed = list(granted(policies(function)))
    return [right for right in recorder.rights[function] if not any(covers(one, right) for one in allowed)]


@dataclass
class Asking:
    """The API's function, asked in turn."""

    recorder: Recorder
    account: Account

    def __call__(self, method: str, resource: str, body: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        with running(API, PAI_GUARDRAIL=GUARDRAIL), invoking(self.account), self.recorder.during(API):
            return ask(method, resource, body, **more)


def upload(api: Asking, content: bytes, name: str = "lease.txt", content_type: str = "text/plain") -> str:
    announced = api("POST", "/upload", {"filename": name, "bytes": len(content), "content_type": content_type})
    place = announced.get("upload") or pytest.fail(str(announced))
    httpx.post(place["url"], data=place["fields"], files={"file": content}).raise_for_status()
    environment = deployed_environment(API)
    send_news(environment, place["fields"]["key"], len(content))
    return str(announced["document_id"])


def work(recorder: Recorder, times: int = 1, **more: str) -> None:
    """Let the queue's function take what there is."""
    with running(DOCUMENTS, **more):
        source = EventSource(deployed_environment(DOCUMENTS)["PAI_QUEUE_URL"], product.documents)
        for _ in range(times):
            with recorder.during(DOCUMENTS):
                source.work()
            source.let_time_pass()


def test_the_api_may_do_what_it_does_and_no_more(recorder: Recorder, account: Account) -> None:
    api = Asking(recorder, account)
    lease, other = upload(api, LEASE.encode()), upload(api, b"%PDF-1.4 broken", "b.pdf", "application/pdf")
    work(recorder, MOST_RECEIVES)

    answered = api("POST", "/chat", {"message": "May the tenant keep a dog?"})
    conversation = {"conversation_id": answered["conversation_id"]}
    api("POST", "/chat", {"message": "And a cat?", **conversation}, headers={"prefer": "respond-async"})
    api("GET", "/conversations")
    api("GET", "/conversations/{conversation_id}", **conversation)
    api("PATCH", "/conversations/{conversation_id}", {"title": "Pets"}, **conversation)
    api("DELETE", "/conversations/{conversation_id}", **conversation)
    api("POST", "/search", {"query": "dog"})
    api("GET", "/documents")
    api("POST", "/documents/{document_id}/retry", document_id=other)
    account.database.script(BROKEN)
    api("DELETE", "/documents/{document_id}", document_id=lease)
    api("DELETE", "/documents/{document_id}", document_id=lease)
    api("GET", "/models")
    api("GET", "/usage")
    report = api("GET", "/health/deep")

    assert report["http"] == 200, report
    assert refused(recorder, API) == []
    assert unmade(recorder, API) == set()


def test_the_authorizer_may_read_the_ring_and_no_more(recorder: Recorder, account: Account) -> None:
    token = make_key()
    event = {"type": "TOKEN", "authorizationToken": f"Bearer {token}", "methodArn": "arn:aws:execute-api:x:1:a/api/GET/models"}

    with running(AUTHORIZER), recorder.during(AUTHORIZER):
        product.api_key(event, context(AUTHORIZER))

    assert refused(recorder, AUTHORIZER) == []
    assert unmade(recorder, AUTHORIZER) == set()


def test_a_worker_may_do_what_it_does_and_no_more(recorder: Recorder, account: Account) -> None:
    api = Asking(recorder, account)
    upload(api, LEASE.encode())
    work(recorder)
    asked = api("POST", "/chat", {"message": "May the tenant keep a dog?"}, headers={"prefer": "respond-async"})
    lost = api("POST", "/chat", {"message": "And a cat?"}, headers={"prefer": "respond-async"})
    forget()

    perform(recorder, account)
    api("POST", "/chat", {"message": "Why?", "conversation_id": asked["conversation_id"]}, headers={"prefer": "respond-async"})
    forget()
    table = boto3.client("dynamodb")  # made beforehand: that takes longer than the model does
    perform(recorder, account, meanwhile=lambda: delete_header(table, asked["conversation_id"]))

    assert lost["http"] == 202
    assert refused(recorder, WORKER) == []
    assert unmade(recorder, WORKER) == set()


def perform(recorder: Recorder, account: Account, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let the worker do all that it was invoked for; `meanwhile` happens when it has asked the model."""
    jobs, account.invoked.payloads = account.invoked.payloads, []
    for name, job in jobs:
        with running(name, PAI_GUARDRAIL=GUARDRAIL), invoking(account), recorder.during(name):
            before = len(account.bedrock.asked("ConverseStream"))
            account.bedrock.script(Behaviour("claude", reply="One small dog, with written consent.", delay_s=0.1))
            thread = threading.Thread(target=lambda: product.worker(job, context(name)))  # noqa: B023 - joined below
            thread.start()
            while thread.is_alive() and len(account.bedrock.asked("ConverseStream")) == before:
                time.sleep(0.005)
            meanwhile()
            thread.join()


def delete_header(table: Any, conversation_id: str) -> None:
    """Take a conversation away as its owner's deletion does first."""
    key = {"pk": {"S": f"C#me#{conversation_id}"}, "sk": {"S": "~"}}
    table.delete_item(TableName="PAI-Conversations-dev", Key=key)


def test_the_queues_function_may_do_what_it_does_and_no_more(recorder: Recorder, account: Account) -> None:
    api = Asking(recorder, account)
    bucket = deployed_environment(API)["PAI_BUCKET"]
    lease = upload(api, LEASE.encode())
    account.database.script(BROKEN)
    work(recorder, 2)
    upload(api, pdf(*(f"Page {number} is about rule {number}." for number in range(1, 4))), "rules.pdf", "application/pdf")
    work(recorder, 2, PAI_READ_S="0.001")
    boto3.client("s3").put_object(Bucket=bucket, Key="documents/somebody-new/lease.txt", Body=LEASE.encode())
    send_news(deployed_environment(API), "documents/somebody-new/lease.txt", len(LEASE))
    work(recorder)
    take_away(api, lease)
    come_too_late(api)
    work(recorder, 2)

    assert refused(recorder, DOCUMENTS) == []
    assert unmade(recorder, DOCUMENTS) == set()


def take_away(api: Asking, document_id: str) -> None:
    """Delete a document's file from the bucket, and say so as S3 does."""
    environment = deployed_environment(API)
    s3, bucket = boto3.client("s3"), environment["PAI_BUCKET"]
    for version in s3.list_object_versions(Bucket=bucket)["Versions"]:
        if document_id in version["Key"]:
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
            boto3.client("sqs").send_message(QueueUrl=environment["PAI_QUEUE_URL"], MessageBody=went(version["Key"]))


def went(key: str) -> str:
    message = json.loads(news(deployed_environment(API), key, 0))
    message["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    return json.dumps(message)


def come_too_late(api: Asking) -> None:
    """Send a file whose document was deleted since it was announced."""
    announced = api("POST", "/upload", {"filename": "late.txt", "bytes": len(LEASE), "content_type": "text/plain"})
    api("DELETE", "/documents/{document_id}", document_id=announced["document_id"])
    place = announced["upload"]
    httpx.post(place["url"], data=place["fields"], files={"file": LEASE.encode()}).raise_for_status()
    send_news(deployed_environment(API), place["fields"]["key"], len(LEASE))


def test_the_dead_letters_function_may_do_what_it_does_and_no_more(recorder: Recorder, account: Account) -> None:
    api = Asking(recorder, account)
    lease = upload(api, LEASE.encode())
    work(recorder)
    environment = deployed_environment(API)
    s3 = boto3.client("s3")
    [key] = [entry["Key"] for entry in s3.list_objects_v2(Bucket=environment["PAI_BUCKET"])["Contents"]]
    dead = environment["PAI_QUEUE_URL"].replace("documents-dev", "documents-dead-dev")
    other = api("POST", "/upload", {"filename": "never.txt", "bytes": 5, "content_type": "text/plain"})
    [never] = [other["upload"]["fields"]["key"]]
    forget()

    s3.delete_object(Bucket=environment["PAI_BUCKET"], Key=key)
    for letter in (news(environment, "documents/somebody-new/a.txt", 5), news(environment, never, 5), went(key)):
        boto3.client("sqs").send_message(QueueUrl=dead, MessageBody=letter)
    account.database.script(BROKEN)
    with running(DEAD), recorder.during(DEAD):
        source = EventSource(dead, product.documents_dead)
        source.work()
        source.let_time_pass()
        source.work()

    assert lease in key
    assert refused(recorder, DEAD) == []
    assert unmade(recorder, DEAD) == set()


def test_policies_name_only_what_the_base_stack_gives_out() -> None:
    known = {*wire.load_resources()["Outputs"], "AWS::Partition", "AWS::Region", "AWS::AccountId", "Environment"}

    for path in Path(wire.POLICIES).glob("*.json"):
        assert set(wire.placeholders(path.read_text())) <= known, path.name
