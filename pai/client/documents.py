"""The library: documents uploaded, looked after and deleted, and searches in them."""

from collections.abc import Sequence
from typing import Any

from pai.client.connection import PAGE, Connection
from pai.client.paths import document_path
from pai.client.patience import OnWait, patiently
from pai.client.wire import Document, Found, Page, Upload, given

LIBRARY_S = 60.0
"""How long a request about documents is repeated while the database wakes, or somebody else works on the document."""


class Documents(Connection):
    def begin_upload(self, filename: str, content_type: str, size_bytes: int) -> Upload:
        """Announce a file; the reply says where to send it."""
        body = {"filename": filename, "content_type": content_type, "bytes": size_bytes}
        return self._json(Upload, "POST", "/upload", json=body)

    def documents(self, *, limit: int = PAGE, cursor: str | None = None) -> Page[Document]:
        """Return up to `limit` documents, newest first."""
        return self._list("/documents", limit, cursor)

    def document(self, document_id: str) -> Document:
        return self._json(Document, "GET", document_path(document_id))

    def delete_document(self, document_id: str, on_wait: OnWait | None = None) -> dict[str, Any]:
        """Delete for good; return the receipt. Waits for a moment while the document is being read."""
        return patiently(lambda: self._json(dict, "DELETE", document_path(document_id)), on_wait, LIBRARY_S)

    def retry_document(self, document_id: str) -> Document:
        """Have a document that failed read again."""
        return self._json(Document, "POST", f"{document_path(document_id)}/retry")

    def search(
        self, query: str, *, top_k: int | None = None, documents: Sequence[str] = (), on_wait: OnWait | None = None
    ) -> Found:
        """Return the passages that fit best. Waits while the database wakes."""
        body = given({"query": query, "top_k": top_k, "documents": list(documents) or None})
        return patiently(lambda: self._json(Found, "POST", "/search", json=body), on_wait, LIBRARY_S)
