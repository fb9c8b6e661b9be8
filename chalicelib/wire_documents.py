"""The JSON of documents, uploads and passages ↔ records. Pure: requests are checked here, replies get their form here."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from chalicelib.documents import Listed
from chalicelib.errors import BadRequest, PassageNotFound, TooLarge
from chalicelib.http import Reply, Request
from chalicelib.platform import Upload
from chalicelib.records import Chunk, Document, Passage
from chalicelib.uploads import Announcement
from chalicelib.wire import MOST_PASSAGES, cursor, document_ids, place

if TYPE_CHECKING:
    from chalicelib.ingest.erase import Erased

NAME_CHARS = 255
NAME_BYTES = 1000
QUERY_CHARS = 10_000
QUOTE_CHARS = 10_000
PASSAGES = 8
PASSAGE_CHUNKS = 50
LIST = 50
UNREADABLE_KINDS = ("image/", "audio/", "video/", "font/")
_SPACING = re.compile("[\u00a0\u00ad\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff]")
"""What Python does not call printable and names do have: spaces that don't break, joiners of emoji and of scripts."""
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(; ?[\w.-]+=[\w.-]+)*", re.ASCII)

Json = dict[str, Any]


def announcement(request: Request, most_bytes: int) -> Announcement:
    """Return what a request to /upload announces. BadRequest, TooLarge."""
    fields = request.fields
    size_bytes = fields.whole("bytes", least=1, most=2**53)
    if size_bytes is None:
        raise BadRequest("bytes", "must say how many bytes the file has")
    if size_bytes > most_bytes:
        raise TooLarge("bytes", f"are {size_bytes:,}, and a file may have {most_bytes:,}; split it, or raise PAI_UPLOAD_BYTES")
    name = _filename(fields.required_text("filename", longest=NAME_CHARS, largest=NAME_BYTES))
    return Announcement(name, _type(request), size_bytes)


def _filename(given: str) -> str:
    name = PurePosixPath(given.replace("\\", "/")).name.strip()
    if name in ("", "..") or not _SPACING.sub("", name).isprintable():
        raise BadRequest("filename", "must be the name of a file, without control characters")
    return name


def _type(request: Request) -> str:
    media_type = request.fields.text("content_type", longest=NAME_CHARS, default="application/octet-stream")
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise BadRequest("content_type", "must be a media type like application/pdf")
    if media_type.lower().startswith(UNREADABLE_KINDS):
        raise BadRequest("content_type", "is of a kind that has no text to read; put it into a PDF if it shows text")
    return media_type


def announced(document: Document, upload: Upload) -> Reply:
    """Return the reply of /upload: where the file goes."""
    where: Json = {"url": upload.url, "method": upload.method}
    if upload.fields:
        where["fields"] = dict(upload.fields)
    if upload.headers:
        where["headers"] = dict(upload.headers)
    return Reply({"document_id": document.id, "upload": where, "expires_at": upload.expires_at}, status=201)


def document(shown: Document) -> Json:
    """Return a document as people see it."""
    failed = shown.state == "failed"
    return {
        "document_id": shown.id,
        "name": shown.name,
        "state": shown.state,
        "content_type": shown.content_type,
        "bytes": shown.size_bytes,
        "pages": shown.pages,
        "chunks": shown.chunks,
        "characters": shown.characters,
        "skipped_pages": list(shown.skipped_pages),
        "language": shown.language or None,
        "title": shown.title or None,
        "progress": {"parts_done": shown.parts_done, "parts": shown.parts},
        "error": _failure(shown) if failed or shown.failure_code else None,
        "same_as": shown.same_as or None,
        "created_at": shown.created_at,
        "updated_at": shown.updated_at,
    }


def _failure(shown: Document) -> Json:
    return {"Code": shown.failure_code, "Message": shown.failure, "page": shown.failure_page}


def page(request: Request) -> tuple[int, str]:
    """Return how many documents a request wants, and the id that they follow."""
    limit = request.parameters.whole("limit", least=1, most=100) or LIST
    after = request.query.get("cursor", "")
    return limit, place(after) if after else ""


def listed(found: Listed) -> Reply:
    following = cursor(found.cursor) if found.cursor else None
    return Reply({"items": [document(shown) for shown in found.documents], "next_cursor": following})


def erased(receipt: "Erased") -> Reply:
    """Return the receipt of a deletion."""
    return Reply({**vars(receipt), "deleted": True})


def search(request: Request) -> tuple[str, int, tuple[str, ...]]:
    """Return what a request to /search asks: the words, how many passages, and in which documents."""
    fields = request.fields
    return (
        fields.required_text("query", longest=QUERY_CHARS, largest=3 * QUERY_CHARS),
        fields.whole("top_k", least=1, most=MOST_PASSAGES) or PASSAGES,
        document_ids("documents", fields.members.get("documents")),
    )


def found(passages: Sequence[Passage]) -> Reply:
    """Return the reply of /search, best first."""
    items = [
        {
            "passage_id": passage.id,
            "document_id": passage.document_id,
            "name": passage.name,
            "page": passage.page,
            "context": passage.chunks[0].context,
            "text": passage.text,
            "score": round(passage.score, 4),
        }
        for passage in passages
    ]
    return Reply({"passages": items}, log={"passages": len(items)})


def ordinals(passage_id: str) -> tuple[int, int]:
    """Return the first and the last chunk that a passage's id stands for; PassageNotFound."""
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", passage_id, re.ASCII)
    if not match:
        raise PassageNotFound
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < first + PASSAGE_CHUNKS:
        raise PassageNotFound
    return first, last


def passage(shown: Document, passage_id: str, chunks: Sequence[Chunk], request: Request) -> Reply:
    """Return a passage, with the place of the `quote` that the request names, in characters of the text."""
    from chalicelib.chat.citations import locate  # app.py imports this module, also where no documents are kept

    if not chunks:
        raise PassageNotFound
    text = Passage(passage_id, shown.id, tuple(chunks), score=0).text
    quote = request.query.get("quote", "")[:QUOTE_CHARS]
    at = locate(quote, text) if quote else None
    return Reply(
        {
            "passage_id": passage_id,
            "document_id": shown.id,
            "name": shown.name,
            "page": chunks[0].page,
            "context": chunks[0].context,
            "text": text,
            "quote": {"start": at[0], "end": at[1]} if at else None,
        }
    )
