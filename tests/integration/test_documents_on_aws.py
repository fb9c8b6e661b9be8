"""Documents on AWS's parts, from the bucket to an answer that cites them, and out again.

Real botocore over HTTP: S3, its notification, SQS with its dead letters, DynamoDB, KMS and Secrets Manager of moto; Bedrock
and the RDS Data API of stand-ins, the latter over the embedded PostgreSQL; a poller that is Lambda's event source mapping.

What moto lacks is sent to the queue by hand, in S3's words: moto's notifications have no sequencer, none says that a delete
marker was made, and of a file's versions only the last one's deletion is told.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import httpx
import psycopg
import pytest

import app as product
from chalicelib.ingest.generation import BATCH_CHUNKS
from chalicelib.ingest.trigger import RETRY_S, MessagesFailed
from chalicelib.platform import MOST_RECEIVES
from pai.local.gateway import Gateway
from tests.contract.aws_standin import Answer, Request, serving
from tests.integration.conftest import DEPLOYMENTS, Api, served
from tests.integration.test_reading import pdf
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.data_api import RESUMING, DataApiStandIn, Fault
from tests.standins.event_source import EventSource, Invocation, Killed, killed

Json = dict[str, Any]

BUCKET = DEPLOYMENTS["aws"]["PAI_BUCKET"]
LEASE = "The tenant may keep one small dog with the written consent of the landlord."
RECIPE = "Simmer the lentils for twenty minutes with cumin and a bay leaf."
PETS = "May the tenant keep a small dog?"
ANSWER = "The tenant may keep one small dog with written consent."
TITAN, CLAUDE = "titan-embed", "claude"
THROTTLED = Behaviour(TITAN, error="ThrottlingException")
DENIED = Behaviour(TITAN, error="AccessDeniedException", message="You don't have access to the model.")
IMPATIENT = {"PAI_EMBEDDER": "tests.standins.bedrock_impatient"}


@dataclass
class Cloud:
    """The product in an AWS account, with documents."""

    api: Api
    bedrock: BedrockStandIn
    database: DataApiStandIn
    postgres: str
    documents: EventSource
    dead_letters: EventSource

    def put(self, key: str, content: bytes) -> None:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)

    def notify(self, event: str, key: str, **members: object) -> None:
        """Send what S3 says of an object, where moto does not."""
        file = {"key": quote_plus(key), "sequencer": "0055AED6DCD90281E5", **members}
        record = {"eventSource": "aws:s3", "eventName": event, "s3": {"bucket": {"name": BUCKET}, "object": file}}
        self.send(json.dumps({"Records": [record]}))

    def send(self, body: str) -> None:
        boto3.client("sqs").send_message(QueueUrl=self.documents.queue_url, MessageBody=body)

    def file_key(self, document_id: str, owner: str = "me") -> str:
        return self.api.parts.documents.row(owner, document_id).key

    def let_lease_end(self, document_id: str) -> None:
        """Let the time be over for which a process that was killed had said that it would work on this document."""
        documents = self.api.parts.documents
        assert documents.change(documents.row("me", document_id), lease_until_ms=1)

    def embedded(self) -> int:
        """How many texts were embedded so far."""
        return len(self.bedrock.asked("InvokeModel"))

    def count(self, what: str, table: str) -> int:
        with psycopg.connect(self.postgres) as connection:
            [[found]] = connection.execute(f"SELECT count({what}) FROM pai.{table}")
        return int(found)


@pytest.fixture
def bedrock(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        for service in ("BEDROCK", "BEDROCK_RUNTIME"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", standin.url)
        yield standin


@pytest.fixture
def queues(aws: str) -> dict[str, str]:
    """The addresses of the queue and of its dead letters; the bucket, with versions, tells the queue of its files."""
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    urls = {name: sqs.create_queue(QueueName=f"PAI-{name}-dev")["QueueUrl"] for name in ("documents", "documents-dead")}
    arns = {
        name: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        for name, url in urls.items()
    }
    redrive = {"deadLetterTargetArn": arns["documents-dead"], "maxReceiveCount": MOST_RECEIVES}
    attributes = {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "1440"}
    sqs.set_queue_attributes(QueueUrl=urls["documents"], Attributes=attributes)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket=BUCKET,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "QueueArn": arns["documents"],
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "documents/"}]}},
                }
            ]
        },
    )
    return urls


@pytest.fixture
def cloud(
    request: pytest.FixtureRequest,
    queues: dict[str, str],
    bedrock: BedrockStandIn,
    data_api: DataApiStandIn,
    postgres: str,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cloud]:
    """The product on AWS; a test may give settings of its own as the fixture's parameter."""
    settings = {
        **DEPLOYMENTS["aws"],
        "PAI_LLM": "bedrock",
        "PAI_MODEL": "claude-sonnet",
        "PAI_RETRIEVER": "pgvector",
        "PAI_EMBEDDER": "bedrock",
        "PAI_EMBEDDING_DIMENSIONS": "256",
        "PAI_DATABASE": "data_api",
        "PAI_DATABASE_CLUSTER": data_api.settings.database_cluster,
        "PAI_DATABASE_SECRET": data_api.settings.database_secret,
        "PAI_DATABASE_NAME": data_api.settings.database_name,
        "PAI_QUEUE_URL": queues["documents"],
        "PAI_PARTIAL_BATCHES": "1",
        **getattr(request, "param", {}),
    }
    partial = settings["PAI_PARTIAL_BATCHES"] == "1"
    bedrock.script(Behaviour(CLAUDE, reply=ANSWER))
    with served(gateway, settings, monkeypatch) as api:
        documents = EventSource(queues["documents"], product.documents, partial_batches=partial)
        dead_letters = EventSource(queues["documents-dead"], product.documents_dead, partial_batches=partial)
        yield Cloud(api, bedrock, data_api, postgres, documents, dead_letters)


