"""Every error a person can meet. Each class is one code on the wire and carries its HTTP status.

PaiError
├── BadRequest                 400  a field is missing, of the wrong type or out of range
│   └── UnknownModel           400  `model` is not one this deployment can use
├── Unauthorized               401  no API key
├── Forbidden                  403  the API key is malformed, unknown, expired or disabled
├── NotFound                   404
│   ├── ConversationNotFound   404  not there, or another owner's
│   ├── MessageNotFound        404
│   ├── FileNotFound           404
│   └── RouteNotFound          404
├── MethodNotAllowed           405
├── RequestTimeout             408  the request did not arrive in time
├── Conflict                   409
│   ├── TurnRunning            409  the same Idempotency-Key is still being answered
│   └── KeyRingChanged         409  two people changed the API keys at once
├── TooLarge                   413
│   ├── ContextTooLong         413  the conversation does not fit the model's context window
│   ├── AddressTooLong         414
│   └── HeadersTooLarge        431
├── IdempotencyMismatch        422  the Idempotency-Key was used for another request
├── GuardrailIntervened        422  the owner's guardrail refused the question or the answer
├── SealBroken                 500  a stored value does not open: it was changed, moved, or its key is lost
├── Misconfigured              500  a setting is missing or names something that does not exist
├── InternalError              500  a defect of ours
└── Unavailable                503  a dependency does not answer; carries Retry-After
    ├── StoreUnavailable       503
    │   └── StorageFull        503  the disk or table takes no more
    ├── CipherUnavailable      503
    ├── FilesUnavailable       503
    ├── KeysUnavailable        503
    ├── JobsUnavailable        503
    └── ModelError             503
        ├── ModelThrottled     503  too many requests just now
        ├── ModelQuotaSpent    503  the account's quota for this model is used up
        ├── ModelAccessDenied  503  the account or the role may not use the model
        ├── ModelNeedsProfile  503  "on-demand throughput isn't supported": name an inference profile
        ├── ModelEndOfLife     503  the provider has withdrawn the model
        ├── ModelRejected      503  the model refuses a request of this form
        ├── ModelInterrupted   503  the answer broke off in the middle
        ├── ModelTimeout       503  no answer in time
        ├── ModelMissing       503  the model's file is not on this machine
        └── ModelUnreachable   503  network
"""

from collections.abc import Mapping


class PaiError(Exception):
    """An error with a sentence that tells the reader what to do next. The sentence never holds content, keys or tokens.

    `details` are further members of the error body, ids only (e.g. `conversation_id` of the message that was kept).
    """

    status = 500
    retry_after_s: int | None = None

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s if retry_after_s is not None else type(self).retry_after_s
        self.details: Mapping[str, str] = {}

    @property
    def code(self) -> str:
        return type(self).__name__


class BadRequest(PaiError):
    """`field` names what is wrong; it stands in the sentence too."""

    status = 400

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.details = {"field": field}


class UnknownModel(BadRequest):
    def __init__(self, problem: str) -> None:
        super().__init__("model", problem)


class Unauthorized(PaiError):
    status = 401


class Forbidden(PaiError):
    status = 403


class NotFound(PaiError):
    status = 404


class ConversationNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__(
            "There is no such conversation. GET /conversations lists yours; leave conversation_id out to start one."
        )


class MessageNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("There is no such message in this conversation. GET the conversation to see its message ids.")


class FileNotFound(NotFound):
    pass


class RouteNotFound(NotFound):
    pass


class MethodNotAllowed(PaiError):
    """`allowed` are the methods that the address does take."""

    status = 405

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"This address takes {' or '.join(allowed)} only.")
        self.allowed = allowed


class RequestTimeout(PaiError):
    status = 408


class Conflict(PaiError):
    status = 409


class TurnRunning(Conflict):
    retry_after_s = 2


class KeyRingChanged(Conflict):
    pass


class TooLarge(PaiError):
    status = 413

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.details = {"field": field}


class ContextTooLong(TooLarge):
    def __init__(self, problem: str) -> None:
        super().__init__("message", problem)


class AddressTooLong(TooLarge):
    status = 414

    def __init__(self, problem: str) -> None:
        super().__init__("address", problem)


class HeadersTooLarge(TooLarge):
    status = 431

    def __init__(self, problem: str) -> None:
        super().__init__("headers", problem)


class IdempotencyMismatch(PaiError):
    status = 422


class GuardrailIntervened(PaiError):
    status = 422


class SealBroken(PaiError):
    pass


class Misconfigured(PaiError):
    pass


class InternalError(PaiError):
    pass


class Unavailable(PaiError):
    status = 503
    retry_after_s = 5


class StoreUnavailable(Unavailable):
    pass


class StorageFull(StoreUnavailable):
    retry_after_s = 60


class CipherUnavailable(Unavailable):
    pass


class FilesUnavailable(Unavailable):
    pass


class KeysUnavailable(Unavailable):
    pass


class JobsUnavailable(Unavailable):
    pass


class ModelError(Unavailable):
    pass


class ModelThrottled(ModelError):
    retry_after_s = 10


class ModelQuotaSpent(ModelError):
    retry_after_s = 3600


class ModelAccessDenied(ModelError):
    retry_after_s = 120


class ModelNeedsProfile(ModelError):
    retry_after_s = 3600


class ModelEndOfLife(ModelError):
    retry_after_s = 3600


class ModelRejected(ModelError):
    retry_after_s = 60


class ModelInterrupted(ModelError):
    pass


class ModelTimeout(ModelError):
    retry_after_s = 10


class ModelMissing(ModelError):
    retry_after_s = 60


class ModelUnreachable(ModelError):
    pass
