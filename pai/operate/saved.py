"""What a stage's backup holds, and the names of AWS's that it is made from and brought back to.

    stage.json     whose it is         items.jsonl    the table's items, as DynamoDB's own exports have them
    keys.json      the key ring        files.jsonl    name here, key and type of each file of the bucket
    files/<n>      their content

Left out is what is over when it comes back: events of turns, idempotency keys, deletions that are remembered for some days,
what has expired. The search index is made anew from the files.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from chalicelib import keyring
from chalicelib.errors import PaiError
from chalicelib.platform.aws.clients import client
from chalicelib.platform.limits import check_file_key
from chalicelib.records import ApiKey
from chalicelib.settings import Settings
from chalicelib.store import Item, Value
from chalicelib.store.items import check
from pai.archive import STAGE, ArchiveError, understood
from pai.operate.account import Account, OperateError, find_account
from pai.operate.deployed import described_table, stack_of, table_of
from pai.operate.destroy import documents_bucket
from pai.stage import enter_stage

FORMAT = 1
ITEMS, KEYS, FILE_LIST, FILES = "items.jsonl", "keys.json", "files.jsonl", "files"
FOLDER = "documents/"
AT_ONCE = 16
"""Requests under way together: most of their time is the way there and back."""
BATCH = 256
_PATIENT = {"mode": "standard", "total_max_attempts": 10}
_TRANSIENT = ("E#", "I#", "G#")
"""Partitions of what lives for days: see the table in docs/design.md."""
_CONTENT = re.compile(rf"{FILES}/[1-9][0-9]*")
_KEY_ARN = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[\w-]+")
_OUTPUTS = {"table": "Table", "kms_key": "Key", "keys_secret": "KeyRing", "bucket": "Bucket", "queue_url": "QueueUrl"}
_NOT_DEPLOYED = "Stage {stage} is not deployed in account {account}, {region}: `pai deploy --stage {stage}` does that."

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Origin:
    """Whose backup it is. `kms_key` is an ARN: that key wraps the owners' keys, for this deployment and stage alone."""

    format: int
    stage: str
    deployment: str
    account: str
    region: str
    table: str
    kms_key: str
    created_at: str


@dataclass(frozen=True)
class File:
    """A file of the bucket: `name` is where its content is in the backup."""

    name: str
    key: str
    content_type: str


def find_deployed(stage: str) -> tuple[Account, Settings]:
    """Return where a stage is deployed, and its settings with the names that its stack gave. `OperateError` if it is not."""
    settings, account = enter_stage(stage), find_account()
    outputs = stack_of(stage).outputs()
    if not outputs.keys() >= {*_OUTPUTS.values()}:
        raise OperateError(_NOT_DEPLOYED.format(stage=stage, account=account.id, region=account.region))
    names = {name: outputs[output] for name, output in _OUTPUTS.items()}
    return account, replace(settings, **names)  # type: ignore[arg-type] # they are fields that hold text


def find_kept(stage: str) -> tuple[Account, Settings]:
    """Return the same; of a stage whose stack is gone, the names of what CloudFormation keeps of it."""
    settings, account, table = enter_stage(stage), find_account(), table_of(stage)
    if stack_of(stage).outputs():
        return find_deployed(stage)
    names = {"table": table, "keys_secret": f"pai/{stage}/keys", "bucket": documents_bucket(stage, account.id)}
    if key := _key_of(table):
        return account, replace(settings, **names, kms_key=key)  # type: ignore[arg-type] # they are fields that hold text
    raise OperateError(_NOT_DEPLOYED.format(stage=stage, account=account.id, region=account.region))


def _key_of(table: str) -> str:
    """Return the ARN of the KMS key of a table, which is its stage's; empty where there is no such table."""
    return str(described_table(table).get("SSEDescription", {}).get("KMSMasterKeyArn", ""))


def table_client() -> Any:
    """Return a client of DynamoDB with patience: who makes or restores a backup can wait for a throttled table."""
    return client("dynamodb", read_timeout=30, max_pool_connections=AT_ONCE, retries=_PATIENT)


