"""Both transports to PostgreSQL keep one contract: a connection, and the RDS Data API."""

from collections.abc import Iterator

import pytest

from chalicelib.retriever.pgvector import data_api as transport
from chalicelib.retriever.pgvector import direct
from chalicelib.retriever.pgvector.database import Database
from chalicelib.retriever.pgvector.direct import DirectDatabase
from chalicelib.settings import Settings
from tests.contract.database_contract import DatabaseContract
from tests.standins.data_api import DataApiStandIn


class TestDirect(DatabaseContract):
    @pytest.fixture
    def database(self, postgres: str) -> Iterator[Database]:
        database = direct.build(Settings(database_url=postgres))
        assert isinstance(database, DirectDatabase)
        yield database
        database.close()

    @pytest.fixture
    def impatient(self, database: Database) -> Database:
        database.fetch("SET statement_timeout = '50ms'")
        return database


class TestDataApi(DatabaseContract):
    @pytest.fixture
    def database(self, data_api: DataApiStandIn) -> Database:
        return transport.build(data_api.settings)

    @pytest.fixture
    def impatient(self, database: Database, data_api: DataApiStandIn) -> Database:
        data_api.statement_s = 0.05
        return database
