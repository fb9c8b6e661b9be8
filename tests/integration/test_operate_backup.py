"""A stage's backup, and what comes back of it: `pai backup` and `pai restore` with `--stage`, against an account."""

import hashlib
import io
import json
import os
import stat
import tarfile
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.conversations import new_message_id
from chalicelib.ingest.arrival import Arrival
from chalicelib.records import Conversation, Document, KeyRing, Message
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.backup import back_up
from pai.home import Home, open_home
from pai.operate.saved import item_line
from pai.operate.storage import empty
from pai.ring import change
from tests.conftest import RESOURCES
from tests.integration.operating import Pai, account, bedrock, pai
from tests.standins.intervening import Answer, Intervening

__all__ = ["account", "bedrock", "pai"]
Json = dict[str, Any]
JSON = "application/x-amz-json-1.0"
SECRET = "the combination of the safe is 12-34-56"
LEASE = b"The tenant may keep one small dog."


@pytest.fixture
def stage(account: str) -> Parts:
    """Stage dev, of which the base alone is deployed."""
    make_stack()
    return parts()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "saved.tar.gz"


def make_stack() -> None:
    boto3.client("cloudformation").create_stack(
        StackName="pai-dev",
        TemplateBody=RESOURCES.read_text(),
        Parameters=[{"ParameterKey": "Environment", "ParameterValue": "dev"}],
    )


