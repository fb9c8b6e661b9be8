"""What goes over the wire to AWS: a hook on every boto3 client that this process makes from now on."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore import handlers
from botocore.model import OperationModel

READS = frozenset({"Query", "GetItem"})
WRITES = frozenset({"PutItem", "UpdateItem"})


@dataclass
class Call:
    """One call of an operation. `attempts` is how often it was sent; the bytes are those of the HTTP bodies."""

    service: str
    operation: str
    params: Mapping[str, Any]
    attempts: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class Recorder:
    """Records the calls of all clients made after it was hooked in: botocore gives these handlers to each new session."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def hook_in(self) -> None:
        # Global, as moto's own hook is. REGISTER_LAST: after what the product's handlers do to the parameters.
        handlers.BUILTIN_HANDLERS += [
            ("before-parameter-build", self._begin, handlers.REGISTER_LAST),
            ("before-send", self._send),
            ("before-parse", self._receive),
        ]

    def during(self, act: Callable[[], object]) -> list[Call]:
        """Return the calls that an action makes, in their order. Its calls must not overlap."""
        self._calls = []
        act()
        return self._calls

    def _begin(self, params: Mapping[str, Any], model: OperationModel, **_: Any) -> None:
        self._calls.append(Call(model.service_model.service_name, model.name, params))

    def _send(self, request: Any, **_: Any) -> None:
        self._calls[-1].attempts += 1
        self._calls[-1].sent_bytes += len(request.body or b"")

    def _receive(self, response_dict: dict[str, Any], **_: Any) -> None:
        body, call = response_dict["body"], self._calls[-1]
        if isinstance(body, bytes):
            call.received_bytes += len(body)
        else:
            response_dict["body"] = _Counted(body, call)


class _Counted:
    """An event stream's body, counted as it is read."""

    def __init__(self, body: Any, call: Call) -> None:
        self._body = body
        self._call = call

    def stream(self) -> Iterator[bytes]:
        for chunk in self._body.stream():
            self._call.received_bytes += len(chunk)
            yield chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def count(calls: Iterable[Call], service: str, operations: frozenset[str] | None = None) -> int:
    """Return how often requests for these operations (None: all of the service) were sent."""
    return sum(
        call.attempts for call in calls if call.service == service and (operations is None or call.operation in operations)
    )