@pytest.fixture
def me(cloud: Cloud) -> Iterator[httpx.Client]:
    with cloud.api.client("me") as client:
        yield client


def announce(client: httpx.Client, name: str, content: bytes) -> Json:
    wanted = {"filename": name, "bytes": len(content), "content_type": "text/plain"}
    return dict(client.post("/upload", json=wanted).raise_for_status().json())


def send(announced: Json, content: bytes) -> None:
    """Send a file by the form that S3 takes."""
    place = announced["upload"]
    assert place["method"] == "POST"
    httpx.post(place["url"], data=place["fields"], files={"file": content}).raise_for_status()


def upload(client: httpx.Client, name: str, content: bytes) -> str:
    """Announce a file and send it; return the document's id."""
    announced = announce(client, name, content)
    send(announced, content)
    return str(announced["document_id"])


def shown(client: httpx.Client, document_id: str) -> Json:
    return dict(client.get(f"/documents/{document_id}").raise_for_status().json())


def state(client: httpx.Client, document_id: str) -> str:
    return str(shown(client, document_id)["state"])


def found(client: httpx.Client, query: str) -> list[Json]:
    return list(client.post("/search", json={"query": query}).raise_for_status().json()["passages"])


def read_at_second_try(cloud: Cloud, client: httpx.Client) -> tuple[str, Json]:
    """Upload a document whose message comes again; return its id, and how it is shown between its two tries."""
    document_id = upload(client, "lease.txt", LEASE.encode())
    failed = cloud.documents.work()[-1]
    waiting = shown(client, document_id)
    cloud.documents.let_time_pass()
    cloud.documents.work()
    assert len(failed.left) == 1
    return document_id, waiting


def left(invocations: list[Invocation]) -> list[int]:
    """How many messages each invocation left in the queue."""
    return [len(invocation.left) for invocation in invocations]


def rules(pages: int) -> bytes:
    return pdf(*(f"Page {number} says what rule number {number} of the house is about." for number in range(1, pages + 1)))


# In


def test_file_that_was_uploaded_is_found_and_cited(cloud: Cloud, me: httpx.Client) -> None:
    document_id = upload(me, "lease.txt", LEASE.encode())
    before = state(me, document_id)

    cloud.documents.work()

    assert (before, state(me, document_id)) == ("waiting", "ready")
    assert [(passage["document_id"], passage["text"]) for passage in found(me, PETS)] == [(document_id, LEASE)]
    answer = me.post("/chat", json={"message": PETS}).json()
    [citation] = answer["citations"]
    assert (citation["document_id"], citation["name"], citation["quote"]) == (document_id, "lease.txt", LEASE)
    assert "[1]" in answer["message"]


