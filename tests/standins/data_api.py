"""A stand-in for the RDS Data API, over real HTTP, that runs what it is asked on a PostgreSQL and keeps to the real limits.

Requests are checked against botocore's own service model. botocore comes here by AWS_ENDPOINT_URL_RDS_DATA. What it says of
limits and of refused statements is what AWS says:
https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/data-api.troubleshooting.html
"""

import base64
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

from chalicelib.retriever.pgvector.statements import for_psycopg, parameter_names
from chalicelib.settings import Settings

CLUSTER = "arn:aws:rds:us-east-1:123456789012:cluster:pai-dev"
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:pai/dev/database-AbCdEf"
REQUEST_BYTES = 4 * 1024 * 1024
RESPONSE_BYTES = 1024 * 1024
ROW_BYTES = 64 * 1024
SQL_CHARACTERS = 65536

Json = dict[str, Any]
Session = psycopg.Connection[Any]
OPERATIONS = {
    "/Execute": "ExecuteStatement",
    "/BatchExecute": "BatchExecuteStatement",
    "/BeginTransaction": "BeginTransaction",
    "/CommitTransaction": "CommitTransaction",
    "/RollbackTransaction": "RollbackTransaction",
}


@dataclass(frozen=True)
class Fault:
    """What happens to one call in place of its answer: an error of this code, or (without one) the connection is cut.

    It waits for a call of its `operation`; empty is any. With `done`, the call has its effect all the same.
    """

    error: str = ""
    operation: str = ""
    message: str = "Injected by the test."
    done: bool = False


RESUMING = Fault(
    "DatabaseResumingException",
    message=f"The Aurora DB instance {CLUSTER} is resuming after being auto-paused. Please wait a few seconds and try again.",
)


