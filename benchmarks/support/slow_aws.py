"""moto in a process of its own, 30 ms away: `python -m benchmarks.support.slow_aws LOG`, which prints its address.

Each request's operation and DynamoDB units go into the log, a JSON object a line.
"""

import io
import json
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.wrappers import Response

from benchmarks.support.units import Wire, item_bytes, read_units
from tests.standins import aws_account

AWAY_S = 0.03
"""What is added to each call: about what a call within a region takes."""
INDEX_MOVE_UNITS = 2
"""A header that moves in the index: deleted in one place, put in another."""

Wsgi = Callable[..., Iterable[bytes]]


class Away:
    """Passes requests on to an application, late, and keeps an account of them."""

    def __init__(self, application: Wsgi, log: Path) -> None:
        self._application = application
        self._log = log.open("a", buffering=1)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(AWAY_S)
        asked = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(asked)
        answer = Response.from_app(self._application, environ)
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        if operation:
            self._log.write(json.dumps({"operation": operation, **_units(operation, asked, answer)}) + "\n")
        return answer(environ, start_response)


def _units(operation: str, asked: bytes, answer: Response) -> Mapping[str, float]:
    """Return what DynamoDB charges for a request, at the sizes of after it."""
    if operation == "PutItem":
        item = _item(json.loads(asked)["Item"])
        return {"write_units": _write_units(item) + ("list_pk" in item)}
    said = json.loads(answer.get_data() or b"{}")
    if operation == "UpdateItem" and "Attributes" in said:
        moved = INDEX_MOVE_UNITS if "list_sk" in asked.decode() else 0
        return {"write_units": _write_units(_item(said["Attributes"])) + moved}
    if operation == "GetItem":
        return {"read_units": read_units([_item(said["Item"])] if "Item" in said else [])}
    if operation == "Query":
        return {"read_units": read_units(map(_item, said.get("Items", ())))}
    return {}


def _write_units(item: Wire) -> int:
    return -(-item_bytes(item) // 1024)


def _item(wire: Mapping[str, Any]) -> Wire:
    """Return an item as boto3 has it, whose bytes are base64 on the wire."""
    return {name: {"B": b64decode(value["B"])} if "B" in value else value for name, value in wire.items()}


def main() -> None:
    aws_account.apply()
    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", 0, Away(application, Path(sys.argv[1])), threaded=True)


if __name__ == "__main__":
    main()
