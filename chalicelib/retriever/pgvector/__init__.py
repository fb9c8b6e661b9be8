"""The retriever on PostgreSQL with pgvector: vectors by HNSW, words by BM25 in SQL, both in one function (migrations/)."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

from chalicelib.embedder import Space, Vector
from chalicelib.errors import EmbedderChanged, Misconfigured
from chalicelib.records import Chunk, Passage
from chalicelib.retriever import Indexed, Indexing, Query, Removed, Retriever
from chalicelib.retriever.passages import Hit, bounded, joined
from chalicelib.retriever.pgvector.database import Connection, Database, Row, SchemaMissing, Value
from chalicelib.retriever.pgvector.schema import CHANGED, check, migrate, reset
from chalicelib.retriever.words import words
from chalicelib.settings import Settings

VECTOR_SHARE = 0.7
"""What the vectors count in a score, the words the rest: the best of few values tried on four sets (docs/benchmarks.md)."""
DEPTH = 80
"""Chunks that each of the two searches brings."""
SPARE = 2
"""Chunks fetched for each passage that is asked for: some will be neighbours."""
QUERY_CHARS = 10_000
PAGE = 200
"""Chunks that one answer brings: the Data API sends a megabyte at most."""
ALL = 2**31 - 1
CHUNK_COLUMNS = {
    "owner": "text",
    "edition": "bigint",
    "ordinal": "integer",
    "part": "integer",
    "page": "integer",
    "context": "text",
    "text": "text",
    "start": "integer",
    "embedding": "halfvec",
}
CONFIGURATIONS: Mapping[str, str] = {
    **{"ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish"},
    **{"eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian", "hy": "armenian"},
    **{"id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch", "no": "norwegian"},
    **{"nb": "norwegian", "nn": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian"},
    **{"sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish"},
}
"""ISO 639-1 → the text-search configurations that PostgreSQL 16 brings; for others `simple`, which stems nothing."""

Result = TypeVar("Result")


def build(settings: Settings) -> Retriever:
    return PgvectorRetriever(_database(settings))


def _database(settings: Settings) -> Database:
    name = settings.database if "." in settings.database else f"{__name__}.{settings.database}"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        raise Misconfigured(f"PAI_DATABASE is {settings.database!r}, which needs the module {error.name!r}.") from error
    database: Database = module.build(settings)
    return database


class PgvectorRetriever:
    def __init__(self, database: Database, vector_share: float = VECTOR_SHARE, depth: int = DEPTH) -> None:
        self._database = database
        self._share = vector_share
        self._depth = depth

    def replace(self, indexing: Indexing, chunks: Sequence[Chunk], vectors: "Sequence[Vector[float]]", *, last: bool) -> None:
        _check_vectors(indexing.space, vectors)

        def write() -> None:
            with self._database.transaction() as connection:
                edition = _emptied(connection, indexing, chunks)
                if chunks:
                    _store(connection, indexing.owner, edition, chunks, vectors)
                if last:
                    connection.fetch("SELECT pai.publish(:edition::bigint)::text", {"edition": edition})

        self._prepared(indexing.space, write)

    def remove(self, owner: str, document_id: str) -> Removed:
        named = {"owner": owner, "document": document_id}
        try:
            with self._database.transaction() as connection:
                [(chunks, postings)] = connection.fetch("SELECT * FROM pai.remove(:owner::text, :document::text)", named)
        except SchemaMissing:  # nothing was ever indexed
            return Removed(0, 0)
        return Removed(_int(chunks), _int(postings))

    def search(self, query: Query) -> Sequence[Passage]:
        _check_vectors(query.space, [query.vector])
        k = bounded(query.k)
        asked: dict[str, Value] = {
            "model": query.space.model,
            "dimensions": query.space.dimensions,
            "owner": query.owner,
            "words": words(query.text[:QUERY_CHARS]),
            "vector": query.vector,
            "documents": json.dumps(query.documents) if query.documents else "",
            "share": float(self._share),
            "depth": max(self._depth, k),
            "results": k * SPARE,
        }
        try:
            rows = self._database.fetch(_SEARCH, asked)
            if not rows:  # there is nothing, or it is another model's
                with self._database.transaction() as connection:
                    check(connection, query.space)
        except SchemaMissing:
            return ()
        return joined(map(_hit, rows), k)

    def chunks(self, owner: str, document_id: str, first: int = 0, last: int | None = None) -> Sequence[Chunk]:
        last = ALL if last is None else last
        found: list[Chunk] = []
        while True:
            named: dict[str, Value] = {"owner": owner, "document": document_id, "first": first, "last": last}
            try:
                rows = self._database.fetch(_CHUNKS, named)
            except SchemaMissing:
                return ()
            found += map(_chunk, rows)
            if len(rows) < PAGE:
                return found
            first = found[-1].ordinal + 1

    def inventory(self) -> Iterator[Indexed]:
        after = ("", "")
        while True:
            try:
                rows = self._database.fetch(_INVENTORY, {"owner": after[0], "document": after[1]})
            except SchemaMissing:
                return
            for row in rows:
                owner, document_id, generation, chunks, unfinished = row
                yield Indexed(str(owner), str(document_id), str(generation), _int(chunks), _int(unfinished))
                after = (str(owner), str(document_id))
            if len(rows) < PAGE:
                return

    def reset(self, space: Space) -> None:
        reset(self._database, space)

    def _prepared(self, space: Space, work: Callable[[], Result]) -> Result:
        """Do some work; where the schema is not there, or too old, make it first."""
        try:
            return work()
        except SchemaMissing:
            migrate(self._database, space)
            return work()


def _check_vectors(space: Space, vectors: "Sequence[Vector[float]]") -> None:
    if any(len(vector) != space.dimensions for vector in vectors):
        raise EmbedderChanged(CHANGED)


def _emptied(connection: Connection, indexing: Indexing, chunks: Sequence[Chunk]) -> int:
    """Make room for a stretch: return its edition, which has nothing any more from its first ordinal to its last."""
    rows = connection.fetch(
        _EMPTIED,
        {
            "model": indexing.space.model,
            "dimensions": indexing.space.dimensions,
            "owner": indexing.owner,
            "document": indexing.document_id,
            "generation": indexing.generation,
            "configuration": CONFIGURATIONS.get(indexing.language, "simple"),
            **_bounds(chunks),
        },
    )
    if not rows:
        check(connection, indexing.space)
        raise SchemaMissing("the index has got this space only now")
    return _int(rows[0][0])


def _bounds(chunks: Sequence[Chunk]) -> dict[str, Value]:
    ordinals = [chunk.ordinal for chunk in chunks]
    return {"first": min(ordinals, default=0), "last": max(ordinals, default=-1)}


def _store(
    connection: Connection, owner: str, edition: int, chunks: Sequence[Chunk], vectors: "Sequence[Vector[float]]"
) -> None:
    connection.load("pai.chunks", CHUNK_COLUMNS, _rows(owner, edition, chunks, vectors))
    arrivals = ((edition, chunk.ordinal, words(f"{chunk.context}\n{chunk.text}")) for chunk in chunks)
    connection.load("pai.arrivals", {"edition": "bigint", "ordinal": "integer", "words": "text"}, arrivals)
    posted = {"edition": edition, **_bounds(chunks)}
    connection.fetch("SELECT pai.post(:edition::bigint, :first::int, :last::int)", posted)


def _rows(owner: str, edition: int, chunks: Sequence[Chunk], vectors: "Sequence[Vector[float]]") -> Iterator[Row]:
    for chunk, vector in zip(chunks, vectors, strict=True):
        context, text = _storable(chunk.context), _storable(chunk.text)
        yield owner, edition, chunk.ordinal, chunk.part, chunk.page, context, text, chunk.start, vector


def _storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and UTF-8 no lone surrogates; offsets stay as they are."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def _hit(row: Row) -> Hit:
    document_id, *chunk, similarity, bm25, score = row
    return Hit(str(document_id), _chunk(chunk), _float(score) or 0.0, _float(similarity), _float(bm25))


def _chunk(row: Row) -> Chunk:
    ordinal, part, page, context, text, start = row
    at = None if page is None else _int(page)
    return Chunk(_int(ordinal), _int(part), at, str(context), str(text), _int(start))


def _int(value: Any) -> int:
    return int(value)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


_SEARCH = """SELECT document_id, ordinal, part, page, context, "text", start, similarity, bm25, score
FROM pai.search(:owner::text, :words::text, :vector::halfvec, :documents::text, :share::float8, :depth::int, :results::int)
WHERE EXISTS (SELECT FROM pai.library WHERE model = :model::text AND dimensions = :dimensions::int)"""
_EMPTIED = """SELECT e.id FROM pai.library l
CROSS JOIN LATERAL pai.open_edition(:owner::text, :document::text, :generation::text, :configuration::text) AS e (id)
CROSS JOIN LATERAL pai.unload(e.id, :first::int, :last::int)
WHERE l.model = :model::text AND l.dimensions = :dimensions::int"""
_CHUNKS = f"""SELECT c.ordinal, c.part, c.page, c.context, c.text, c.start
FROM pai.editions e JOIN pai.chunks c ON c.edition = e.id
WHERE e.owner = :owner::text AND e.document_id = :document::text AND e.live
AND c.ordinal BETWEEN :first::int AND :last::int ORDER BY c.ordinal LIMIT {PAGE}"""
_INVENTORY = f"""SELECT e.owner, e.document_id, coalesce(max(e.generation) FILTER (WHERE e.live), '') AS generation,
    coalesce(sum(n.chunks) FILTER (WHERE e.live), 0)::bigint AS chunks,
    coalesce(sum(n.chunks) FILTER (WHERE NOT e.live), 0)::bigint AS unfinished
FROM pai.editions e
CROSS JOIN LATERAL (SELECT count(*) AS chunks FROM pai.chunks c WHERE c.edition = e.id) n
WHERE (e.owner, e.document_id) > (:owner::text, :document::text)
GROUP BY e.owner, e.document_id ORDER BY e.owner, e.document_id LIMIT {PAGE}"""
