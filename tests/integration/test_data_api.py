"""Aurora over the Data API: asleep, throttled, cut off, at its limits, or set up wrongly."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from chalicelib.errors import InternalError, LibraryUnavailable, LibraryWaking, Misconfigured, PaiError
from chalicelib.patience import patience
from chalicelib.platform.aws.clients import client
from chalicelib.retriever.pgvector import data_api as transport
from chalicelib.retriever.pgvector.database import Database
from tests.standins.data_api import CLUSTER, RESUMING, SECRET, DataApiStandIn, Fault


@pytest.fixture
def database(data_api: DataApiStandIn) -> Database:
    database = transport.build(data_api.settings)
    database.fetch("CREATE TABLE notes (id bigint)")
    data_api.requests.clear()
    return database


def insert(database: Database) -> None:
    database.fetch("INSERT INTO notes (id) VALUES (1)")


def insert_in_transaction(database: Database) -> None:
    with database.transaction() as connection:
        connection.fetch("INSERT INTO notes (id) VALUES (1)")


def ask(database: Database) -> None:
    database.fetch("SELECT 1")


def notes(database: Database) -> int:
    [[count]] = database.fetch("SELECT count(*) FROM notes")
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("use", [ask, insert, insert_in_transaction])
def test_sleeping_database_is_waited_for(
    database: Database, data_api: DataApiStandIn, use: Callable[[Database], None]
) -> None:
    data_api.script(RESUMING)

    use(database)

    assert notes(database) == (0 if use is ask else 1)


@pytest.mark.parametrize("use", [ask, insert, insert_in_transaction])
def test_who_is_impatient_is_told_that_it_wakes(
    database: Database, data_api: DataApiStandIn, use: Callable[[Database], None]
) -> None:
    data_api.script(*[RESUMING] * 10)
    began = time.monotonic()

    with patience(0.6), pytest.raises(LibraryWaking, match="waking up") as told:
        use(database)

    assert told.value.retry_after_s == 20
    assert time.monotonic() - began < 5
    assert len(data_api.requests) == 2


def test_patience_is_for_all_questions_of_a_turn_together(database: Database, data_api: DataApiStandIn) -> None:
    data_api.script(*[RESUMING] * 10)

    with patience(0.6):
        for _ in range(3):
            with pytest.raises(LibraryWaking):
                ask(database)

    assert len(data_api.requests) == 4


def test_throttled_statement_is_tried_again(database: Database, data_api: DataApiStandIn) -> None:
    data_api.script(Fault("ThrottlingException"))

    insert(database)

    assert notes(database) == 1


def test_throttling_that_does_not_end_is_told(database: Database, data_api: DataApiStandIn) -> None:
    data_api.script(*[Fault("ThrottlingException")] * 10)

    with patience(2), pytest.raises(LibraryUnavailable, match="takes no more requests"):
        ask(database)


@pytest.mark.parametrize("fault", [Fault(), Fault("InternalServerErrorException"), Fault("ServiceUnavailableError")])
def test_question_that_was_cut_off_is_asked_again(database: Database, data_api: DataApiStandIn, fault: Fault) -> None:
    data_api.script(fault)

    ask(database)

    assert len(data_api.requests) == 2


@pytest.mark.parametrize(
    "fault", [Fault("", "ExecuteStatement", done=True), Fault("ServiceUnavailableError", "ExecuteStatement")]
)
@pytest.mark.parametrize("use", [insert, insert_in_transaction])
def test_change_that_was_perhaps_made_is_not_made_again(
    database: Database, data_api: DataApiStandIn, fault: Fault, use: Callable[[Database], None]
) -> None:
    data_api.script(fault)

    with pytest.raises(LibraryUnavailable):
        use(database)

    assert len(data_api.asked("ExecuteStatement")) == 1


def test_commit_without_an_answer_is_told(database: Database, data_api: DataApiStandIn) -> None:
    data_api.script(Fault("", "CommitTransaction", done=True))

    with pytest.raises(LibraryUnavailable):
        insert_in_transaction(database)

    assert len(data_api.asked("CommitTransaction")) == 1


def test_service_that_is_not_there_is_told(database: Database, data_api: DataApiStandIn) -> None:
    data_api.stop()

    with patience(1), pytest.raises(LibraryUnavailable, match="does not answer"):
        ask(database)


def test_transaction_that_was_idle_too_long_is_lost_as_a_whole(database: Database, data_api: DataApiStandIn) -> None:
    data_api.idle_s = 0.0

    with pytest.raises(LibraryUnavailable, match="took too long"):
        insert_in_transaction(database)

    assert notes(database) == 0


def test_answer_beyond_the_limit_is_told(database: Database) -> None:
    with pytest.raises(InternalError, match="1 MiB"):
        database.fetch("SELECT repeat('x', 60000) FROM generate_series(1, 20)")


def test_row_beyond_the_limit_is_told(database: Database) -> None:
    with pytest.raises(InternalError, match="64 KB a row"):
        database.fetch("SELECT repeat('x', 70000)")


def test_type_that_does_not_travel_is_told(database: Database) -> None:
    with pytest.raises(PaiError, match="UnsupportedResultException"):
        database.fetch("SELECT '(1,2)'::point")


def test_request_beyond_the_limit_is_told(database: Database) -> None:
    with pytest.raises(InternalError, match="4 MiB"):
        database.fetch("SELECT length(:text)", {"text": "ä" * 1_000_000})


def test_no_request_of_a_load_is_beyond_the_limit(database: Database, data_api: DataApiStandIn) -> None:
    database.fetch("CREATE TABLE texts (body text)")

    with database.transaction() as connection:
        connection.load("texts", {"body": "text"}, [('"ä\\' * 50_000,)] * 20)

    assert [list(row) for row in database.fetch("SELECT count(*), min(length(body)) FROM texts")] == [[20, 150_000]]


def test_schema_change_goes_on_when_nobody_waits_for_it(database: Database, data_api: DataApiStandIn) -> None:
    database.fetch("CREATE INDEX ON notes (id)")
    database.fetch("SELECT 1")

    assert [each["continueAfterTimeout"] for each in data_api.asked("ExecuteStatement")] == [True, False]


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"database_cluster": "arn:aws:rds:us-east-1:123456789012:cluster:other"}, Misconfigured, "HTTP endpoint"),
        (
            {"database_secret": "arn:aws:secretsmanager:us-east-1:123456789012:secret:other"},
            Misconfigured,
            "PAI_DATABASE_SECRET",
        ),
        ({"database_name": "nowhere"}, Misconfigured, "no database of that name"),
    ],
)
def test_wrong_setting_is_named(data_api: DataApiStandIn, change: dict[str, Any], kind: type[PaiError], sentence: str) -> None:
    database = transport.build(replace(data_api.settings, **change))

    with pytest.raises(kind, match=sentence):
        ask(database)


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        ("AccessDeniedException", LibraryUnavailable, "denied ExecuteStatement"),
        ("ForbiddenException", LibraryUnavailable, "refuses this role"),
        ("DatabaseNotFoundException", Misconfigured, "no instance"),
        ("InvalidSecretException", Misconfigured, "does not accept its secret"),
        ("InvalidResourceStateException", LibraryUnavailable, "not available just now"),
        ("StatementTimeoutException", LibraryUnavailable, "too long"),
        ("ExpiredTokenException", LibraryUnavailable, "AWS credentials"),
        ("BadRequestException", LibraryUnavailable, "BadRequestException"),
    ],
)
def test_refusal_says_what_to_do(
    database: Database, data_api: DataApiStandIn, code: str, kind: type[PaiError], sentence: str
) -> None:
    data_api.script(Fault(code, message="arn:aws:secret 4711"))

    with pytest.raises(kind, match=sentence) as refused:
        ask(database)

    assert "4711" not in str(refused.value)


@pytest.mark.parametrize("change", [{"database_cluster": ""}, {"database_secret": ""}])
def test_missing_setting_is_named_at_once(data_api: DataApiStandIn, change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="PAI_DATABASE_CLUSTER and PAI_DATABASE_SECRET"):
        transport.build(replace(data_api.settings, **change))


def test_call_that_is_not_signed_is_refused(data_api: DataApiStandIn) -> None:
    assert httpx.post(f"{data_api.url}/Execute", json={}).status_code == 403


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({"sql": "SELECT 1; SELECT 2"}, "Multistatements aren't supported."),
        ({"sql": "SELECT :b::int"}, "Cannot find parameter: b"),
        ({"sql": f"SELECT '{'x' * 70_000}'"}, "Member must have length less than or equal to 65536"),
        ({"parameters": [{"name": "a", "value": {"arrayValue": {"longValues": [1]}}}]}, "Array parameters are not supported."),
        ({"parameters": [{"name": "a", "value": {"stringValue": "x" * 4_200_000}}]}, "Request size exceeded limit"),
        ({"transactionId": "unheard"}, "Transaction unheard is not found. Transaction may be expired."),
    ],
)
def test_standin_refuses_what_aws_refuses(data_api: DataApiStandIn, members: dict[str, object], refusal: str) -> None:
    with pytest.raises(ClientError, match=re.escape(refusal)):
        client("rds-data").execute_statement(**{**_TARGET, "sql": "SELECT :a", **members})


def test_standin_runs_a_batch_for_each_set(database: Database, data_api: DataApiStandIn) -> None:
    sets = [[{"name": "id", "value": {"longValue": id_}}] for id_ in range(3)]

    client("rds-data").batch_execute_statement(
        **_TARGET,
        database=data_api.settings.database_name,
        sql="INSERT INTO notes (id) VALUES (:id)",
        parameterSets=sets,
    )

    assert notes(database) == 3


_TARGET: dict[str, Any] = {"resourceArn": CLUSTER, "secretArn": SECRET}
