"""Aurora by the RDS Data API: HTTPS requests, so that neither a network of one's own nor a driver is needed.

Its limits (https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/data-api.limitations.html): 4 MiB a request, 1 MiB a
response, 64 KB a row of it, 64 KB of SQL, 45 s a statement, one statement a call, no arrays. A transaction ends when no call
came for three minutes. A cluster at rest answers the first call with DatabaseResumingException, and takes some 15 s to wake.
"""

import json
import re
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from chalicelib.errors import InternalError, LibraryUnavailable, LibraryWaking, Misconfigured, PaiError
from chalicelib.patience import patience_left
from chalicelib.platform.aws.clients import client
from chalicelib.platform.aws.failures import aws_failures
from chalicelib.retriever.pgvector import halfvec
from chalicelib.retriever.pgvector.database import Connection, Database, Row, Value
from chalicelib.retriever.pgvector.refusals import meaning_of
from chalicelib.retriever.pgvector.statements import check_names
from chalicelib.settings import Settings

REQUEST_BYTES = 4 * 1024 * 1024 - 64 * 1024
"""What the values of one request may take; the rest of the limit is for headers and the statement."""
STATEMENT_S = 45
PAUSES_S = (0.5, 1.0, 2.0)
"""Waits between tries; the last one again and again."""
TRIES = 3
"""How often a call is made that failed on the way."""

Json = dict[str, Any]
Call = Callable[..., Json]


def build(settings: Settings) -> Database:
    if not (settings.database_cluster and settings.database_secret):
        raise Misconfigured(
            "PAI_DATABASE_CLUSTER and PAI_DATABASE_SECRET must name an Aurora cluster and its secret, as ARNs."
        )
    # botocore would repeat what has perhaps been done already. What may be repeated is known here alone.
    rds = client("rds-data", read_timeout=STATEMENT_S + 5, retries={"mode": "standard", "total_max_attempts": 1})
    return DataApiDatabase(rds, settings.database_cluster, settings.database_secret, settings.database_name)


class DataApiDatabase:
    """One database of a cluster. Safe for many threads."""

    def __init__(self, rds: Any, cluster: str, secret: str, database: str) -> None:
        self._rds = rds
        self._cluster = {"resourceArn": cluster, "secretArn": secret}
        self._database = {**self._cluster, "database": database}

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        begun = _called(self._rds.begin_transaction, self._database, repeatable=True)
        transaction = {**self._cluster, "transactionId": begun["transactionId"]}
        try:
            yield DataApiConnection(self._rds, {**self._database, "transactionId": begun["transactionId"]})
        except BaseException:
            with suppress(PaiError):  # it has come to an end already, or does so in three minutes
                _called(self._rds.rollback_transaction, transaction)
            raise
        _called(self._rds.commit_transaction, transaction)

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        return _fetched(self._rds, self._database, sql, parameters or {}, repeatable=_only_reads(sql))


class DataApiConnection:
    """One transaction."""

    def __init__(self, rds: Any, transaction: Json) -> None:
        self._rds = rds
        self._transaction = transaction

    def fetch(self, sql: str, parameters: Mapping[str, Value] | None = None) -> Sequence[Row]:
        return _fetched(self._rds, self._transaction, sql, parameters or {}, repeatable=False)

    def load(self, table: str, columns: Mapping[str, str], rows: Iterable[Row]) -> int:
        """Insert rows by as many statements as the limit of a request asks for, each with its rows as one JSON text.

        One statement for hundreds of rows takes a fraction of what BatchExecuteStatement takes, which runs one for each.
        """
        names = ", ".join(map(_identifier, columns))
        types = ", ".join(f"{_identifier(name)} {kind}" for name, kind in columns.items())
        target = ".".join(map(_identifier, table.split(".")))
        sql = f"INSERT INTO {target} ({names}) SELECT {names} FROM json_to_recordset(:rows::json) AS rows ({types})"
        loaded = 0
        for records, count in _batches(list(columns), rows):
            self.fetch(sql, {"rows": records})
            loaded += count
        return loaded


def _fetched(rds: Any, target: Json, sql: str, parameters: Mapping[str, Value], *, repeatable: bool) -> Sequence[Row]:
    check_names(sql, parameters)
    request = {
        **target,
        "sql": sql,
        "parameters": [{"name": name, "value": _field(value)} for name, value in parameters.items()],
        "continueAfterTimeout": _defines(sql),
    }
    answer = _called(rds.execute_statement, request, repeatable=repeatable)
    return [[_value(field) for field in record] for record in answer.get("records", ())]


def _called(call: Call, request: Json, *, repeatable: bool = False) -> Json:
    """Make a call, again where that does no harm. A cluster that wakes is waited for as long as the caller has patience."""
    deadline = time.monotonic() + patience_left()
    tries = 0
    while True:
        pause = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
        tries += 1
        try:
            return call(**request)
        except (ClientError, BotoCoreError) as error:
            waits = _code(error) == "DatabaseResumingException" or (tries < TRIES and _may_repeat(error, repeatable))
            if not waits or time.monotonic() + pause > deadline:
                raise _explained(error) from None
        time.sleep(pause)


