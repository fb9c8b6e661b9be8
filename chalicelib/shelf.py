"""Documents as requests ask for them: announced, listed, shown, searched."""

from collections.abc import Callable

from chalicelib import wire_documents
from chalicelib.documents import Documents
from chalicelib.http import Reply, Request
from chalicelib.library import Library
from chalicelib.retriever import Retriever
from chalicelib.settings import Settings
from chalicelib.uploads import Uploads


class Shelf:
    """The retriever is built when a passage is first asked for."""

    def __init__(
        self,
        documents: Documents,
        uploads: Uploads,
        library: Library,
        retriever: Callable[[], Retriever],
        settings: Settings,
    ) -> None:
        self._documents = documents
        self._uploads = uploads
        self._library = library
        self._retriever = retriever
        self._settings = settings

    def announce(self, request: Request) -> Reply:
        """Say where a file is to be sent."""
        wanted = wire_documents.announcement(request, self._settings.upload_bytes)
        return wire_documents.announced(*self._uploads.announce(request.owner, wanted))

    def list(self, request: Request) -> Reply:
        """Return a page of the owner's documents, newest first."""
        limit, after = wire_documents.page(request)
        return wire_documents.listed(self._documents.list(request.owner, limit=limit, after=after))

    def passage(self, request: Request, document_id: str, passage_id: str) -> Reply:
        """Return a citation's passage, and where in it the quote stands."""
        document = self._documents.get(request.owner, document_id)
        first, last = wire_documents.ordinals(passage_id)
        chunks = self._retriever().chunks(request.owner, document.same_as or document.id, first, last)
        return wire_documents.passage(document, passage_id, chunks, request)

    def search(self, request: Request) -> Reply:
        """Return passages, best first."""
        query, k, documents = wire_documents.search(request)
        return wire_documents.found(self._library.search(request.owner, query, k=k, documents=documents))
