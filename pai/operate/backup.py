"""A stage on AWS as one file: read while it is in use, from what is deployed."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import HTTPClientError, IncompleteReadError

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.platform.local.disk import private_folder
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.archive import STAGE, Manifest, workplace, write, written_to
from pai.operate.account import refusals
from pai.operate.saved import (
    FILE_LIST,
    FILES,
    FORMAT,
    ITEMS,
    KEYS,
    File,
    Origin,
    file_keys,
    files_client,
    find_kept,
    is_over,
    item_line,
    owner_of,
    table_client,
    together,
)
from pai.operate.steps import step

DOWNLOADS = 3
"""How often the download of a file is begun: botocore repeats requests, but not what breaks off in an answer."""
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Saved:
    """What a backup holds."""

    manifest: Manifest
    origin: Origin
    items: int
    api_keys: int
    files: int


def back_up(stage: str, target: Path, from_table: str = "") -> Saved:
    """Write a backup of a stage, mode 0600. The file is there whole or not at all; one that exists is not replaced.

    `from_table` is one that DynamoDB has recovered the stage's to, as it was once; empty is the stage's own.
    The table comes before the bucket: a document that it names was stored before it.
    """
    place = target.absolute().parent / f".pai-backup-{stage}.partial"
    busy = f"Another backup of {stage} is being written in {place.parent}. Wait until it ends."
    with written_to(target), workplace(place, place.with_suffix(".lock"), busy) as scratch:
        with step("stage") as say:
            account, settings = find_kept(stage)
            say(f"{stage} in {account.id}, {account.region}")
        origin = Origin(
            FORMAT, stage, settings.deployment, account.id, account.region, settings.table, settings.kms_key, iso(time.time())
        )
        folder = private_folder(scratch / "content")
        private_folder(folder / FILES)
        (folder / STAGE).write_text(json.dumps(asdict(origin), indent=2))
        items = _save_items(from_table or settings.table, folder)
        keys, files = _save_keys(settings, folder), _save_files(settings, folder)
        with step("file") as say:
            manifest = write(folder, target.absolute(), scratch)
            say(f"{target}, {target.stat().st_size / 1e6:.1f} MB")
    return Saved(manifest, origin, items, keys, files)


def _save_items(table: str, folder: Path) -> int:
    with step("table") as say, refusals(f"read the table {table}"), (folder / ITEMS).open("w") as lines:
        number = 0
        for number, item in enumerate(_items(table), 1):
            lines.write(item_line(item))
            if number % 1000 == 0:
                say(f"{number:,} items")
        say(f"{number:,} items")
    return number


def _items(table: str) -> Iterator[Any]:
    """Yield what is worth keeping of the table, and the key of everybody who owns something of it."""
    here, now = table_client(), time.time()
    owners, opened = set[str](), set[str]()
    for page in here.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        for item in page["Items"]:
            pk = item["pk"]["S"]
            if not is_over(pk, int(item.get("expires_at", {}).get("N", 0)), now):
                (opened if pk.startswith("O#") else owners).add(owner_of(pk))
                yield item
    # Who began while we read may have been passed already, and nothing of theirs opens without it.
    for owner in owners - opened - {""}:
        answer = here.get_item(TableName=table, Key={"pk": {"S": f"O#{owner}"}, "sk": {"S": "~"}}, ConsistentRead=True)
        if "Item" in answer:
            yield answer["Item"]


def _save_keys(settings: Settings, folder: Path) -> int:
    with step("API keys") as say, refusals("read the API keys"):
        ring = Parts(settings).platform.keys.load()
        (folder / KEYS).write_text(keyring.encode(ring))
        say(f"{len(ring.keys):,}")
    return len(ring.keys)


def _save_files(settings: Settings, folder: Path) -> int:
    here, number = files_client(), 0
    with step("documents") as say, refusals(f"read the S3 bucket {settings.bucket}"), (folder / FILE_LIST).open("w") as lines:
        wanted = ((f"{FILES}/{place}", key) for place, key in enumerate(file_keys(here, settings.bucket), 1))
        for batch in together(lambda name_key: _saved(here, settings.bucket, folder, *name_key), wanted):
            found = [file for file in batch if file]
            lines.writelines(json.dumps(asdict(file)) + "\n" for file in found)
            number += len(found)
            say(f"{number:,} files")
    return number


def _saved(here: Any, bucket: str, folder: Path, name: str, key: str) -> File | None:
    for _ in range(DOWNLOADS - 1):
        with suppress(HTTPClientError, IncompleteReadError):
            return _download(here, bucket, folder, name, key)
    return _download(here, bucket, folder, name, key)


def _download(here: Any, bucket: str, folder: Path, name: str, key: str) -> File | None:
    """Download the newest version of a file; None if it was deleted meanwhile."""
    try:
        answer = here.get_object(Bucket=bucket, Key=key)
    except here.exceptions.NoSuchKey:
        (folder / name).unlink(missing_ok=True)
        return None
    with (folder / name).open("wb") as file:
        file.writelines(answer["Body"].iter_chunks(BLOCK_BYTES))
    return File(name, key, answer.get("ContentType", ""))
