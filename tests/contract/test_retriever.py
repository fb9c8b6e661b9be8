"""Every retriever of PAI's keeps the retriever's contract; and what only PostgreSQL can meet."""

from collections.abc import Iterator

import pytest

from chalicelib.embedder import Space
from chalicelib.errors import EmbedderChanged, Misconfigured
from chalicelib.retriever import Retriever
from chalicelib.retriever.memory import MemoryRetriever
from chalicelib.retriever.pgvector import PgvectorRetriever, direct
from chalicelib.retriever.pgvector import data_api as transport
from chalicelib.retriever.pgvector.database import Database
from chalicelib.retriever.pgvector.schema import migrate, reset
from chalicelib.settings import Settings
from tests.contract.retriever_contract import EMBEDDER, PETS, RENT, RetrieverContract, ask, chunk, index, store
from tests.standins.data_api import DataApiStandIn


class TestMemory(RetrieverContract):
    @pytest.fixture
    def retriever(self) -> Retriever:
        return MemoryRetriever()


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    database = direct.build(Settings(database_url=postgres))
    assert isinstance(database, direct.DirectDatabase)
    yield database
    database.close()


class TestPgvector(RetrieverContract):
    @pytest.fixture
    def retriever(self, database: Database) -> Retriever:
        return PgvectorRetriever(database)


class TestPgvectorByDataApi(RetrieverContract):
    @pytest.fixture
    def retriever(self, data_api: DataApiStandIn) -> Retriever:
        return PgvectorRetriever(transport.build(data_api.settings))


def test_migrations_may_run_again(database: Database) -> None:
    migrate(database, EMBEDDER.space)
    index(PgvectorRetriever(database), "ana", "lease", [PETS])
    migrate(database, EMBEDDER.space)
    assert len(ask(PgvectorRetriever(database), "ana", "pets")) == 1


def test_another_embedder_needs_a_reset_which_empties_the_index(database: Database) -> None:
    index(PgvectorRetriever(database), "ana", "lease", [PETS])
    other = Space("other", 8)
    with pytest.raises(EmbedderChanged):
        migrate(database, other)
    reset(database, other)
    assert list(PgvectorRetriever(database).inventory()) == []


def test_more_dimensions_than_the_index_takes_are_refused(database: Database) -> None:
    with pytest.raises(Misconfigured, match="4000"):
        migrate(database, Space("huge", 5000))


def test_removing_everything_leaves_no_row_behind(database: Database) -> None:
    retriever = PgvectorRetriever(database)
    store(retriever, "ana", "lease", [chunk(0, PETS)], last=False)
    store(retriever, "ana", "lease", [chunk(0, RENT)], generation="2")
    retriever.remove("ana", "lease")
    for table in ("shelves", "editions", "chunks", "arrivals", "terms", "postings"):
        assert list(database.fetch(f"SELECT 1 FROM pai.{table}")) == [], table


def test_counts_of_terms_stay_true(database: Database) -> None:
    retriever = PgvectorRetriever(database)
    for generation in ("1", "2"):
        index(retriever, "ana", "lease", [PETS, RENT, PETS], generation=generation)
    index(retriever, "ana", "other", [PETS])
    retriever.remove("ana", "other")
    wrong = database.fetch(
        "SELECT t.lexeme FROM pai.terms t WHERE t.chunks <> (SELECT count(*) FROM pai.postings p WHERE p.term = t.id)"
    )
    assert list(wrong) == []
    assert [tuple(row) for row in database.fetch("SELECT chunks FROM pai.shelves")] == [(3,)]


def test_words_are_stemmed_in_the_language_of_each_document(database: Database) -> None:
    retriever = PgvectorRetriever(database)
    index(retriever, "ana", "miete", ["Die Mieträume dürfen nicht untervermietet werden."], language="de")
    index(retriever, "ana", "lease", ["Tenants were paying their deposits."], language="en")
    by_document = {passage.document_id: passage.bm25 for passage in ask(retriever, "ana", "Mietraum")}
    assert by_document["miete"]
    assert not by_document["lease"]
    by_document = {passage.document_id: passage.bm25 for passage in ask(retriever, "ana", "the tenant pays a deposit")}
    assert by_document["lease"]
    assert not by_document["miete"]


def test_search_looks_up_few_chunks_however_wrong_the_statistics_are(database: Database) -> None:
    retriever = PgvectorRetriever(database, vector_share=0.0)
    index(retriever, "ana", "lease", [f"{PETS} {number}" for number in range(1200)])
    database.fetch("DELETE FROM pg_statistic WHERE starelid = 'pai.chunks'::regclass")
    database.fetch("ALTER TABLE pai.chunks ALTER COLUMN edition SET (n_distinct = -1)")
    database.fetch("ANALYZE pai.chunks")
    before = _chunks_fetched(database)

    assert len(ask(retriever, "ana", "pets 77 78 79")) == 6

    assert _chunks_fetched(database) - before < 1000


def _chunks_fetched(database: Database) -> int:
    database.fetch("SELECT pg_stat_force_next_flush()::text")
    [(count,)] = database.fetch("SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'pai.chunks'::regclass")
    return int(str(count))