class Refusal(Exception):
    """The answer to a call is this error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Transaction:
    session: Session
    used_at: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class DataApiStandIn:
    """The server, in threads of this process, over the PostgreSQL at this libpq address. Use it as a context manager.

    `statement_s` and `idle_s` are the limits of a statement and of the time between two calls of a transaction. While it is
    `asleep`, every call is told that it resumes.
    """

    def __init__(self, postgres: str) -> None:
        self.statement_s = 45.0
        self.idle_s = 180.0
        self.asleep = False
        self.requests: list[tuple[str, Json]] = []
        self._postgres = postgres
        self._faults: list[Fault] = []
        self._transactions: dict[str, Transaction] = {}
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> Settings:
        """What names this database, with PAI_DATABASE=data_api."""
        name = str(conninfo_to_dict(self._postgres)["dbname"])
        return Settings(database="data_api", database_cluster=CLUSTER, database_secret=SECRET, database_name=name)

    def script(self, *faults: Fault) -> None:
        """Let these happen to the next calls, one each."""
        self._faults.extend(faults)

    def asked(self, operation: str) -> list[Json]:
        """Return the members of each call of an operation, in the order they came."""
        return [members for name, members in self.requests if name == operation]

    def __enter__(self) -> "DataApiStandIn":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer no more, and end every transaction. A second time changes nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for transaction in self._transactions.values():
            transaction.session.close()

    def answer(self, operation: str, members: Json) -> Json:
        """Return the answer to a call. Raises `Refusal`, or ConnectionAbortedError for a cut."""
        with self._lock:
            self.requests.append((operation, members))
            fault = next((each for each in self._faults if each.operation in ("", operation)), None)
            if fault:
                self._faults.remove(fault)
            elif self.asleep:
                fault = RESUMING
        if fault is None or fault.done:
            answer = self._answer(operation, members)
        if fault is None:
            return answer
        if fault.error:
            raise Refusal(fault.error, fault.message)
        raise ConnectionAbortedError

    def _answer(self, operation: str, members: Json) -> Json:
        _check(operation, members)
        match operation:
            case "BeginTransaction":
                return self._begin(members)
            case "CommitTransaction":
                return self._end(members["transactionId"], "COMMIT", "Transaction Committed")
            case "RollbackTransaction":
                return self._end(members["transactionId"], "ROLLBACK", "Rollback Complete")
            case "ExecuteStatement":
                with self._session(members) as session:
                    return _execute(session, members["sql"], members.get("parameters", ()), members)
            case _:
                with self._session(members) as session:
                    sets = members.get("parameterSets") or [()]
                    for parameters in sets:
                        _execute(session, members["sql"], parameters, members)
                return {"updateResults": [{"generatedFields": []} for _ in sets]}

    def _begin(self, members: Json) -> Json:
        session = self._connect(members)
        session.execute("BEGIN")
        id_ = base64.b64encode(uuid.uuid4().bytes * 4).decode()
        self._transactions[id_] = Transaction(session, time.monotonic())
        return {"transactionId": id_}

    def _end(self, id_: str, statement: str, status: str) -> Json:
        with self._used(id_) as session:
            self._transactions.pop(id_).session.execute(statement)
            session.close()
        return {"transactionStatus": status}

    @contextmanager
    def _session(self, members: Json) -> Iterator[Session]:
        """Lend the session of a transaction, which an error ends; or one for this call alone."""
        if id_ := members.get("transactionId"):
            with self._used(id_) as session:
                try:
                    yield session
                except Refusal:
                    self._transactions.pop(id_).session.close()
                    raise
        else:
            with self._connect(members) as session:
                yield session

    @contextmanager
    def _used(self, id_: str) -> Iterator[Session]:
        transaction = self._transactions.get(id_)
        if transaction and time.monotonic() - transaction.used_at > self.idle_s:
            self._transactions.pop(id_).session.close()
            transaction = None
        if transaction is None:
            raise Refusal("TransactionNotFoundException", f"Transaction {id_} is not found. Transaction may be expired.")
        with transaction.lock:
            transaction.used_at = time.monotonic()
            yield transaction.session

    def _connect(self, members: Json) -> Session:
        options = f"-c statement_timeout={self.statement_s * 1000:.0f}"
        try:
            name = members.get("database", "postgres")
            return psycopg.connect(make_conninfo(self._postgres, dbname=name, options=options), autocommit=True)
        except psycopg.OperationalError as error:
            if "does not exist" in str(error):
                raise Refusal("DatabaseErrorException", f'FATAL: database "{name}" does not exist; SQLState: 3D000') from None
            raise Refusal("DatabaseUnavailableException", "") from None


def _check(operation: str, members: Json) -> None:
    report = ParamValidator().validate(members, _operation(operation).input_shape)
    if report.has_errors():
        raise Refusal("ValidationException", report.generate_report())
    if len(members.get("sql", "")) > SQL_CHARACTERS:
        raise Refusal("ValidationException", f"Member must have length less than or equal to {SQL_CHARACTERS}")
    if members["resourceArn"] != CLUSTER:
        raise Refusal("HttpEndpointNotEnabledException", f"HttpEndpoint is not enabled for resource {members['resourceArn']}.")
    if members["secretArn"] != SECRET:
        raise Refusal("SecretsErrorException", "Secrets Manager can't find the specified secret.")


def _execute(session: Session, sql: str, parameters: Sequence[Json], members: Json) -> Json:
    given = {parameter["name"]: parameter for parameter in parameters}
    names = sorted(parameter_names(sql))
    if missing := [name for name in names if name not in given]:
        raise Refusal("BadRequestException", f"Cannot find parameter: {missing[0]}")
    bound = [_bound(given[name]) for name in names]
    result = session.pgconn.exec_params(
        _numbered(sql, names).encode(), [value for value, _ in bound], [type_ for _, type_ in bound]
    )
    if result.status == ExecStatus.FATAL_ERROR:
        raise _refused(result)
    answer: Json = {"numberOfRecordsUpdated": result.command_tuples or 0}
    if result.status == ExecStatus.TUPLES_OK:
        answer = {"numberOfRecordsUpdated": 0, "records": _records(result)}
        if members.get("includeResultMetadata"):
            answer["columnMetadata"] = [{"name": (result.fname(i) or b"").decode()} for i in range(result.nfields)]
    return answer


def _numbered(sql: str, names: Sequence[str]) -> str:
    """Return the statement with `$1` for its parameters."""
    numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
    return re.sub(r"%%|%\((\w+)\)s", lambda match: numbers[match[1]] if match[1] else "%", for_psycopg(sql))


def _bound(parameter: Json) -> tuple[bytes | None, int]:
    """Return a parameter in PostgreSQL's text form, and the number of the type that the Data API gives it."""
    [(kind, value)] = parameter["value"].items()
    hint = parameter.get("typeHint")
    match kind:
        case "isNull":
            return None, 0
        case "stringValue":
            return value.encode(), _HINTED[hint] if hint else 1043
        case "longValue":
            return str(value).encode(), 20
        case "doubleValue":
            return repr(value).encode(), 701
        case "booleanValue":
            return str(value).lower().encode(), 16
        case "blobValue":
            return b"\\x" + base64.b64decode(value).hex().encode(), 17
        case _:
            raise Refusal("BadRequestException", "Array parameters are not supported.")


