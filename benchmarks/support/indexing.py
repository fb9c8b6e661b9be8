"""How fast chunks come into PostgreSQL by the product's own way, beside a raw COPY of the same rows into the same table.

Each batch is what ingestion stores at once, in a transaction of its own, durable when it ends. The raw COPY has the same
batches and transactions, and its bytes were put out by PostgreSQL beforehand: it encodes nothing, and neither looks for what
it replaces nor counts. `at_once` it has one transaction for all. Where HNSW is not what is measured, its index is not there.
HNSW is built with the `maintenance_work_mem` of PAI's own PostgreSQL, which is among the numbers.
All run by turns, each time into an empty table after a checkpoint; the numbers are medians. The vectors are made up.
"""

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from benchmarks.support.printing import Numbers
from chalicelib.embedder import Space, Vector
from chalicelib.ingest.generation import BATCH_CHUNKS
from chalicelib.ingest.read import reading
from chalicelib.ingest.split import split
from chalicelib.records import Chunk
from chalicelib.retriever import Indexing
from chalicelib.retriever.pgvector import CHUNK_COLUMNS, PgvectorRetriever
from chalicelib.retriever.pgvector.database import Connection, Database, Row, Value
from chalicelib.retriever.pgvector.direct import DirectDatabase
from chalicelib.retriever.pgvector.schema import reset
from pai.local.postgres.server import Server

SPACE = Space("made-up", 1024)
ROUNDS = 5
INSERTED = 1000
"""Chunks that are put into the finished HNSW index in a round."""
SEED = 7
DATABASE = "pai"
COLUMNS = ", ".join(CHUNK_COLUMNS)
COPY_IN = f"COPY pai.chunks ({COLUMNS}) FROM STDIN (FORMAT BINARY)"
COPY_OUT = f"COPY (SELECT {COLUMNS} FROM pai.chunks WHERE id > {{}} AND id <= {{}} ORDER BY id) TO STDOUT (FORMAT BINARY)"

Session = psycopg.Connection[Any]


@dataclass(frozen=True)
class Batch:
    """What one call of the retriever stores; `last` of its document."""

    document: str
    chunks: Sequence[Chunk]
    vectors: "Sequence[Vector[float]]"
    last: bool


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a PostgreSQL with the product's settings until the block ends; then it is stopped, and nothing of it is left."""
    with TemporaryDirectory(prefix="pai-") as home, closing(Server(Path(home))) as server:
        yield server


def chunks_in(paths: Iterable[Path]) -> list[Chunk]:
    """Return the chunks of all files as far as they can be read, as if they were one document."""
    chunks: list[Chunk] = []
    for path in paths:
        with suppress(Exception), reading(path, path.name, "") as found:
            for part in found:
                chunks += split(part, title=found.title or path.stem, first_ordinal=len(chunks))
    return chunks