def _may_repeat(error: Exception, repeatable: bool) -> bool:
    """Tell whether to try again: what never reached the database, at any time; what perhaps did, if it only reads."""
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError) or _code(error) in _THROTTLED:
        return True
    status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else 500
    return repeatable and status >= 500


def _code(error: Exception) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _explained(error: ClientError | BotoCoreError) -> Exception:
    """Return the error to raise. The service's own message may repeat what was stored or asked: only its SQLSTATE is kept."""
    if isinstance(error, ClientError):
        message = str(error.response.get("Error", {}).get("Message", ""))
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 413:
            return InternalError("PAI sent more than a request of the Data API may hold (4 MiB). Please report it.")
        if found := re.search(r"SQLState: (\w{5})", message):
            return meaning_of(found[1])
        if any(words in message for words in _TOO_LARGE):
            return InternalError(
                "The documents' database has more to say than the Data API lets through (1 MiB, 64 KB a row)."
            )
    try:
        with aws_failures(LibraryUnavailable, "The RDS Data API", _MEANINGS):
            raise error
    except PaiError as explained:
        return explained


_THROTTLED = {"ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"}
_TOO_LARGE = ("exceeded size limit", "allowed response size limit", "Packet for query is too large")
_SECRET = "See that PAI_DATABASE_SECRET is the cluster's secret, with its user and password, and that this role may read it."
_MEANINGS: Mapping[str, tuple[type[PaiError], str]] = {
    "DatabaseResumingException": (
        LibraryWaking,
        "The documents' database was asleep and is waking up. Ask again in a moment.",
    ),
    "StatementTimeoutException": (
        LibraryUnavailable,
        "The documents' database took too long for one statement. Try again in a moment.",
    ),
    "DatabaseUnavailableException": (LibraryUnavailable, "The documents' database does not answer. Try again in a moment."),
    "DatabaseNotFoundException": (
        Misconfigured,
        "The cluster of PAI_DATABASE_CLUSTER has no instance. Add one, or deploy again.",
    ),
    "HttpEndpointNotEnabledException": (
        Misconfigured,
        "The Data API is off for the documents' database. Turn its HTTP endpoint on.",
    ),
    "InvalidResourceStateException": (
        LibraryUnavailable,
        "The documents' cluster is not available just now. Try again in a moment.",
    ),
    "InvalidSecretException": (Misconfigured, f"The documents' database does not accept its secret. {_SECRET}"),
    "SecretsErrorException": (Misconfigured, f"The secret of the documents' database can't be read. {_SECRET}"),
    "ForbiddenException": (
        LibraryUnavailable,
        "The RDS Data API refuses this role. Allow it rds-data on the cluster and its secret.",
    ),
    "TransactionNotFoundException": (
        LibraryUnavailable,
        "A change of the documents' database took too long. Try again in a moment.",
    ),
}


def _batches(names: Sequence[str], rows: Iterable[Row]) -> Iterator[tuple[str, int]]:
    """Yield JSON arrays of as many rows as fit into a request, each with their number."""
    batch: list[str] = []
    size = 0
    for row in rows:
        record = json.dumps(dict(zip(names, map(_json_value, row), strict=True)), ensure_ascii=False, allow_nan=False)
        bytes_ = len(json.dumps(record)) + 1  # as it stands in the request
        if batch and size + bytes_ > REQUEST_BYTES:
            yield f"[{','.join(batch)}]", len(batch)
            batch, size = [], 0
        batch.append(record)
        size += bytes_
    if batch:
        yield f"[{','.join(batch)}]", len(batch)


def _json_value(value: Value) -> object:
    """Return what JSON can hold and PostgreSQL reads as the column's type."""
    if isinstance(value, array):
        return halfvec.to_text(value)
    return f"\\x{value.hex()}" if isinstance(value, bytes) else value


def _field(value: Value) -> Json:
    """Return a value as a parameter. A bool is an int too, so that it comes first."""
    if value is None:
        return {"isNull": True}
    if isinstance(value, array):
        return {"stringValue": halfvec.to_text(value)}
    return {_FIELDS[type(value)]: value}


_FIELDS = {bool: "booleanValue", int: "longValue", float: "doubleValue", str: "stringValue", bytes: "blobValue"}


def _value(field: Json) -> Value:
    [(kind, value)] = field.items()
    return None if kind == "isNull" else value


def _identifier(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _only_reads(sql: str) -> bool:
    return sql.lstrip()[:6].upper() == "SELECT"


def _defines(sql: str) -> bool:
    """Tell whether a statement changes the schema: that should come to its end, even if nobody waits for it any more."""
    return sql.lstrip().partition(" ")[0].upper() in {"ALTER", "CREATE", "DROP", "REINDEX"}
