"""The registry of documents over a store and a vault: one row for each file, with names and titles sealed.

pk = D#<owner>    the owner is part of the key: another owner's id leads nowhere
    sk = <document id>     a ULID, so that newest-first is by id
pk = H#<owner>
    sk = <fingerprint>     which document stands for these bytes; a keyed digest, with nothing to guess against
pk = G#<owner>
    sk = <document id>     it was deleted: an upload that was still on its way is not taken for a new file. Expires.

A document with the same bytes as another has no text of its own: its row names the other in `same_as`, and is shown as
far along as that one is.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any

from ulid import ULID

from chalicelib.clock import iso
from chalicelib.errors import DocumentLost, DocumentNotFound, SealBroken
from chalicelib.records import Document
from chalicelib.settings import Settings
from chalicelib.store import Item, Store, Value, When
from chalicelib.vault import Vault

SEALED = ("name", "title")
UNREADABLE = "(does not open with its key)"
ORPHANED = "It was read with another upload of the same file, which is gone. Retry it: then it is read by itself."
SUFFIX_CHARS = 10
LIVE = When("present", "key")
GONE_S = 14 * 86_400
"""How long a deletion is remembered: the longest that a queue keeps the news of an upload."""
SHARED = (
    "state",
    "title",
    "language",
    "pages",
    "chunks",
    "characters",
    "skipped_pages",
    "parts",
    "parts_done",
    "failure_code",
    "failure",
    "failure_page",
)
"""What a document shows of the one that has its bytes."""


@dataclass(frozen=True)
class Listed:
    """A page of the registry. `cursor` is the id to go on after, None at the end."""

    documents: Sequence[Document]
    cursor: str | None = None


class Documents:
    """The repository of documents. Every method takes the owner first, and finds nothing of anybody else's."""

    def __init__(self, store: Store, vault: Vault, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._vault = vault
        self._now = now

    def create(
        self, owner: str, name: str, *, content_type: str = "", size_bytes: int = 0, document_id: str = "", key: str = ""
    ) -> Document:
        """Store a new row, `waiting` for its file, and return it. One that is there under this id is left and returned."""
        document_id = document_id or str(ULID.from_timestamp(self._now()))
        key = key or file_key(owner, document_id, name)
        now = iso(self._now())
        document = Document(document_id, owner, name, key, content_type, size_bytes, created_at=now, updated_at=now)
        box, wrapped = self._vault.new_box(owner, _registry(owner))
        document = replace(document, wrapped_key=wrapped)
        item: dict[str, Value] = {"pk": _registry(owner), "sk": document_id, "key": wrapped, **_plain(document)}
        item |= {name: box.seal(document_id, name, getattr(document, name)) for name in SEALED if getattr(document, name)}
        if self._store.put(item, [When("absent", "pk")]):
            return document
        return self.get(owner, document_id)

    def get(self, owner: str, document_id: str) -> Document:
        """Return a document as people see it: one with the same bytes as another is as far along as that. DocumentNotFound."""
        return self._shown(self.row(owner, document_id))

    def row(self, owner: str, document_id: str) -> Document:
        """Return a document's row as it is stored. DocumentNotFound."""
        item = self._store.get(_registry(owner), document_id)
        if item is None:
            raise DocumentNotFound
        return self._opened(owner, item)

    def _shown(self, document: Document) -> Document:
        if not document.same_as:
            return document
        try:
            original = self.row(document.owner, document.same_as)
        except DocumentNotFound:
            return replace(document, state="failed", failure_code=DocumentLost.__name__, failure=ORPHANED)
        return replace(document, **{name: getattr(original, name) for name in SHARED})

    def list(self, owner: str, *, limit: int = 100, after: str = "") -> Listed:
        """Return documents, newest first, from behind the id `after`."""
        found: list[Document] = []
        for document in self.all(owner, after):
            if len(found) == limit:
                return Listed(found, found[-1].id)
            found.append(self._shown(document))
        return Listed(found)

    def all(self, owner: str, after: str = "") -> Iterator[Document]:
        """Yield the owner's rows as they are stored, newest first, read as needed."""
        cursor = None
        while True:
            page = self._store.query(_registry(owner), last=after, newest_first=True, cursor=cursor)
            yield from (self._opened(owner, item) for item in page.items if item["sk"] != after)
            cursor = page.cursor
            if cursor is None:
                return

    def names(self, owner: str, document_ids: Collection[str]) -> Mapping[str, str]:
        """Return the names of those of these documents that are there."""
        items = (self._store.get(_registry(owner), document_id) for document_id in document_ids)
        documents = [self._opened(owner, item) for item in items if item is not None]
        return {document.id: document.name for document in documents}

    def copies(self, document: Document) -> Sequence[Document]:
        """Return the rows of the documents that this one stands for, oldest first."""
        return [other for other in self.all(document.owner) if other.same_as == document.id][::-1]

    def change(self, document: Document, when: Sequence[When] = (), **changes: Any) -> Document | None:
        """Change these fields of a row that is there; None when it is not, or a condition does not hold."""
        changed = replace(document, **changes, updated_at=iso(self._now()))
        plain = _plain(changed)
        named = {_STORED.get(name, name) for name in (*changes, "updated_at")}
        sealed = {name: self._seal(changed, name) for name in SEALED if name in changes and getattr(changed, name)}
        stored = self._store.update(
            _registry(document.owner),
            document.id,
            set={**{name: value for name, value in plain.items() if name in named}, **sealed},
            remove=tuple(name for name in named - plain.keys() - sealed.keys()),
            when=[LIVE, *when],
        )
        return None if stored is None else self._opened(document.owner, stored)

    def delete(self, owner: str, document_id: str) -> None:
        """Delete the row, and with it the key of its name."""
        self._store.put({"pk": _gone(owner), "sk": document_id, "expires_at": int(self._now()) + GONE_S})
        self._store.delete([(_registry(owner), document_id)])

    def was_deleted(self, owner: str, document_id: str) -> bool:
        """Whether there was a document with this id that was deleted lately."""
        return self._store.get(_gone(owner), document_id) is not None

    # Which document stands for the same bytes

    def fingerprint(self, owner: str, sha256: str) -> str:
        """Return what equal bytes of one owner have in common: a keyed digest of their SHA-256 (hex)."""
        return self._vault.fingerprint(owner, sha256)

    def claim(self, document: Document, fingerprint: str, instead_of: str = "") -> str:
        """Make this document stand for these bytes, or take that over from another; return the id that now does."""
        pk = _prints(document.owner)
        free = When("equals", "document_id", instead_of) if instead_of else When("absent", "pk")
        if self._store.put({"pk": pk, "sk": fingerprint, "document_id": document.id}, [free]):
            return document.id
        held = self._store.get(pk, fingerprint)
        return str(held["document_id"]) if held else self.claim(document, fingerprint)

    def release(self, document: Document) -> None:
        """Let go of the bytes that this document stood for."""
        if document.fingerprint and self._holds(document):
            self._store.delete([(_prints(document.owner), document.fingerprint)])

    def claims(self, owner: str) -> Iterator[tuple[str, str]]:
        """Yield every fingerprint with the id of the document that stands for it."""
        cursor = None
        while True:
            page = self._store.query(_prints(owner), cursor=cursor)
            yield from ((str(item["sk"]), str(item["document_id"])) for item in page.items)
            cursor = page.cursor
            if cursor is None:
                return

    def _holds(self, document: Document) -> bool:
        held = self._store.get(_prints(document.owner), document.fingerprint)
        return held is not None and held["document_id"] == document.id

    def _seal(self, document: Document, name: str) -> bytes:
        box = self._vault.open_box(document.owner, _registry(document.owner), document.wrapped_key)
        return box.seal(document.id, name, getattr(document, name))

    def _opened(self, owner: str, item: Item) -> Document:
        key = item["key"]
        assert isinstance(key, bytes)
        texts: dict[str, Any] = {}
        for name in SEALED:
            sealed = item.get(name, b"")
            assert isinstance(sealed, bytes)
            texts[name] = self._open(owner, key, str(item["sk"]), name, sealed) if sealed else ""
        return Document(id=str(item["sk"]), owner=owner, wrapped_key=key, **texts, **_record(item))

    def _open(self, owner: str, key: bytes, document_id: str, name: str, sealed: bytes) -> str:
        try:
            return self._vault.open_box(owner, _registry(owner), key).open(document_id, name, sealed)
        except SealBroken:  # lists must go on, and the document can still be deleted
            return UNREADABLE


def unchanged(document: Document, *names: str) -> list[When]:
    """Return the conditions that these fields of the row are still as in this record."""
    plain = _plain(document)
    stored = [_STORED.get(name, name) for name in names]
    return [When("equals", name, plain[name]) if name in plain else When("absent", name) for name in stored]


def file_key(owner: str, document_id: str, name: str) -> str:
    """Return where a document's file goes: its suffix tells the reader what it is, and nothing else of its name is in it."""
    suffix = PurePosixPath(name).suffix.lower()
    plain = suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= SUFFIX_CHARS else ""
    return f"documents/{owner}/{document_id}{plain}"


def _registry(owner: str) -> str:
    return f"D#{owner}"


def _gone(owner: str) -> str:
    return f"G#{owner}"


def _prints(owner: str) -> str:
    return f"H#{owner}"


_STORED = {"key": "file"}
"""`key` is the wrapped key everywhere in the store; a document's file key is stored as `file`."""
_NOT_PLAIN = (*SEALED, "id", "owner", "wrapped_key", "skipped_pages")
_PLAIN = tuple(field.name for field in fields(Document) if field.name not in _NOT_PLAIN)


def _plain(document: Document) -> dict[str, Value]:
    """Return the attributes that are stored as they are; empty ones are left out."""
    values = {_STORED.get(name, name): getattr(document, name) for name in _PLAIN}
    values["skipped_pages"] = json.dumps(document.skipped_pages) if document.skipped_pages else ""
    return {name: value for name, value in values.items() if value not in ("", None, 0)}


def _record(item: Item) -> dict[str, Any]:
    """Return the fields of a Document that its item says."""
    found = {name: item[_STORED.get(name, name)] for name in _PLAIN if _STORED.get(name, name) in item}
    return (
        found | {"skipped_pages": tuple(json.loads(str(item.get("skipped_pages", "[]"))))} | {"key": str(item.get("file", ""))}
    )