def batches_of(chunks: Sequence[Chunk], count: int, name: str = "document") -> list[Batch]:
    """Return so many chunks at least: these, again and again, each time as a document with vectors of its own."""
    import numpy as np

    random = np.random.default_rng(SEED)
    made = []
    for copy in range(-(-count // len(chunks))):
        vectors = random.standard_normal((len(chunks), SPACE.dimensions), "f4")
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for first in range(0, len(chunks), BATCH_CHUNKS):
            end = first + BATCH_CHUNKS
            rows = [array("f", vector.tobytes()) for vector in vectors[first:end]]
            made.append(Batch(f"{name} {copy}", chunks[first:end], rows, end >= len(chunks)))
    return made


def measure_indexing(server: Server, chunks: Sequence[Chunk], count: int) -> Numbers:
    """Return the rates of `count` chunks, which these texts are repeated to make up."""
    with closing(DirectDatabase(lambda: server.connect(DATABASE))) as database, server.connect(DATABASE) as session:
        reset(database, SPACE)
        definition = _definition(session)
        rates = _rates(database, session, batches_of(chunks, count))
        return {**rates, **_hnsw(database, session, definition, chunks), **_setting(session)}


def _setting(session: Session) -> Numbers:
    [memory] = session.execute("SHOW maintenance_work_mem").fetchone() or ("",)
    return {"batch_chunks": BATCH_CHUNKS, "maintenance_work_mem": memory}


# Without HNSW


def _rates(database: Database, session: Session, batches: Sequence[Batch]) -> Numbers:
    """Return chunks a second by each way. Leaves the table full."""
    ends = list(accumulate((len(batch.chunks) for batch in batches), initial=0))
    _empty(database, session)
    _store(WithoutWords(database), batches)
    _check_postings(session, none=True)
    small = [_copied_out(session, first, end) for first, end in pairwise(ends)]
    large = [_copied_out(session, 0, ends[-1])]
    ways: Mapping[str, Callable[[], None]] = {
        "chunks_per_s_vector_only": lambda: _store(WithoutWords(database), batches),
        "copy_chunks_per_s": lambda: _copy_in(session, small),
        "copy_at_once_chunks_per_s": lambda: _copy_in(session, large),
        "chunks_per_s": lambda: _store(database, batches),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            _empty(database, session)
            seconds[name].append(_seconds(way))
            _check_chunks(session, ends[-1])
    _check_postings(session, none=False)
    return {"chunks": ends[-1], **{name: round(ends[-1] / median(times), 1) for name, times in seconds.items()}}


def _empty(database: Database, session: Session) -> None:
    """Make the schema anew, without its HNSW index."""
    reset(database, SPACE)
    session.execute("DROP INDEX pai.chunks_embedding")
    session.execute("CHECKPOINT")


def _store(database: Database, batches: Iterable[Batch]) -> None:
    retriever = PgvectorRetriever(database)
    for batch in batches:
        indexing = Indexing("benchmark", batch.document, "1", SPACE, "en")
        retriever.replace(indexing, batch.chunks, batch.vectors, last=batch.last)


def _copied_out(session: Session, after: int, until: int) -> bytes:
    """Return the rows with these ids (consecutive, for nobody else writes) as a COPY's bytes."""
    with session.cursor().copy(COPY_OUT.format(after, until)) as copy:
        return b"".join(copy)


def _copy_in(session: Session, streams: Iterable[bytes]) -> None:
    for stream in streams:
        with session.transaction(), session.cursor().copy(COPY_IN) as copy:
            copy.write(stream)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _check_chunks(session: Session, count: int) -> None:
    [found] = session.execute("SELECT count(*) FROM pai.chunks").fetchone() or (0,)
    if found != count:
        raise RuntimeError(f"{found} chunks are there instead of {count}.")


def _check_postings(session: Session, *, none: bool) -> None:
    [found] = session.execute("SELECT count(*) FROM (SELECT FROM pai.postings LIMIT 1) p").fetchone() or (0,)
    if none == bool(found):
        raise RuntimeError("There are postings where there should be none." if found else "There are no postings.")


class WithoutWords:
    """A database that the retriever's words don't reach: no postings come about, and all else is as it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._database.transaction() as connection:
            yield _WithoutWords(connection)

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        return self._database.fetch(sql, parameters)


class _WithoutWords:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        return () if "pai.post(" in sql else self._connection.fetch(sql, parameters)

    def load(self, table: str, columns: Mapping[str, str], rows: Iterable[Row]) -> int:
        return 0 if table == "pai.arrivals" else self._connection.load(table, columns, rows)


# With HNSW


def _definition(session: Session) -> str:
    """Return the statement that makes the product's index."""
    [statement] = session.execute("SELECT pg_get_indexdef('pai.chunks_embedding'::regclass)").fetchone() or ("",)
    return str(statement)


def _hnsw(database: Database, session: Session, definition: str, chunks: Sequence[Chunk]) -> Numbers:
    """Return how long the index takes over all that is there, and how fast more comes into it, postings and all."""
    build, insert = [], []
    for number in range(ROUNDS):
        session.execute("DROP INDEX IF EXISTS pai.chunks_embedding")
        session.execute("CHECKPOINT")
        build.append(_seconds(lambda: session.execute(definition)))
        insert.append(_seconds(partial(_store, database, batches_of(chunks[:INSERTED], 1, f"more {number}"))))
    return {
        "hnsw_build_s": round(median(build), 2),
        "hnsw_insert_per_s": round(len(chunks[:INSERTED]) / median(insert), 1),
    }
