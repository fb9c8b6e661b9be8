"""The library: an owner's documents as something to ask. Joins the embedder, the retriever and the registry's names."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from chalicelib.documents import Documents
from chalicelib.embedder import Embedder, Space
from chalicelib.errors import BadRequest, DocumentBusy
from chalicelib.records import Passage
from chalicelib.retriever import Query, Retriever

KNOWN_S = 60.0
"""How long a process remembers that an owner has documents. That there are none it asks each time: one may just have come."""
KNOWN_OWNERS = 10_000
NEWEST = 100


class Library:
    """Embedder and retriever are built when first searched: who has no documents does not wait for them."""

    def __init__(
        self,
        documents: Documents,
        embedder: Callable[[], Embedder],
        retriever: Callable[[], Retriever],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents = documents
        self._embedder = embedder
        self._retriever = retriever
        self._now = now
        self._known: dict[str, float] = {}

    @property
    def space(self) -> Space:
        """Where this library's vectors live: what its passages' similarities are measured in."""
        return self._embedder().space

    def has_documents(self, owner: str) -> bool:
        """Whether the owner has any, in whatever state: one query at most, and nothing of the index is touched."""
        if self._known.get(owner, 0.0) > self._now():
            return True
        if next(self._documents.all(owner), None) is None:
            return False
        if len(self._known) >= KNOWN_OWNERS:
            self._known.clear()
        self._known[owner] = self._now() + KNOWN_S
        return True

    def is_reading(self, owner: str) -> bool:
        """Whether one of the owner's newest documents is being read just now, so that more may be found in a moment."""
        newest = islice(self._documents.all(owner), NEWEST)
        return any(document.state in ("reading", "embedding") for document in newest)

    def search(self, owner: str, query: str, *, k: int, documents: Sequence[str] = ()) -> list[Passage]:
        """Return the passages that fit best, best first, with the names of their documents. `documents` limits; empty is all.

        Raises DocumentNotFound, DocumentBusy (not read yet) or BadRequest (failed) for one of `documents`;
        EmbedderUnavailable, LibraryUnavailable (LibraryWaking), EmbedderChanged.
        """
        sought = tuple(dict.fromkeys(self._searchable(owner, documents)))
        embedder = self._embedder()
        [vector] = embedder.embed([query], "query")
        found = self._retriever().search(Query(owner, query, vector, embedder.space, k, sought))
        names = self._documents.names(owner, {passage.document_id for passage in found})
        return [replace(passage, name=names[passage.document_id]) for passage in found if passage.document_id in names]

    def _searchable(self, owner: str, document_ids: Sequence[str]) -> Iterator[str]:
        """Yield the ids under which these documents are indexed: one with the same bytes as another is found as that."""
        for document_id in document_ids:
            document = self._documents.get(owner, document_id)
            if document.state == "failed":
                raise BadRequest("documents", f"one of them could not be read: {document.failure}")
            if document.state != "ready" and not document.live_generation:
                raise DocumentBusy("One of these documents is being read just now. Ask again in a moment.")
            yield document.same_as or document.id