def files_client() -> Any:
    """Return a client of S3 with a connection for each of the requests under way together."""
    return client("s3", read_timeout=60, signature_version="s3v4", max_pool_connections=AT_ONCE, retries=_PATIENT)


def file_keys(here: Any, bucket: str) -> Iterator[str]:
    """Yield the keys of the files that are in the bucket now and that PAI can read, in order."""
    for page in here.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=FOLDER):
        yield from (entry["Key"] for entry in page.get("Contents", ()) if _is_file_key(entry["Key"]))


def together(work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[list[R]]:
    """Do the work of all tasks, several at once, and yield the results of one batch after the other, in order."""
    left = iter(tasks)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while batch := list(islice(left, BATCH)):
            yield list(pool.map(work, batch))


def is_over(pk: str, expires_at: int, now: float) -> bool:
    """Tell whether an item of this partition is not worth keeping. `expires_at` is 0 for what never expires."""
    return pk.startswith(_TRANSIENT) or 0 < expires_at <= now


def owner_of(pk: str) -> str:
    """Return whose partition this is, if sealed with a key of that owner or holding it; else empty."""
    kind, _, rest = pk.partition("#")
    return rest.partition("#")[0] if kind in {"C", "D", "O"} else ""


def belongs(name: str) -> bool:
    """Tell whether a file of this name may be in a stage's backup."""
    return name in {STAGE, ITEMS, KEYS, FILE_LIST} or _CONTENT.fullmatch(name) is not None


def item_line(wire: Any) -> str:
    """Return the line of an item that is as boto3's client has it."""
    return json.dumps({"Item": wire}, default=lambda value: base64.b64encode(value).decode()) + "\n"


@dataclass(frozen=True)
class Unpacked:
    """A stage's backup in a folder. `ArchiveError` for what makes no sense in it names the `archive` that it came from."""

    folder: Path
    archive: Path

    def origin(self) -> Origin:
        with understood(self.archive):
            data = json.loads((self.folder / STAGE).read_bytes())
            if data["format"] > FORMAT:
                raise ArchiveError(f"{self.archive} was written by a newer PAI. Update PAI, then restore it.")
            origin = Origin(**data)
            if not _KEY_ARN.fullmatch(origin.kms_key):
                raise ValueError("it names no KMS key")
        return origin

    def api_keys(self) -> tuple[ApiKey, ...]:
        with understood(self.archive):
            return keyring.decode((self.folder / KEYS).read_text(), "").keys

    def items(self) -> Iterator[Item]:
        return self._each(ITEMS, lambda line: _item(line["Item"]))

    def files(self) -> Iterator[tuple[File, Path]]:
        """Yield each file with the place of its content."""
        return self._each(FILE_LIST, self._file)

    def _file(self, line: Any) -> tuple[File, Path]:
        file = File(**line)
        if not (_CONTENT.fullmatch(file.name) and (self.folder / file.name).is_file()):
            raise ValueError("the content of a file is missing")
        if not (file.key.startswith(FOLDER) and _is_file_key(file.key) and file.content_type.isprintable()):
            raise ValueError("a file's key or type can't be one")
        return file, self.folder / file.name

    def _each(self, name: str, read: Callable[[Any], T]) -> Iterator[T]:
        with (self.folder / name).open("rb") as lines:
            for line in lines:
                with understood(self.archive):
                    record = read(json.loads(line))
                yield record


def _is_file_key(key: str) -> bool:
    try:
        return bool(check_file_key(key))
    except PaiError:
        return False


def _item(wire: Any) -> Item:
    """Return an item as the store has it. ValueError, TypeError or LookupError for what can't be one."""
    item = {name: _value(*typed.items()) for name, typed in wire.items()}
    try:
        check(item)
    except PaiError as error:
        raise ValueError(error.message) from None
    return item


def _value(typed: tuple[str, str]) -> Value:
    match typed:
        case ("S", text):
            return text
        case ("N", text):
            return int(text)
        case ("B", text):
            return base64.b64decode(text, validate=True)
    raise ValueError("an item holds something else than text, numbers and bytes")
