"""How a file comes in: announced and given a place to go to; and on one machine, that place.

In the cloud the place is a presigned POST to the bucket, and S3 tells the queue what arrived. One machine's own door says
the same to its own queue, in the same words.
"""

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import quote

from ulid import ULID

from chalicelib.documents import Documents, file_key
from chalicelib.errors import BadRequest, RouteNotFound, TooLarge
from chalicelib.platform import Platform, Upload
from chalicelib.records import Document

if TYPE_CHECKING:
    from chalicelib.platform.local.uploads import Grant

OPEN_S = 3600
"""How long a place stays open: a big file over a slow line takes its time."""


@dataclass(frozen=True)
class Announcement:
    """What somebody wants to upload."""

    filename: str
    content_type: str
    size_bytes: int


@runtime_checkable
class OwnDoor(Protocol):
    """Files that are taken in by PAI itself."""

    def verify_upload(self, token: str) -> "Grant": ...


class Uploads:
    def __init__(self, documents: Documents, platform: Platform, now: Callable[[], float] = time.time) -> None:
        self._documents = documents
        self._platform = platform
        self._now = now

    def announce(self, owner: str, wanted: Announcement) -> tuple[Document, Upload]:
        """Return the row of a document that waits for its file, and where to send that."""
        document_id = str(ULID.from_timestamp(self._now()))
        key = file_key(owner, document_id, wanted.filename)
        # The address first: when there is none, no row is left that waits for ever.
        upload = self._platform.files.presign(
            key, content_type=wanted.content_type, size_bytes=wanted.size_bytes, expires_s=OPEN_S
        )
        document = self._documents.create(
            owner,
            wanted.filename,
            content_type=wanted.content_type,
            size_bytes=wanted.size_bytes,
            document_id=document_id,
            key=key,
        )
        return document, upload

    def grant(self, token: str) -> "Grant":
        """Return what may come in at this address. Forbidden; RouteNotFound where S3 takes the files."""
        files = self._platform.files
        if not isinstance(files, OwnDoor):
            raise RouteNotFound("Files go to the address that POST /upload gave.")
        return files.verify_upload(token)

    def receive(self, token: str, content_type: str, content: bytes) -> None:
        """Take a file in and say so to the queue. Raises Forbidden, TooLarge, BadRequest."""
        grant = self.grant(token)
        if content_type != grant.content_type:
            raise BadRequest("Content-Type", f"must be {grant.content_type}, as it was announced")
        if not content:
            raise BadRequest("body", "is empty")
        if len(content) > grant.size_bytes:
            raise TooLarge("body", f"is larger than the {grant.size_bytes:,} bytes that were announced")
        self._platform.files.put(grant.key, io.BytesIO(content), content_type=content_type)
        self._platform.queue.send(arrival_message(grant.key, len(content), f"{time.time_ns():016X}"))


def arrival_message(key: str, size_bytes: int, sequencer: str) -> str:
    """Return what S3 says of a file that arrived.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    file = {"key": quote(key), "size": size_bytes, "sequencer": sequencer}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"object": file}}]})