def outputs() -> dict[str, str]:
    [found] = boto3.client("cloudformation").describe_stacks(StackName="pai-dev")["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}


def parts() -> Parts:
    """The stage's parts as a process that has just begun meets them; documents are searched in memory."""
    found = outputs()
    return Parts(
        Settings(
            stage="dev",
            store="dynamodb",
            platform="aws",
            retriever="memory",
            table=found["Table"],
            kms_key=found["Key"],
            keys_secret=found["KeyRing"],
            bucket=found["Bucket"],
            queue_url=found["QueueUrl"],
        )
    )


def converse(ours: Parts, *texts: str, owner: str = "me") -> str:
    """Have a conversation in which this was said; return its id."""
    conversation = ours.conversations.create(Conversation(str(uuid.uuid4()), owner, title="A talk"))
    for text in texts:
        ours.conversations.add(conversation, Message(new_message_id(time.time()), "user", text, iso(time.time())))
    return conversation.id


def said(conversation_id: str, owner: str = "me") -> list[str]:
    return [message.content for message in parts().conversations.open(owner, conversation_id, 100)[1]]


def upload(ours: Parts, content: bytes = LEASE) -> Document:
    """Have a document that is in the bucket and was indexed."""
    document = ours.documents.create("me", "lease.txt", content_type="text/plain", size_bytes=len(content))
    boto3.client("s3").put_object(Bucket=ours.settings.bucket, Key=document.key, Body=content, ContentType="text/plain")
    fingerprint = ours.documents.fingerprint("me", hashlib.sha256(content).hexdigest())
    ours.documents.claim(document, fingerprint)
    changed = ours.documents.change(
        document, state="ready", generation="G", live_generation="G", sequencer="0A", fingerprint=fingerprint
    )
    assert changed
    return changed


def make_key(ours: Parts, name: str = "laptop") -> str:
    key, _ = keyring.new_key(name, "me", iso(time.time()))
    change(ours.platform.keys, lambda ring: (keyring.add(ring, key), None))
    return key.id


def content_of(key: str) -> bytes:
    return bytes(boto3.client("s3").get_object(Bucket=outputs()["Bucket"], Key=key)["Body"].read())


def table_keys() -> list[tuple[str, str]]:
    pages = boto3.client("dynamodb").get_paginator("scan").paginate(TableName="PAI-Conversations-dev")
    return sorted((item["pk"]["S"], item["sk"]["S"]) for page in pages for item in page["Items"])


def lose_everything(ours: Parts) -> None:
    ours.store.delete(table_keys())
    empty(ours.settings.bucket)
    change(ours.platform.keys, lambda ring: (KeyRing((), ring.version), None))


def done(outcome: Any) -> Json:
    assert outcome.returncode == 0, outcome.stderr
    return dict(json.loads(outcome.stdout))


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def between(*answers: Answer) -> Intervening:
    return Intervening(os.environ["AWS_ENDPOINT_URL"], *answers)


def rewrite(file: Path, changed: dict[str, bytes]) -> None:
    """Write the backup anew with other content, with a manifest that fits."""
    files = {**members(file), **changed}
    del files["manifest.json"]
    entries = [
        {"name": name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    ]
    manifest = json.dumps({"created_at": iso(0), "entries": entries}).encode()
    with tarfile.open(file, "w:gz") as tar:
        for name, data in {"manifest.json": manifest, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_what_a_stage_lost_comes_back_and_a_second_time_nothing(pai: Pai, stage: Parts, file: Path) -> None:
    long = [letter * 300_000 for letter in "abcd"]  # more than DynamoDB reads at once
    talk, other, document = converse(stage, SECRET, *long), converse(stage, "hers", owner="anna"), upload(stage)
    make_key(stage)
    before = table_keys()
    stage.store.put({"pk": "E#me#c#t", "sk": "1#0", "expires_at": int(time.time()) + 600})
    stage.store.put({"pk": "C#me#old", "sk": "M#old", "expires_at": 1})

    saved = done(pai("backup", str(file), "--stage", "dev", "--json"))
    ended = item_line({"pk": {"S": "C#me#old"}, "sk": {"S": "M#old"}, "expires_at": {"N": "1"}})
    rewrite(file, {"items.jsonl": members(file)["items.jsonl"] + ended.encode()})
    lose_everything(stage)
    later = converse(parts(), "since then")  # which makes a new key for its owner
    first = done(pai("restore", str(file), "--stage", "dev", "--json"))
    again = done(pai("restore", str(file), "--stage", "dev", "--json"))

    assert (said(talk), said(other, "anna"), said(later)) == ([SECRET, *long], ["hers"], ["since then"])
    assert parts().documents.get("me", document.id).name == "lease.txt"
    assert content_of(document.key) == LEASE
    assert [key.name for key in stage.platform.keys.load().keys] == ["laptop"]
    assert {*table_keys()} - {(f"C#me#{later}", "~")} >= {*before}
    assert not [pk for pk, _ in table_keys() if pk.startswith("E#") or pk == "C#me#old"]
    assert (saved["items"], saved["api_keys"], saved["documents"], first["expired"]) == (len(before), 1, 1, 1)
    assert first["items"] == {"put": len(before) - 1, "there": 1}
    assert again["items"] == {"put": 0, "there": len(before)}
    assert (first["files"], again["files"]) == ({"put": 1, "there": 0}, {"put": 0, "there": 1})
    assert (first["api_keys"], again["api_keys"]) == ({"put": 1, "there": 0}, {"put": 0, "there": 1})


def test_a_backup_is_its_owners_alone_and_says_who_can_read_what(pai: Pai, stage: Parts, file: Path) -> None:
    converse(stage, SECRET)
    upload(stage)

    saved = pai("backup", str(file), "--stage", "dev")
    again = pai("backup", str(file), "--stage", "dev")

    assert saved.returncode == 0, saved.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [content for content in members(file).values() if SECRET.encode() in content or b"A talk" in content]
    assert LEASE in members(file).values()
    assert "can read the documents" in saved.stderr
    assert f"only who may use the KMS key {outputs()['Key']}" in saved.stderr
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert [path.name for path in file.parent.iterdir() if "saved" in path.name or "backup" in path.name] == [file.name]


def test_what_is_there_stays_as_it_is(pai: Pai, stage: Parts, file: Path) -> None:
    kept, deleted, document, key = converse(stage, "one"), converse(stage, "gone"), upload(stage), make_key(stage)
    done(pai("backup", str(file), "--stage", "dev", "--json"))
    stage.conversations.rename(stage.conversations.header("me", kept), "A new title")
    stage.conversations.delete("me", deleted)
    boto3.client("s3").put_object(Bucket=stage.settings.bucket, Key=document.key, Body=b"A newer lease.")
    change(stage.platform.keys, lambda ring: (keyring.disable(ring, key), None))

    restored = done(pai("restore", str(file), "--stage", "dev", "--json"))

    assert parts().conversations.header("me", kept).title == "A new title"
    assert said(deleted) == ["gone"]
    assert content_of(document.key) == b"A newer lease."
    assert [key.disabled for key in stage.platform.keys.load().keys] == [True]
    assert (restored["items"]["put"], restored["files"]["put"], restored["api_keys"]["put"]) == (2, 0, 0)


PENDING = '{"__type": "KMSInvalidStateException", "message": "key is pending deletion."}'


def test_a_stage_made_anew_takes_a_backup_while_the_old_key_lives(pai: Pai, stage: Parts, file: Path) -> None:
    talk, old = converse(stage, SECRET), outputs()["Key"]
    stage.store.put({"pk": "O#bob", "sk": "~", "key": (stage.store.get("O#me", "~") or {})["key"]})  # which is not bob's
    boto3.client("cloudformation").delete_stack(StackName="pai-dev")  # which keeps what can't be had again
    described = json.dumps({"Table": {"SSEDescription": {"KMSMasterKeyArn": old}}})  # which moto leaves out
    with between(Answer(('\n{"TableName": "PAI-Conversations-dev"}',), described, content_type=JSON)) as front:
        done(pai("backup", str(file), "--stage", "dev", "--json", AWS_ENDPOINT_URL_DYNAMODB=front.url))
    assert pai("destroy", "--stage", "dev", "--yes").returncode == 0
    missing = [pai("restore", str(file), "--stage", "dev"), pai("backup", f"{file}.2", "--stage", "dev")]
    make_stack()
    before = table_keys()

    pending = Answer(("CiphertextBlob", old), PENDING, 400, JSON)
    with between(pending) as front:
        refused = pai("restore", str(file), "--stage", "dev", AWS_ENDPOINT_URL_KMS=front.url)
    nothing = table_keys()
    boto3.client("kms").cancel_key_deletion(KeyId=old.rpartition("/")[2])
    restored = pai("restore", str(file), "--stage", "dev")

    assert [(outcome.returncode, "Stage dev is not deployed" in outcome.stderr) for outcome in missing] == [(1, True)] * 2
    assert (refused.returncode, before, nothing) == (1, [], [])
    assert f"aws kms cancel-key-deletion --key-id {old}" in refused.stderr
    assert restored.returncode == 0, restored.stderr
    assert "another KMS key" in restored.stderr
    assert "The key of bob was damaged before" in restored.stderr
    assert said(talk) == [SECRET]


def test_a_restore_that_was_cut_short_is_ended_by_the_next(pai: Pai, stage: Parts, file: Path) -> None:
    talk, document = converse(stage, SECRET), upload(stage)
    done(pai("backup", str(file), "--stage", "dev", "--json"))
    lose_everything(stage)

    throttled = '{"__type": "ProvisionedThroughputExceededException", "message": "slow down"}'
    busy = Answer(("attribute_not_exists",), throttled, 400, JSON, times=2)
    denied = Answer(("PUT /",), "<Error><Code>AccessDenied</Code><Message>no</Message></Error>", 403)
    with between(busy, denied) as front:
        short = pai("restore", str(file), "--stage", "dev", AWS_ENDPOINT_URL=front.url)
    again = done(pai("restore", str(file), "--stage", "dev", "--json"))

    assert (short.returncode, "run it again" in short.stderr) == (1, True)
    assert (again["items"]["put"], again["files"]["put"]) == (0, 1)
    assert said(talk) == [SECRET]
    assert content_of(document.key) == LEASE
    assert not list(file.parent.glob(".pai-*"))


def test_a_backup_that_was_cut_short_leaves_nothing(pai: Pai, stage: Parts, file: Path) -> None:
    upload(stage)
    with between(Answer(("GET /", "/documents/me/"), "<Error><Code>AccessDenied</Code></Error>", 403)) as front:
        short = pai("backup", str(file), "--stage", "dev", AWS_ENDPOINT_URL_S3=front.url)

    assert (short.returncode, "AccessDenied" in short.stderr or "Allow" in short.stderr) == (1, True)
    assert not file.exists()
    assert not [*file.parent.glob(".*")]


def test_an_owner_who_began_while_the_table_was_read_is_readable(pai: Pai, stage: Parts, file: Path) -> None:
    talk = converse(stage, SECRET)
    answer = boto3.client("dynamodb").query(
        TableName=stage.settings.table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"C#me#{talk}"}},
    )
    items = [json.loads(item_line(item))["Item"] for item in answer["Items"]]
    passed = Answer(('"ConsistentRead": true',), json.dumps({"Items": items}), content_type=JSON, times=1)
    with between(passed) as front:
        done(pai("backup", str(file), "--stage", "dev", "--json", AWS_ENDPOINT_URL_DYNAMODB=front.url))
    lose_everything(stage)

    done(pai("restore", str(file), "--stage", "dev", "--json"))

    assert said(talk) == [SECRET]


def test_what_the_table_held_once_is_brought_back_from_a_recovered_one(pai: Pai, stage: Parts, file: Path) -> None:
    talk = converse(stage, SECRET)
    dynamodb = boto3.client("dynamodb")
    described = dynamodb.describe_table(TableName=stage.settings.table)["Table"]
    kept = {name: described[name] for name in ("AttributeDefinitions", "KeySchema")}
    kept["AttributeDefinitions"] = [one for one in kept["AttributeDefinitions"] if one["AttributeName"] in {"pk", "sk"}]
    dynamodb.create_table(TableName="recovered", BillingMode="PAY_PER_REQUEST", **kept)
    for item in dynamodb.scan(TableName=stage.settings.table)["Items"]:
        dynamodb.put_item(TableName="recovered", Item=item)
    stage.conversations.delete("me", talk)

    done(pai("backup", str(file), "--stage", "dev", "--from-table", "recovered", "--json"))
    done(pai("restore", str(file), "--stage", "dev", "--json"))

    assert said(talk) == [SECRET]


def test_documents_that_come_back_are_indexed_anew(pai: Pai, stage: Parts, file: Path) -> None:
    told, queued = upload(stage, b"Told of by S3."), upload(stage)
    stage.documents.change(queued, state="reading", lease_until_ms=int(time.time() * 1000) + 60_000)
    done(pai("backup", str(file), "--stage", "dev", "--json"))
    lose_everything(stage)

    off = pai("restore", str(file), "--stage", "dev")
    ours = parts()
    ours.ingestion.arrived(Arrival(told.key, told.size_bytes, "01"))
    on = done(pai("restore", str(file), "--stage", "dev", "--json", PAI_RETRIEVER="memory", PAI_EMBEDDER="hashed"))
    row = ours.documents.row("me", queued.id)
    ours.ingestion.resume("me", queued.id, row.generation)

    assert "`pai docs reindex --stage dev`" in off.stderr
    assert on["documents_queued"] == 2
    assert {entry.document_id for entry in ours.retriever.inventory()} == {told.id, queued.id}


DAMAGES = {
    "items.jsonl": b'{"Item": {"pk": {"S": ""}}}',
    "files.jsonl": b'{"name": "files/1", "key": "documents/../x", "content_type": ""}',
    "keys.json": b"{",
    "../escaped": b"x",
}
"""What is added to files of a backup."""


def test_a_damaged_backup_changes_nothing(pai: Pai, stage: Parts, file: Path, tmp_path: Path) -> None:
    converse(stage, SECRET)
    upload(stage)
    done(pai("backup", str(file), "--stage", "dev", "--json"))
    whole = file.read_bytes()
    lose_everything(stage)

    file.write_bytes(whole[:-100])
    refused = [pai("restore", str(file), "--stage", "dev")]
    for name, added in DAMAGES.items():
        file.write_bytes(whole)
        rewrite(file, {name: members(file).get(name, b"") + added})
        refused.append(pai("restore", str(file), "--stage", "dev"))

    assert [outcome.returncode for outcome in refused] == [1, 1, 1, 1, 1]
    assert all("is not a whole PAI backup" in outcome.stderr for outcome in refused)
    assert "'../escaped' does not belong in it" in refused[-1].stderr
    assert (table_keys(), stage.platform.keys.load().keys) == ([], ())
    assert not [*tmp_path.rglob("escaped"), *file.parent.glob(".pai-*")]


def test_a_backup_of_something_else_is_refused(pai: Pai, stage: Parts, file: Path, tmp_path: Path) -> None:
    home, machine = Home(tmp_path / "home"), tmp_path / "machine.tar.gz"
    open_home(home)
    back_up(home, machine)
    done(pai("backup", str(file), "--stage", "dev", "--json"))

    of_one_machine = pai("restore", str(machine), "--stage", "dev")
    of_a_stage = pai("restore", str(file), "--replace")
    rewrite(file, {"stage.json": members(file)["stage.json"].replace(b'"dev"', b'"prod"')})
    of_another = pai("restore", str(file), "--stage", "dev")

    assert {outcome.returncode for outcome in (of_one_machine, of_a_stage, of_another)} == {1}
    assert "is a backup of one machine" in of_one_machine.stderr
    assert "is a backup of a stage on AWS" in of_a_stage.stderr
    assert "is of pai prod in account" in of_another.stderr
