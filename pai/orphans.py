"""Strays among documents: what lies in one place and is missing in another, after something was killed or done by hand.

Everything is looked at through a stage's parts, for all owners, and told by id: names are sealed, and nobody's here.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from chalicelib.clock import seconds
from chalicelib.errors import NotFound
from chalicelib.records import Document
from chalicelib.retriever import Indexed
from chalicelib.wiring import Parts
from pai.reindex import FOLDER, owners

PATIENCE_S = 3600.0
"""How long an upload may take to come, and a message to be delivered, before the document counts as forgotten."""

Place = tuple[str, str]
"""Owner and document id."""


@dataclass(frozen=True)
class Stray:
    """Something that has lost what it belongs to. `key` names a file or a fingerprint; `fix` is one of FIXES."""

    owner: str
    document_id: str
    what: str
    fix: str
    key: str = ""


@dataclass(frozen=True)
class Look:
    """What each part has, seen one after the other: work that goes on meanwhile may look like a stray."""

    index: Mapping[Place, Indexed]
    files: Mapping[str, Place | None]
    """Key → the document it belongs to; None for a file of no owner's."""
    rows: Mapping[Place, Document]
    claims: Sequence[tuple[str, str, str]]
    """Owner, fingerprint, and the document that stands for it."""


def find_strays(ours: Parts, now: Callable[[], float] = time.time) -> Sequence[Stray]:
    """Return what two looks agree on. Raises `LibraryOff`, and what the parts raise."""
    found = list(strays(look(ours), now()))
    if not found:
        return []
    again = set(strays(look(ours), now()))
    return [stray for stray in found if stray in again]


def look(ours: Parts) -> Look:
    index = {(entry.owner, entry.document_id): entry for entry in ours.retriever.inventory()}
    files = {key: ours.ingestion.identify(key) for key in ours.platform.files.keys(FOLDER)}
    everybody = sorted(owners(ours) | {owner for owner, _ in index})
    rows = {(owner, row.id): row for owner in everybody for row in ours.documents.all(owner)}
    claims = [(owner, *claim) for owner in everybody for claim in ours.documents.claims(owner)]
    return Look(index, files, rows, claims)


def strays(seen: Look, now_s: float) -> Iterator[Stray]:
    """Yield what does not fit together."""
    yield from _in_the_index(seen)
    yield from _among_the_files(seen)
    for place, row in seen.rows.items():
        yield from _of_a_row(seen, place, row, now_s)
    for owner, fingerprint, document_id in seen.claims:
        if (owner, document_id) not in seen.rows:
            yield Stray(owner, document_id, "a fingerprint of a document that is not there", "forget it", fingerprint)


def _in_the_index(seen: Look) -> Iterator[Stray]:
    for place, entry in seen.index.items():
        row = seen.rows.get(place)
        if row is None:
            yield Stray(*place, "in the index without a document", "remove from the index")
        elif row.same_as or row.state == "failed":
            yield Stray(*place, f"in the index although its document {_why(row)}", "remove from the index")
        elif row.state == "ready" and (entry.unfinished or entry.generation != row.live_generation):
            yield Stray(*place, "indexed otherwise than its document says", "index anew")


def _why(row: Document) -> str:
    return "failed" if row.state == "failed" else "only repeats another"


def _among_the_files(seen: Look) -> Iterator[Stray]:
    known = {row.key for row in seen.rows.values()}
    for key, place in seen.files.items():
        if place is None:
            yield Stray("", "", "a file of nobody's", "delete the file", key)
        elif key not in known:
            made_here = place[1] == PurePosixPath(key).stem  # its document was deleted; others were put there by hand
            fix = "delete the file" if made_here or place in seen.rows else "make it a document"
            yield Stray(*place, "a file without a document", fix, key)


def _of_a_row(seen: Look, place: Place, row: Document, now_s: float) -> Iterator[Stray]:
    old = seconds(row.updated_at) < now_s - PATIENCE_S
    if row.state == "failed":
        return
    if row.key not in seen.files:
        if old or row.state == "ready":
            yield Stray(*place, f"{row.state} without a file", "delete the document")
    elif row.same_as:
        if (row.owner, row.same_as) not in seen.rows:
            yield Stray(*place, "repeats a document that is not there", "read again")
    elif row.state == "ready":
        if row.chunks and place not in seen.index:
            yield Stray(*place, "ready, and not in the index", "index anew")
    elif old and row.lease_until_ms < now_s * 1000:
        yield Stray(*place, f"{row.state} since {row.updated_at}, and nobody works on it", "read again")


def mend(ours: Parts, stray: Stray) -> None:
    """Do what a stray's `fix` says. What has settled itself meanwhile is left alone."""
    try:
        FIXES[stray.fix](ours, stray)
    except NotFound:
        return


def _make_document(ours: Parts, stray: Stray) -> None:
    name = PurePosixPath(stray.key).name
    ours.documents.create(stray.owner, name, document_id=stray.document_id, key=stray.key)
    ours.ingestion.retry(stray.owner, stray.document_id)


FIXES: Mapping[str, Callable[[Parts, Stray], object]] = {
    "remove from the index": lambda ours, stray: ours.retriever.remove(stray.owner, stray.document_id),
    "index anew": lambda ours, stray: ours.ingestion.reindex(ours.documents.row(stray.owner, stray.document_id)),
    "read again": lambda ours, stray: ours.ingestion.retry(stray.owner, stray.document_id),
    "delete the document": lambda ours, stray: ours.ingestion.delete(stray.owner, stray.document_id),
    "delete the file": lambda ours, stray: ours.platform.files.delete(stray.key),
    "make it a document": _make_document,
    "forget it": lambda ours, stray: ours.documents.release(
        Document(stray.document_id, stray.owner, "", "", fingerprint=stray.key)
    ),
}
