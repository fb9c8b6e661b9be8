"""The index's schema: migrations, each a file of statements, run in their order over any transport.

`CREATE INDEX … hnsw` and `halfvec` come with pgvector; what of it a version lacks (iterative scans came with 0.8) is left out,
and the search then looks at everything an owner has where the index finds too little.
"""

from functools import lru_cache
from pathlib import Path

from chalicelib.embedder import Space
from chalicelib.errors import EmbedderChanged, Misconfigured
from chalicelib.retriever.pgvector.database import Connection, Database, SchemaMissing

FOLDER = Path(__file__).parent / "migrations"
LOCK = 7_233_172_017
"""Any number that nothing else in the database locks: one migration at a time."""
LARGEST = 4000
"""Dimensions that HNSW takes of a halfvec."""
PLANNING = (
    "SET jit = off SET plan_cache_mode = force_generic_plan SET random_page_cost = 1.1 SET hnsw.ef_search = 80 "
    "SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET join_collapse_limit = 1"
)
"""Joins are written in the order that is right for any library, each step a look-up by key. Left to choose, the planner goes
by statistics, which after an import are of a table as it was before: that has cost 40 times the time."""
ITERATIVE = " SET hnsw.iterative_scan = 'relaxed_order' SET hnsw.max_scan_tuples = 20000"
CHANGED = "The documents were indexed with another embedder. Index them anew: pai docs reindex."


def migrate(database: Database, space: Space) -> None:
    """Bring the schema up to date, for this embedder if it is new. Twice, or two at once, does no harm.

    Raises EmbedderChanged if what is there was made by another one.
    """
    if not 0 < space.dimensions <= LARGEST:
        raise Misconfigured(f"The index takes vectors of up to {LARGEST} dimensions, not {space.dimensions}.")
    with database.transaction() as connection:
        # In a transaction of its own: the functions' settings are checked only where the extension is loaded already.
        _lock(connection)
        connection.fetch("CREATE EXTENSION IF NOT EXISTS vector")
    with database.transaction() as connection:
        _lock(connection)
        done = _done(connection)
        for number, path in enumerate(_migrations(), 1):
            if number > done:
                for statement in _statements(path, space.dimensions, _settings(connection)):
                    connection.fetch(statement)
                connection.fetch("INSERT INTO pai.migrations (number) VALUES (:number::int)", {"number": number})
        connection.fetch(
            "INSERT INTO pai.library (model, dimensions) VALUES (:model, :dimensions::int) ON CONFLICT DO NOTHING",
            {"model": space.model, "dimensions": space.dimensions},
        )
        check(connection, space)


def reset(database: Database, space: Space) -> None:
    """Empty the index, for vectors of another space: every document is then to be indexed anew."""
    with database.transaction() as connection:
        _lock(connection)
        connection.fetch("DROP SCHEMA IF EXISTS pai CASCADE")
    migrate(database, space)


def check(connection: Connection, space: Space) -> None:
    """Raise EmbedderChanged if the index was made in another space."""
    [(model, dimensions)] = connection.fetch("SELECT model, dimensions FROM pai.library") or [(None, None)]
    if model is None:
        raise SchemaMissing("the index has no space yet")
    if (model, dimensions) != (space.model, space.dimensions):
        raise EmbedderChanged(CHANGED)


def _lock(connection: Connection) -> None:
    connection.fetch("SELECT pg_advisory_xact_lock(:lock::bigint)::text", {"lock": LOCK})


def _done(connection: Connection) -> int:
    connection.fetch("CREATE SCHEMA IF NOT EXISTS pai")
    connection.fetch("CREATE TABLE IF NOT EXISTS pai.migrations (number int PRIMARY KEY, run_at timestamptz DEFAULT now())")
    [(number,)] = connection.fetch("SELECT coalesce(max(number), 0) FROM pai.migrations")
    assert isinstance(number, int)
    return number


def _settings(connection: Connection) -> str:
    [(version,)] = connection.fetch("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    major, minor = map(int, str(version).split(".")[:2])
    return PLANNING + (ITERATIVE if (major, minor) >= (0, 8) else "")


@lru_cache(maxsize=1)
def _migrations() -> tuple[Path, ...]:
    return tuple(sorted(FOLDER.glob("*.sql")))


def _statements(path: Path, dimensions: int, settings: str) -> list[str]:
    """Return the statements of a migration: each ends with a semicolon and an empty line. Comments before the first go."""
    text = path.read_text(encoding="utf-8").format(dimensions=dimensions, settings=settings)
    pieces = (piece.strip() for piece in text.split("\n\n"))
    return [_without_comments(piece) for piece in pieces if _without_comments(piece)]


def _without_comments(statement: str) -> str:
    return "\n".join(line for line in statement.splitlines() if not line.startswith("--")).strip().removesuffix(";")
