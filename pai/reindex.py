"""Having documents indexed anew from their files: after the embedder has changed, or a backup was brought back.

A backup holds the registry and the files, and not the index, which is made of them again. The database could be dumped; but a
dump is a program, and restoring one would run it, as the database's superuser, on the word of a file from anywhere.
"""

from array import array
from collections.abc import Iterator

from chalicelib.errors import DocumentBusy, EmbedderChanged, NotFound
from chalicelib.records import Document
from chalicelib.retriever import Query
from chalicelib.wiring import Parts

FOLDER = "documents/"


def owners(ours: Parts) -> set[str]:
    """Return everybody who may have documents: owners of an API key, and of a file."""
    places = (ours.ingestion.identify(key) for key in ours.platform.files.keys(FOLDER))
    return {key.owner for key in ours.platform.keys.load().keys} | {place[0] for place in places if place}


def empty_foreign_index(ours: Parts) -> bool:
    """Empty the index if it was built with another embedder than the one of today; return whether it was."""
    space = ours.embedder.space
    try:
        ours.retriever.search(Query("", "", array("f", [1.0, *bytes(space.dimensions - 1)]), space, k=1))
    except EmbedderChanged:
        ours.retriever.reset(space)
        return True
    return False


def queue_documents(ours: Parts, *, everything: bool) -> int:
    """Queue the documents to be read and embedded again; return how many. What is there answers until each is done.

    Without `everything`, those that are ready and that the index does not have. Failed ones stay as they are, and those
    that only repeat another follow it.
    """
    wanted = list(_standing(ours))
    if not everything:
        live = {(entry.owner, entry.document_id, entry.generation) for entry in ours.retriever.inventory()}
        ready = [row for row in wanted if row.state == "ready"]
        wanted = [row for row in ready if (row.owner, row.id, row.live_generation) not in live]
    return sum(_queued(ours, row) for row in wanted)


def _standing(ours: Parts) -> Iterator[Document]:
    for owner in sorted(owners(ours)):
        yield from (row for row in ours.documents.all(owner) if row.state != "failed" and not row.same_as)


def _queued(ours: Parts, row: Document) -> bool:
    try:
        ours.ingestion.reindex(row)
    except (NotFound, DocumentBusy):  # deleted meanwhile, or somebody is at it already
        return False
    return True
