"""What goes over the wire to AWS: a hook on every boto3 client that this process makes from now on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore import handlers
from botocore.model import OperationModel

Params = Mapping[str, Any]

READS = {"Query", "GetItem"}
WRITES = {"PutItem", "UpdateItem"}


@dataclass
class Call:
    """One call of an operation. `attempts` is how often it was sent; the bytes are those of the HTTP bodies."""

    service: str
    operation: str
    params: Params
    attempts: int = 0
    sent_bytes: int = 0
    answers: list[Any] = field(default_factory=list)

    @property
    def received_bytes(self) -> int:
        """Bytes of the answers' bodies. Of a stream, those read so far."""
        return sum(len(body) if isinstance(body, bytes) else body.tell() for body in self.answers)


class Recorder:
    """Records the calls of all clients made while it is hooked in: botocore gives each new session these handlers."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def hook_in(self) -> None:
        # The way that moto takes, too; register_last: after whatever the product's own handlers do to the parameters.
        handlers.BUILTIN_HANDLERS += [
            ("before-parameter-build", self._begin, handlers.REGISTER_LAST),
            ("before-send", self._send),
            ("response-received", self._receive),
        ]

    def during(self, act: Callable[[], object]) -> list[Call]:
        """Return the calls that an action makes, in their order."""
        self.calls = []
        act()
        return self.calls

    def _begin(self, params: Params, model: OperationModel, **_: Any) -> None:
        self.calls.append(Call(model.service_model.service_name, model.name, params))

    def _send(self, request: Any, **_: Any) -> None:
        self.calls[-1].attempts += 1
        self.calls[-1].sent_bytes += len(request.body or b"")

    def _receive(self, response_dict: Mapping[str, Any], **_: Any) -> None:
        self.calls[-1].answers.append(response_dict["body"])


def count(calls: Iterable[Call], service: str, operations: set[str] | None = None) -> int:
    """Return how often requests for these operations (None: all of the service) were sent."""
    return sum(call.attempts for call in calls if call.service == service and call.operation in (operations or {call.operation}))
