"""The documents of a deployment as a person at a terminal speaks of them: by name, by id, by how much is in them."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from pai.client import Client
from pai.client.connection import PAGE
from pai.client.errors import ClientError
from pai.client.wire import Document

FEW = 5
"""So many documents are asked for one by one; of more, the list is read."""
EVERYTHING = 1_000_000
LISTED_CANDIDATES = 8


def look(client: Client, document_ids: Collection[str]) -> Mapping[str, Document]:
    """Return those of these documents that are there, by id."""
    if len(document_ids) <= FEW:
        return {document_id: document for document_id in document_ids if (document := _one(client, document_id))}
    found: dict[str, Document] = {}
    cursor = None
    while len(found) < len(document_ids):
        page = client.documents(limit=PAGE, cursor=cursor)
        found |= {item["document_id"]: item for item in page["items"] if item["document_id"] in document_ids}
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found


def _one(client: Client, document_id: str) -> Document | None:
    try:
        return client.document(document_id)
    except ClientError as error:
        if error.code == "DocumentNotFound":
            return None
        raise


def document_name(path: Path) -> str:
    """Return the name a file has as a document: valid Unicode in its usual form, without what could steer a terminal."""
    name = path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "�" for char in unicodedata.normalize("NFC", name))


def extent(document: Document) -> str:
    """Say how much there is in a document."""
    pages, chunks = document.get("pages"), document.get("chunks", 0)
    skipped = len(document.get("skipped_pages") or ())
    parts = (
        counted(pages, "page") if pages else "",
        counted(chunks, "passage"),
        f"{counted(skipped, 'page')} without text" if skipped else "",
    )
    return ", ".join(filter(None, parts))


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def find_document(client: Client, word: str) -> Document:
    """Return the document of this id or name; `ClientError` names the candidates when it is not the only one so called."""
    if re.fullmatch("[0-9A-Z]{26}", word) and (document := _one(client, word)):
        return document
    documents = client.documents(limit=EVERYTHING)["items"]
    wanted = word.casefold()
    for fits in (
        [item for item in documents if word in (item["document_id"], item["name"])],
        [item for item in documents if item["name"].casefold() == wanted],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ClientError("AmbiguousName", _several(word, fits), status=400)
    raise ClientError("DocumentNotFound", _none(word, [item["name"] for item in documents]), status=404)


def _several(word: str, documents: Collection[Document]) -> str:
    ids = [f"{item['document_id']} ({item['state']}, {item.get('created_at', '')})" for item in documents]
    more = ["…"] if len(ids) > LISTED_CANDIDATES else []
    return f"{len(ids)} documents are called {word!r}. Say which by its id: {', '.join([*ids[:LISTED_CANDIDATES], *more])}."


def _none(word: str, names: Collection[str]) -> str:
    close = get_close_matches(word, names, n=3)
    meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return f"There is no document {word!r}.{meant} `pai docs list` shows those there are."


def standing(document: Document) -> str:
    """Return a document's state, with how far it is where it is on its way."""
    progress = document.get("progress")
    under_way = document["state"] in ("reading", "embedding") and progress and progress["parts"]
    return f"{document['state']} {progress['parts_done']}/{progress['parts']}" if under_way and progress else document["state"]


def size(size_bytes: int) -> str:
    """Return a file's size for people."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:,.0f} {unit}"
        size_bytes = round(size_bytes / 1000)
    return f"{size_bytes:,.0f} GB"


def age(timestamp: str) -> str:
    """Return how long ago an ISO-8601 time is, in its largest unit."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now"
