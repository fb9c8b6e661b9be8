"""A stage's backup back in AWS: what is missing there, and nothing else. So it is safe to repeat, and to be killed half-way.

A document's row comes before its file, because S3 tells of the file at once: without its row it would be taken for a new one.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import ClientError

from chalicelib.platform import Keys
from chalicelib.records import ApiKey, KeyRing
from chalicelib.settings import Settings
from chalicelib.store import Item, Store, When
from chalicelib.store.dynamodb import DynamoStore
from chalicelib.wiring import Parts
from pai.archive import STAGE, ArchiveError, is_of_a_stage, read_from, understood, unpack, workplace
from pai.operate.account import Account, code_of, refusals
from pai.operate.owner_keys import OwnerKeys
from pai.operate.saved import (
    FILE_LIST,
    ITEMS,
    KEYS,
    File,
    Origin,
    Unpacked,
    belongs,
    file_keys,
    files_client,
    find_deployed,
    is_over,
    owner_of,
    table_client,
    together,
)
from pai.operate.steps import remark, step
from pai.ring import change

Outcome = Literal["put", "there", "expired"]
Counts = Counter[Outcome]


@dataclass(frozen=True)
class Restored:
    """What came of it."""

    settings: Settings
    origin: Origin
    items: Counts
    api_keys: Counts
    files: Counts

    @property
    def has_documents(self) -> bool:
        return self.files.total() > 0


def restore(stage: str, archive: Path) -> Restored:
    """Put back what the stage lacks of a backup. The backup is checked from beginning to end before anything changes.

    Raises `ArchiveError`, `OperateError`.
    """
    with read_from(archive):
        if not is_of_a_stage(archive):
            raise ArchiveError(f"{archive} is a backup of one machine. Restore it there, without --stage.")
        with step("stage") as say:
            account, settings = find_deployed(stage)
            say(f"{stage} in {account.id}, {account.region}")
        place = archive.absolute().parent / f".pai-restore-{stage}.partial"
        busy = f"Another restore of {stage} is at work in {place.parent}. Wait until it ends."
        with workplace(place, place.with_suffix(".lock"), busy) as folder:
            store = DynamoStore(table_client(), settings.table)
            with step("backup") as say:
                saved, origin, keys = _checked(archive, folder, account, settings, store)
                say(f"whole, of {origin.created_at}")
            if not keys.same_master:
                remark("The stage has another KMS key than it had then: the owners' keys are wrapped anew, under that one.")
            for owner in keys.closed:
                remark(f"The key of {owner} was damaged before: what is {owner}'s comes back, and nobody can read it.")
            return _put_back(saved, origin, keys, settings, store)


def _checked(
    archive: Path, folder: Path, account: Account, settings: Settings, store: Store
) -> tuple[Unpacked, Origin, OwnerKeys]:
    """Unpack a backup and read all of it, so that whatever is wrong with it is said now."""
    names = {entry.name for entry in unpack(archive, folder, belongs).entries}
    with understood(archive):
        if missing := {STAGE, ITEMS, KEYS, FILE_LIST} - names:
            raise ValueError(f"{min(missing)} is missing")
    saved = Unpacked(folder, archive)
    origin = saved.origin()
    _check_place(archive, origin, account, settings)
    saved.api_keys()
    for _ in saved.files():
        pass
    pks = ((str(item["pk"]), item) for item in saved.items())
    wrapped = {owner_of(pk): item for pk, item in pks if pk.startswith("O#")}
    with understood(archive):
        return saved, origin, OwnerKeys(wrapped, origin, settings, store)


def _check_place(archive: Path, origin: Origin, account: Account, settings: Settings) -> None:
    """Refuse a backup of something else: what is sealed opens only in the deployment, stage and table it was sealed for."""
    saved = f"{origin.deployment} {origin.stage} in account {origin.account} (table {origin.table})"
    here = f"{settings.deployment} {settings.stage} in account {account.id} (table {settings.table})"
    if saved != here:
        raise ArchiveError(
            f"{archive} is of {saved}, and this is {here}. It can only be restored where it is from: what is sealed in it "
            "opens nowhere else. Nothing was changed."
        )


def _put_back(saved: Unpacked, origin: Origin, keys: OwnerKeys, settings: Settings, store: Store) -> Restored:
    here = files_client()
    with refusals(f"list the S3 bucket {settings.bucket}"):
        files = set(file_keys(here, settings.bucket))
    back = partial(_put_item, store, keys, files)
    items = _counted(
        "table",
        f"put items back into the table {settings.table}",
        chain(together(keys.put_back, keys.owners), together(back, _without_owner_keys(saved.items()))),
    )
    api_keys = _counted("API keys", "put API keys back", _api_keys_put(Parts(settings).platform.keys, saved.api_keys()))
    put = _counted(
        "documents",
        f"put files back into the S3 bucket {settings.bucket}",
        together(partial(_put_file, here, settings.bucket, files), saved.files()),
    )
    return Restored(settings, origin, items, api_keys, put)


def _counted(name: str, doing: str, batches: Iterable[Iterable[Outcome]]) -> Counts:
    """Do a step whose work goes on as its outcomes are asked for."""
    counts: Counts = Counter()
    with step(name) as say, refusals(doing):
        for batch in batches:
            counts.update(batch)
            say(f"{counts['put']:,} put back, {counts['there']:,} were there")
    return counts


def _without_owner_keys(items: Iterable[Item]) -> Iterator[Item]:
    return (item for item in items if not str(item["pk"]).startswith("O#"))


def _put_item(store: Store, keys: OwnerKeys, files: Collection[str], item: Item) -> Outcome:
    if is_over(str(item["pk"]), int(item.get("expires_at", 0)), time.time()):
        return "expired"
    return "put" if store.put(keys.fitting(as_unread(item, files)), [When("absent", "pk")]) else "there"


def as_unread(item: Item, files: Collection[str]) -> Item:
    """Return a document's row so that it is indexed anew, if its file is still to come, or nobody goes on reading it.

    News of a file with the bytes that are indexed changes nothing; so such a row must not say which generation is indexed.
    A row whose file is in the bucket (its key is among `files`) keeps that: the index may be as it was.
    """
    state = item.get("state")
    if not str(item["pk"]).startswith("D#") or state == "failed":
        return item
    unread = state != "ready" or item.get("file") not in files
    gone = {"sequencer", "lease_until_ms", *(("live_generation",) if unread else ())}
    return {**{name: value for name, value in item.items() if name not in gone}, "state": "ready"}


def _api_keys_put(keys: Keys, saved: Sequence[ApiKey]) -> Iterator[list[Outcome]]:
    """Add the keys that the ring lacks. One that it has stays as it is: disabled, if it was since."""
    lacking = _lacking(keys.load(), saved)
    if lacking:  # a ring that is saved as it was would be one version more
        lacking = change(keys, lambda ring: _with(ring, _lacking(ring, saved)))
    yield ["put" if key in lacking else "there" for key in saved]


def _lacking(ring: KeyRing, saved: Sequence[ApiKey]) -> list[ApiKey]:
    known = {key.id for key in ring.keys} | {key.sha256 for key in ring.keys}
    return [key for key in saved if not known & {key.id, key.sha256}]


def _with(ring: KeyRing, more: list[ApiKey]) -> tuple[KeyRing, list[ApiKey]]:
    return replace(ring, keys=(*ring.keys, *more)), more


def _put_file(here: Any, bucket: str, there: Collection[str], saved: tuple[File, Path]) -> Outcome:
    file, path = saved
    if file.key in there:
        return "there"
    typed = {"ContentType": file.content_type} if file.content_type else {}
    try:
        with path.open("rb") as content:
            here.put_object(Bucket=bucket, Key=file.key, Body=content, IfNoneMatch="*", **typed)
    except ClientError as error:
        if code_of(error) == "PreconditionFailed":  # it came meanwhile
            return "there"
        raise
    return "put"
