"""The library: an owner's documents as something to ask. Joins the embedder, the retriever and the registry's names."""

from collections.abc import Sequence
from dataclasses import replace

from chalicelib.documents import Documents
from chalicelib.embedder import Embedder
from chalicelib.records import Passage
from chalicelib.retriever import Query, Retriever


class Library:
    def __init__(self, documents: Documents, embedder: Embedder, retriever: Retriever) -> None:
        self._documents = documents
        self._embedder = embedder
        self._retriever = retriever

    def search(self, owner: str, query: str, *, k: int, documents: Sequence[str] = ()) -> list[Passage]:
        """Return the passages that fit best, best first, with the names of their documents.

        Raises EmbedderUnavailable, LibraryUnavailable (LibraryWaking), EmbedderChanged.
        """
        [vector] = self._embedder.embed([query], "query")
        found = self._retriever.search(Query(owner, query, vector, self._embedder.space, k, tuple(documents)))
        names = self._documents.names(owner, {passage.document_id for passage in found})
        return [replace(passage, name=names[passage.document_id]) for passage in found if passage.document_id in names]