@pytest.mark.parametrize("name", ["my lease + annex.txt", "Mietvertrag für Jürgen 日本.txt", "100% & more=1?.txt"])
def test_file_put_into_the_bucket_by_hand_is_a_document_of_its_name(cloud: Cloud, me: httpx.Client, name: str) -> None:
    cloud.put(f"documents/me/{name}", LEASE.encode())

    cloud.documents.work()

    assert [(passage["name"], passage["text"]) for passage in found(me, PETS)] == [(name, LEASE)]
    assert [item["name"] for item in me.get("/documents").json()["items"]] == [name]


def test_file_put_there_again_with_more_in_it_is_read_again(cloud: Cloud, me: httpx.Client) -> None:
    key, longer = "documents/me/lease.txt", f"{LEASE} So it was agreed."
    cloud.put(key, LEASE.encode())
    cloud.documents.work()

    cloud.put(key, longer.encode())
    cloud.notify("ObjectCreated:Put", key, size=len(longer))
    cloud.documents.work()

    [document] = me.get("/documents").json()["items"]
    assert (document["state"], document["bytes"]) == ("ready", len(longer))
    assert [passage["text"] for passage in found(me, PETS)] == [longer]


def test_what_s3_sends_to_try_the_queue_is_harmless(cloud: Cloud, me: httpx.Client) -> None:
    [tried] = cloud.documents.work()

    assert json.loads(tried.event["Records"][0]["body"])["Event"] == "s3:TestEvent"
    assert tried.answer == {"batchItemFailures": []}
    assert cloud.documents.count() == cloud.dead_letters.count() == 0
    assert me.get("/documents").json()["items"] == []


def test_news_that_comes_twice_changes_nothing(cloud: Cloud, me: httpx.Client) -> None:
    document_id = upload(me, "lease.txt", LEASE.encode())
    news = cloud.documents.work()[-1].event["Records"][0]["body"]
    before, asked = shown(me, document_id), cloud.embedded()

    cloud.send(news)
    again = cloud.documents.work()

    assert left(again) == [0]
    assert shown(me, document_id) == before
    assert cloud.embedded() == asked
    assert cloud.count("*", "chunks") == 1


def test_search_never_returns_another_owners_document(cloud: Cloud, me: httpx.Client) -> None:
    with cloud.api.client("you") as you:
        mine, yours = upload(me, "mine.txt", LEASE.encode()), upload(you, "yours.txt", f"{LEASE} And a cat.".encode())
        cloud.documents.work()

        assert {passage["document_id"] for passage in found(me, PETS)} == {mine}
        assert {passage["document_id"] for passage in found(you, PETS)} == {yours}
        assert me.post("/search", json={"query": PETS, "documents": [yours]}).json()["Code"] == "DocumentNotFound"
        assert me.get(f"/documents/{yours}").status_code == 404


# Out


def test_file_that_is_deleted_from_the_bucket_takes_its_document_with_it(cloud: Cloud, me: httpx.Client) -> None:
    document_id = upload(me, "lease.txt", LEASE.encode())
    cloud.documents.work()
    s3, key = boto3.client("s3"), cloud.file_key(document_id)

    for version in s3.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]:
        s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version["VersionId"])
    cloud.documents.work()

    assert me.get(f"/documents/{document_id}").status_code == 404
    assert found(me, PETS) == []


def test_file_that_is_hidden_by_a_delete_marker_takes_its_document_with_it(cloud: Cloud, me: httpx.Client) -> None:
    document_id = upload(me, "lease.txt", LEASE.encode())
    cloud.documents.work()
    key = cloud.file_key(document_id)

    boto3.client("s3").delete_object(Bucket=BUCKET, Key=key)
    cloud.notify("ObjectRemoved:DeleteMarkerCreated", key, versionId="a marker's")
    cloud.documents.work()

    assert me.get(f"/documents/{document_id}").status_code == 404
    assert cloud.count("*", "chunks") == 0


