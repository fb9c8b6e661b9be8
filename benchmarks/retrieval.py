"""How well, and how fast, documents are found: collections with judgements (BEIR's form), and a larger index of their texts.

The product's splitter, local embedder and retriever on a PostgreSQL of its own (or `--database URL`, whose schema `pai` is
then dropped). A record is split as a document is; its score is its best chunk's. One setting serves every collection. Times
are those of the one SQL statement, as this process waits for it.
"""

import re
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any

from benchmarks.support.collections import Collection, Record, chunks_of, fill, find, read, store
from benchmarks.support.embedding import Cached
from benchmarks.support.indexing import DATABASE, own_server
from benchmarks.support.options import CACHE
from benchmarks.support.printing import Numbers, parser, product_silenced, show
from benchmarks.support.ranking import ndcg, recall, reciprocal_rank
from chalicelib.embedder import Embedder, Space, Vector
from chalicelib.records import Chunk
from chalicelib.retriever import Query
from chalicelib.retriever.passages import MOST
from chalicelib.retriever.pgvector import VECTOR_SHARE, PgvectorRetriever, direct
from chalicelib.retriever.pgvector.database import Connection, Database, Row, Value
from chalicelib.retriever.pgvector.schema import reset
from chalicelib.settings import Settings

OWNER = "benchmark"
LEGS = {"vector": 1.0, "bm25": 0.0, "hybrid": VECTOR_SHARE}
EMBED_QUERIES = 50
SCALE_QUERIES = 400
PASSAGES = 30
"""Asked for where ten records are looked at: a record may have several."""
SEED = 7
DECAY = 0.5
"""Spectrum of the made-up vectors: the deviation along axis n is n to the power of minus this."""