_HINTED = {"JSON": 114, "UUID": 2950, "TIMESTAMP": 1114, "DATE": 1082, "TIME": 1083, "DECIMAL": 1700}


def _refused(result: PGresult) -> Refusal:
    sqlstate = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
    message = (result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"").decode()
    if "cannot insert multiple commands" in message:
        return Refusal("ValidationException", "Multistatements aren't supported.")
    if sqlstate == "57014":
        return Refusal("StatementTimeoutException", "Query timed out.")
    return Refusal("DatabaseErrorException", f"ERROR: {message}; SQLState: {sqlstate}")


def _records(result: PGresult) -> list[list[Json]]:
    records, size = [], 0
    for row in range(result.ntuples):
        cells = [(result.ftype(column), result.get_value(row, column)) for column in range(result.nfields)]
        length = sum(len(value or b"") for _, value in cells)
        size += length
        if length > ROW_BYTES:
            raise Refusal("DatabaseErrorException", "Packet for query is too large.")
        if size > RESPONSE_BYTES:
            raise Refusal("UnsupportedResultException", "Database response exceeded size limit.")
        records.append([_field(type_, value) for type_, value in cells])
    return records


def _field(type_: int, value: bytes | None) -> Json:
    if type_ not in _FIELDS:
        raise Refusal("UnsupportedResultException", "The result contains the unsupported data type OTHER.")
    name, convert = _FIELDS[type_]
    return {"isNull": True} if value is None else {name: convert(value)}


def _blob(value: bytes) -> str:
    return base64.b64encode(bytes.fromhex(value[2:].decode())).decode()


_FIELDS: Mapping[int, tuple[str, Callable[[bytes], object]]] = {
    **dict.fromkeys((21, 23, 20), ("longValue", int)),  # smallint, integer, bigint
    **dict.fromkeys((700, 701), ("doubleValue", float)),
    16: ("booleanValue", lambda value: value == b"t"),
    17: ("blobValue", _blob),
    # text, varchar, name, char, json, jsonb, uuid, numeric, dates and times
    **dict.fromkeys((25, 1043, 19, 1042, 114, 3802, 2950, 1700, 1082, 1083, 1114, 1184), ("stringValue", bytes.decode)),
    2278: ("stringValue", bytes.decode),  # void
}


class _Server(ThreadingHTTPServer):
    def __init__(self, standin: DataApiStandIn) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.standin = standin


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._json(200, self._answered(body))
        except Refusal as refusal:
            kind = f"{refusal.code}:http://internal.amazon.com/coral/com.amazon.rdsdataservice/"
            self._json(_status(refusal.code), {"message": str(refusal)}, {"x-amzn-ErrorType": kind})
        except ConnectionAbortedError:
            self.close_connection = True

    def _answered(self, body: bytes) -> Json:
        if "/rds-data/aws4_request" not in self.headers.get("Authorization", ""):
            raise Refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        if len(body) + len(bytes(self.headers)) > REQUEST_BYTES:
            raise Refusal("RequestEntityTooLargeException", "Request size exceeded limit")
        if self.path not in OPERATIONS:
            raise Refusal("UnknownOperationException", "")
        return self.server.standin.answer(OPERATIONS[self.path], json.loads(body))

    def _json(self, status: int, content: Json, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@cache
def _service() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("rds-data", "service-2"), "rds-data")


def _operation(name: str) -> Any:
    return _service().operation_model(name)


def _status(code: str) -> int:
    """Return the HTTP status of an error: the service model's where it has one."""
    for shape in _operation("ExecuteStatement").error_shapes:
        if shape.name == code:
            return int(shape.metadata["error"]["httpStatusCode"])
    return {"RequestEntityTooLargeException": 413, "MissingAuthenticationTokenException": 403}.get(code, 400)