def test_document_stays_when_only_an_older_version_of_its_file_is_deleted(cloud: Cloud, me: httpx.Client) -> None:
    key = "documents/me/lease.txt"
    cloud.put(key, b"An older lease, about nothing.")
    cloud.put(key, LEASE.encode())
    cloud.documents.work()
    s3 = boto3.client("s3")

    [older] = [each for each in s3.list_object_versions(Bucket=BUCKET)["Versions"] if not each["IsLatest"]]
    s3.delete_object(Bucket=BUCKET, Key=key, VersionId=older["VersionId"])
    cloud.notify("ObjectRemoved:Delete", key, versionId=older["VersionId"])
    cloud.documents.work()

    assert [passage["text"] for passage in found(me, PETS)] == [LEASE]


def test_deleting_a_document_leaves_nothing_of_it_and_says_so(cloud: Cloud, me: httpx.Client) -> None:
    document_id, other = upload(me, "lease.txt", LEASE.encode()), upload(me, "recipe.txt", RECIPE.encode())
    cloud.documents.work()
    key = cloud.file_key(document_id)
    cloud.put(key, f"{LEASE} Edited.".encode())  # a second version
    kept = cloud.count("*", "postings")

    receipt = me.delete(f"/documents/{document_id}").json()

    listing = boto3.client("s3").list_object_versions(Bucket=BUCKET)
    assert [version["Key"] for version in listing["Versions"]] == [cloud.file_key(other)]
    assert "DeleteMarkers" not in listing
    assert receipt["deleted"] is receipt["verified"] is True
    assert (receipt["document_id"], receipt["versions"], receipt["chunks"]) == (document_id, 2, 1)
    assert 0 < receipt["postings"] == kept - cloud.count("*", "postings")
    assert cloud.count("*", "chunks") == 1
    assert me.get(f"/documents/{document_id}").status_code == 404
    assert [passage["document_id"] for passage in found(me, PETS)] in ([], [other])


def test_late_news_of_a_deleted_document_is_harmless(cloud: Cloud, me: httpx.Client) -> None:
    document_id = upload(me, "lease.txt", LEASE.encode())
    me.delete(f"/documents/{document_id}").raise_for_status()

    late = cloud.documents.work()

    events = [json.loads(each.event["Records"][0]["body"]).get("Records", [{}])[0].get("eventName") for each in late]
    assert events == [None, "ObjectCreated:Post", "ObjectRemoved:Delete"]
    assert left(late) == [0, 0, 0]
    assert me.get("/documents").json()["items"] == []


def test_file_that_comes_after_its_document_was_deleted_is_deleted_too(cloud: Cloud, me: httpx.Client) -> None:
    announced = announce(me, "lease.txt", LEASE.encode())
    me.delete(f"/documents/{announced['document_id']}").raise_for_status()

    send(announced, LEASE.encode())
    cloud.documents.work()

    assert "Versions" not in boto3.client("s3").list_object_versions(Bucket=BUCKET)
    assert me.get("/documents").json()["items"] == []


# When the embedder fails


