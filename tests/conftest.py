"""What every suite shares: an AWS account on this machine (moto, in a process of its own, over HTTP), and a PostgreSQL."""

from collections.abc import Iterator

import boto3
import httpx
import pytest

from pai.local.postgres.server import Server
from tests.standins.data_api import DataApiStandIn
from tests.standins.processes import ROOT, server

RESOURCES = ROOT / "infrastructure" / "resources.yaml"


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an AWS account that whole stacks can be deployed to: a process of its own, for this run."""
    program = "from tests.standins.aws_account import serve; serve()"
    log = tmp_path_factory.mktemp("moto") / "log"
    with server(log, "-W", "ignore", "-c", program, "-H", "127.0.0.1", "-p", "0") as url:
        yield url


def set_account(monkeypatch: pytest.MonkeyPatch, **endpoints: str) -> None:
    """Have every boto3 client of this test use an account of these addresses: AWS_ENDPOINT_URL…=address."""
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    place = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in {**credentials, **place, **endpoints}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty account with PAI's resources for stage dev, reached by any boto3 client made in this test; its address."""
    set_account(monkeypatch, AWS_ENDPOINT_URL=moto_url)
    httpx.post(f"{moto_url}/moto-api/reset").raise_for_status()
    boto3.client("cloudformation").create_stack(
        StackName="pai-dev",
        TemplateBody=RESOURCES.read_text(),
        Parameters=[{"ParameterKey": "Environment", "ParameterValue": "dev"}],
    )
    return moto_url


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """PAI's own PostgreSQL in a home of this run, made when the first test asks. It may forget, so that it is quick."""
    server = Server(tmp_path_factory.mktemp("home"), {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
    server.connect("postgres").close()
    yield server
    server.close()


EMPTIED = """
DO $$ DECLARE name text; BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
END $$
"""
"""Makes a database as good as new: in a tenth of the time of a new one."""


@pytest.fixture
def postgres(postgres_server: Server) -> str:
    """Address (PAI_DATABASE_URL) of a database that is empty: not even pgvector's extension is in it."""
    with postgres_server.connect("test") as administrator:
        administrator.execute(EMPTIED)
    return postgres_server.url("test")


@pytest.fixture
def data_api(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataApiStandIn]:
    """The RDS Data API over the database of `postgres`, reached by any boto3 client made in this test."""
    with DataApiStandIn(postgres) as standin:
        set_account(monkeypatch, AWS_ENDPOINT_URL_RDS_DATA=standin.url)
        yield standin