class Timed:
    """A database that notes how long each statement outside a transaction took, in ms."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.times: list[float] = []

    def transaction(self) -> AbstractContextManager[Connection]:
        return self._database.transaction()

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        started = time.perf_counter()
        rows = self._database.fetch(sql, parameters)
        self.times.append((time.perf_counter() - started) * 1000)
        return rows


def measure(
    folders: Sequence[Path], embedder: Embedder, database: Database, cache: Path | None, scale: tuple[int, int] | None
) -> Numbers:
    collections = [read(folder) for folder in folders]
    cached = Cached(embedder, cache)
    numbers: dict[str, Any] = {collection.name: _quality(collection, cached, embedder, database) for collection in collections}
    if len(collections) == 1:
        numbers = {**numbers.pop(collections[0].name), "collection": collections[0].name}
    if scale:
        numbers["scale"] = _scale(collections, *scale, database)
    return numbers


def _quality(collection: Collection, cached: Cached, embedder: Embedder, database: Database) -> dict[str, Any]:
    reset(database, cached.space)
    chunks = fill(PgvectorRetriever(database), OWNER, collection.records, cached)
    asked = dict(zip(collection.queries, cached.embed(list(collection.queries.values()), "query"), strict=True))
    legs = {name: _leg(collection, asked, cached.space, database, share) for name, share in LEGS.items()}
    return {**legs, "embed_ms": _embed_ms(embedder, list(collection.queries.values())), "chunks": chunks}


def _leg(
    collection: Collection, asked: "Mapping[str, Vector[float]]", space: Space, database: Database, share: float
) -> dict[str, float]:
    timed = Timed(database)
    deep = PgvectorRetriever(database, share, depth=MOST)
    usual = PgvectorRetriever(timed, share)
    usual_rankings, deep_rankings = {}, {}
    for id, vector in asked.items():
        query = Query(OWNER, collection.queries[id], vector, space, PASSAGES)
        usual_rankings[id] = _ranking(usual, query, collection.records)
        deep_rankings[id] = _ranking(deep, Query(OWNER, query.text, vector, space, MOST), collection.records)
    judged = collection.judgements
    return {
        "ndcg10": round(fmean(ndcg(ranking, judged[id]) for id, ranking in usual_rankings.items()), 4),
        "recall100": round(fmean(recall(ranking, judged[id]) for id, ranking in deep_rankings.items()), 4),
        "mrr10": round(fmean(reciprocal_rank(ranking, judged[id]) for id, ranking in usual_rankings.items()), 4),
        **_percentiles(timed.times),
    }


def _ranking(retriever: PgvectorRetriever, query: Query, records: Sequence[Record]) -> list[str]:
    """Return the records found, best first: each where its best passage stands. As many passages are asked as may be."""
    found = (chunk.part for passage in retriever.search(query) for chunk in passage.chunks)
    return [records[index].id for index in dict.fromkeys(found)]


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    highest = quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return {"p50_ms": round(median(times), 2), "p95_ms": round(highest, 2)}


def _embed_ms(embedder: Embedder, texts: Sequence[str]) -> float:
    times = []
    for text in texts[:EMBED_QUERIES]:
        started = time.perf_counter()
        embedder.embed([text], "query")
        times.append((time.perf_counter() - started) * 1000)
    return round(median(times), 2)


# A larger index


def _scale(collections: Sequence[Collection], count: int, dimensions: int, database: Database) -> dict[str, Any]:
    """Return times and recall over `count` chunks of the collections' texts, with made-up vectors."""
    import numpy as np

    texts = [chunk for collection in collections for chunk in chunks_of(collection.records, 256)]
    chunks = [_numbered(texts[index % len(texts)], index) for index in range(count)]
    random = np.random.default_rng(SEED)
    vectors = _spectrum(random, count, dimensions)
    queries = [text for collection in collections for text in collection.queries.values()]
    asked = [queries[index] for index in random.permutation(len(queries))[:SCALE_QUERIES]]
    near = vectors[random.integers(count, size=len(asked))] + 0.5 * _spectrum(random, len(asked), dimensions)
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype("f4")
    space = Space("made-up", dimensions)
    reset(database, space)
    rows = [array("f", vector.tobytes()) for vector in vectors]
    store(PgvectorRetriever(database), OWNER, chunks, rows, space, "en")
    _settle(database)
    asking = [Query(OWNER, text, array("f", vector.tobytes()), space, 10) for text, vector in zip(asked, near, strict=True)]
    timed = Timed(database)
    for query in asking:  # with nothing in between: comparing all vectors would push the index out of the processor's caches
        PgvectorRetriever(timed).search(query)
    recalls = [_recall(PgvectorRetriever(database, 1.0), query, vectors) for query in asking]
    warm = timed.times[len(timed.times) // 10 :]
    return {**_percentiles(warm), "recall10": round(fmean(recalls), 4), "plan": _plan(database, near[0])}


def _recall(vector_leg: PgvectorRetriever, query: Query, vectors: Any) -> float:
    """Return which share of the ten nearest vectors are found."""
    import numpy as np

    found = {chunk.ordinal // 2 for passage in vector_leg.search(query) for chunk in passage.chunks}
    exact = {int(index) for index in np.argsort(-(vectors @ np.frombuffer(query.vector, "f4")))[:10]}
    return len(found & exact) / len(exact)


def _numbered(chunk: Chunk, index: int) -> Chunk:
    return Chunk(index * 2, 0, None, chunk.context, chunk.text, 0)


def _spectrum(random: Any, count: int, dimensions: int) -> Any:
    """Return unit vectors, most of whose variance lies along few axes, as with those of real models."""
    import numpy as np

    vectors = random.standard_normal((count, dimensions)) * np.arange(1, dimensions + 1) ** -DECAY
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("f4")


def _settle(database: Database) -> None:
    """Wait for what autovacuum does within a minute of an import: until then index-only scans visit the heap."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        [(vacuumed,)] = database.fetch(
            "SELECT count(*) FROM pg_stat_user_tables WHERE schemaname = 'pai' AND relname = 'postings' "
            "AND coalesce(last_autovacuum, last_vacuum) IS NOT NULL"
        )
        if vacuumed:
            return
        time.sleep(1)


def _plan(database: Database, vector: Any) -> str:
    """Return how PostgreSQL runs the vector search of `pai.nearest`, which must be by its index."""
    with database.transaction() as connection:
        connection.fetch("SET LOCAL enable_seqscan = off")
        explained = connection.fetch(
            "EXPLAIN SELECT c.id FROM pai.chunks c WHERE c.owner || '' = :owner::text "
            "AND (SELECT e.live FROM pai.editions e WHERE e.id = c.edition) "
            "ORDER BY c.embedding <#> :vector::halfvec LIMIT 100",
            {"owner": OWNER, "vector": array("f", vector.tobytes())},
        )
    plan = re.sub(r"'\[.*?\]'", "'[…]'", "\n".join(str(line) for (line,) in explained))
    if "chunks_embedding" not in plan:
        raise RuntimeError(f"The vector search does not use its index:\n{plan}")
    return plan


@contextmanager
def _database(url: str) -> Iterator[Database]:
    if url:
        yield direct.build(Settings(database_url=url))
        return
    with own_server() as server, closing(direct.DirectDatabase(lambda: server.connect(DATABASE))) as database:
        yield database


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="a collection of BEIR's form, or a folder of them")
    CACHE.add_to(arguments)
    arguments.add_argument("--scale", metavar="CHUNKSxDIMENSIONS", default="", help="also measure an index of this size")
    arguments.add_argument("--scale-only", action="store_true", help="measure nothing else")
    arguments.add_argument("--database", metavar="URL", default="", help="a PostgreSQL to use; its schema pai is dropped")
    given = arguments.parse_args()
    scale = _pair(given.scale) if given.scale else None
    with product_silenced(), _database(given.database) as database:
        from pai.local import minilm

        folders = find(given.data)
        if given.scale_only and scale:
            numbers: Numbers = {"scale": _scale([read(folder) for folder in folders], *scale, database)}
        else:
            numbers = measure(folders, minilm.build(Settings()), database, given.cache, scale)
    show(numbers, given.json)


def _pair(text: str) -> tuple[int, int]:
    count, _, dimensions = text.partition("x")
    return int(count), int(dimensions)


if __name__ == "__main__":
    main()