@pytest.fixture
def shortened(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The visibility timeouts in seconds that the product asks SQS for, as it asks."""
    asked: list[int] = []

    def passed_on(request: Request) -> Answer:
        if request.headers["X-Amz-Target"].endswith("ChangeMessageVisibility") and request.headers["User-Agent"] == "PAI":
            asked.append(json.loads(request.body)["VisibilityTimeout"])
        answer = httpx.post(aws, headers=request.headers, content=request.body)
        return Answer(answer.status_code, answer.content)

    with serving(passed_on) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", url)
        yield asked


@pytest.mark.parametrize("cloud", [IMPATIENT], indirect=True)
@pytest.mark.parametrize("error", ["ThrottlingException", "ServiceUnavailableException", "InternalServerException"])
def test_document_is_read_when_the_embedder_works_again(
    shortened: list[int], cloud: Cloud, me: httpx.Client, error: str
) -> None:
    cloud.bedrock.script(Behaviour(TITAN, error=error, times=1))

    document_id, waiting = read_at_second_try(cloud, me)

    assert (waiting["state"], waiting["error"]["Code"]) == ("waiting", "EmbedderUnavailable")
    assert shortened == [RETRY_S[0]]
    assert (state(me, document_id), shown(me, document_id)["error"]) == ("ready", None)
    assert cloud.documents.count() == 0


@pytest.mark.parametrize("cloud", [IMPATIENT], indirect=True)
def test_document_that_failed_three_times_says_so_and_can_be_retried(
    shortened: list[int], cloud: Cloud, me: httpx.Client
) -> None:
    cloud.bedrock.script(THROTTLED)
    document_id = upload(me, "lease.txt", LEASE.encode())
    for _ in range(MOST_RECEIVES):
        cloud.documents.work()
        cloud.documents.let_time_pass()

    assert cloud.documents.work() == []  # the message goes to the dead letters
    cloud.dead_letters.work()
    failed = shown(me, document_id)
    cloud.bedrock.clear()
    retried = me.post(f"/documents/{document_id}/retry")
    cloud.documents.work()

    assert shortened == list(RETRY_S)
    assert (failed["state"], failed["error"]["Code"]) == ("failed", "DocumentGivenUp")
    assert re.search("takes no more texts.*several times", failed["error"]["Message"])
    assert (retried.status_code, retried.json()["state"]) == (202, "waiting")
    assert state(me, document_id) == "ready"
    assert cloud.documents.count() == cloud.dead_letters.count() == 0


@pytest.mark.parametrize("cloud", [{"PAI_DEADLINE_S": "1"}], indirect=True)
def test_who_searches_while_the_embedder_is_too_busy_hears_so_before_the_gateway_hangs_up(
    cloud: Cloud, me: httpx.Client
) -> None:
    cloud.bedrock.script(THROTTLED)

    refused = me.post("/search", json={"query": PETS})

    assert (refused.status_code, refused.json()["Code"]) == (503, "EmbedderUnavailable")
    assert int(refused.headers["Retry-After"]) > 0


@pytest.mark.parametrize("cloud", [{"PAI_PARTIAL_BATCHES": "0"}], indirect=True)
def test_function_fails_as_a_whole_where_the_mapping_reads_no_answer(cloud: Cloud, me: httpx.Client) -> None:
    cloud.bedrock.script(replace(DENIED, times=1))
    document_id = upload(me, "lease.txt", LEASE.encode())

    failed = cloud.documents.work()[-1]
    kept = cloud.documents.count()
    cloud.documents.let_time_pass()
    cloud.documents.work()

    assert isinstance(failed.error, MessagesFailed)
    assert kept == 1
    assert (state(me, document_id), cloud.documents.count()) == ("ready", 0)


def test_message_that_nobody_understands_holds_up_no_other_of_its_batch(cloud: Cloud, me: httpx.Client) -> None:
    cloud.documents.work()
    cloud.documents.batch_size = 2
    cloud.send("not of S3, and not of PAI")
    document_id = upload(me, "lease.txt", LEASE.encode())

    batches = [cloud.documents.work()]
    ready = state(me, document_id)
    for _ in range(MOST_RECEIVES):
        cloud.documents.let_time_pass()
        batches.append(cloud.documents.work())
    dead = cloud.dead_letters.work()

    sizes = [[(len(each.event["Records"]), len(each.left)) for each in batch] for batch in batches]
    assert sizes == [[(2, 1)], [(1, 1)], [(1, 1)], []]
    assert (ready, state(me, document_id)) == ("ready", "ready")
    assert left(dead) == [0]
    assert cloud.documents.count() == cloud.dead_letters.count() == 0


def test_batch_that_is_too_long_for_its_function_is_done_by_the_next_ones(cloud: Cloud, me: httpx.Client) -> None:
    cloud.documents.work()
    cloud.documents.batch_size, cloud.documents.timeout_s = 2, 60
    both = upload(me, "lease.txt", LEASE.encode()), upload(me, "recipe.txt", RECIPE.encode())

    [first] = cloud.documents.work()
    after = sorted(state(me, document_id) for document_id in both)
    cloud.documents.let_time_pass()
    cloud.documents.work()

    assert (len(first.event["Records"]), len(first.left)) == (2, 1)
    assert after == ["ready", "waiting"]
    assert [state(me, document_id) for document_id in both] == ["ready", "ready"]


# When the database sleeps


def test_document_that_comes_while_the_database_sleeps_is_read_when_it_is_awake(cloud: Cloud, me: httpx.Client) -> None:
    cloud.database.script(RESUMING, RESUMING)
    document_id = upload(me, "lease.txt", LEASE.encode())

    done = cloud.documents.work()

    assert left(done) == [0, 0]
    assert state(me, document_id) == "ready"
    assert [passage["text"] for passage in found(me, PETS)] == [LEASE]


def test_document_comes_again_when_the_database_does_not_wake(cloud: Cloud, me: httpx.Client) -> None:
    cloud.database.script(Fault("DatabaseUnavailableException"), Fault("InvalidResourceStateException"))

    document_id, waiting = read_at_second_try(cloud, me)

    assert (waiting["state"], waiting["error"]["Code"]) == ("waiting", "LibraryUnavailable")
    assert state(me, document_id) == "ready"


def test_question_to_a_sleeping_database_is_kept_and_answered_when_it_is_awake(cloud: Cloud, me: httpx.Client) -> None:
    upload(me, "lease.txt", LEASE.encode())
    cloud.documents.work()

    cloud.database.asleep = True
    asleep = me.post("/chat", json={"message": PETS})
    kept = asleep.json()
    cloud.database.asleep = False
    answer = me.post("/chat", json={"message": PETS, "conversation_id": kept["conversation_id"]}).json()

    assert (asleep.status_code, kept["Code"]) == (503, "LibraryWaking")
    assert int(asleep.headers["Retry-After"]) > 0
    assert [citation["quote"] for citation in answer["citations"]] == [LEASE]
    messages = me.get(f"/conversations/{kept['conversation_id']}").json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["message_id"] == kept["turn_id"]


@pytest.mark.parametrize("cloud", [{"PAI_DEADLINE_S": "1"}], indirect=True)
def test_who_searches_or_deletes_while_the_database_sleeps_hears_so_before_the_gateway_hangs_up(
    cloud: Cloud, me: httpx.Client
) -> None:
    document_id = upload(me, "lease.txt", LEASE.encode())
    cloud.documents.work()

    cloud.database.asleep = True
    refused = [
        me.post("/search", json={"query": PETS}),
        me.get(f"/documents/{document_id}/passages/0"),
        me.delete(f"/documents/{document_id}"),
    ]
    cloud.database.asleep = False
    deleted = me.delete(f"/documents/{document_id}").json()

    assert [(each.status_code, each.json()["Code"]) for each in refused] == [(503, "LibraryWaking")] * 3
    assert (deleted["verified"], deleted["chunks"]) == (True, 1)


# When a function does not get to the end


@pytest.mark.parametrize("cloud", [{"PAI_READ_S": "0"}], indirect=True)
def test_document_that_takes_longer_than_one_function_may_goes_from_message_to_message(cloud: Cloud, me: httpx.Client) -> None:
    cloud.documents.work()
    document_id = upload(me, "rules.pdf", rules(4))

    done = cloud.documents.work()

    bodies = [json.loads(each.event["Records"][0]["body"]) for each in done]
    assert [body.get("pai", "s3") for body in bodies] == ["s3", "continue", "continue", "continue"]
    assert left(done) == [0, 0, 0, 0]
    assert shown(me, document_id)["progress"] == {"parts_done": 4, "parts": 4}
    assert cloud.count("DISTINCT page", "chunks") == cloud.embedded() == 4
    assert "rule number 3 of the house" in found(me, "rule number 3")[0]["text"]


def test_document_whose_function_was_killed_goes_on_where_it_stopped(cloud: Cloud, me: httpx.Client, tmp_path: Path) -> None:
    cloud.documents.work()
    document_id = upload(me, "rules.pdf", rules(BATCH_CHUNKS + 2))
    cloud.bedrock.script(Behaviour(TITAN, times=BATCH_CHUNKS), Behaviour(TITAN, stall_s=60))
    cloud.documents.function = killed(lambda: cloud.embedded() > BATCH_CHUNKS, str(tmp_path))

    [half] = cloud.documents.work()
    halfway = shown(me, document_id)
    cloud.bedrock.clear()
    cloud.documents.function = product.documents
    cloud.let_lease_end(document_id)
    cloud.documents.let_time_pass()
    cloud.documents.work()

    assert isinstance(half.error, Killed)
    assert halfway["progress"]["parts_done"] == BATCH_CHUNKS
    assert halfway["state"] == "embedding"
    assert state(me, document_id) == "ready"
    assert cloud.embedded() == 2
    assert cloud.count("DISTINCT page", "chunks") == BATCH_CHUNKS + 2
