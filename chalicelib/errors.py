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
│   ├── DocumentNotFound       404  not there, or another owner's
│   ├── PassageNotFound        404
│   ├── LibraryOff             404  this deployment keeps no documents
│   └── RouteNotFound          404
├── MethodNotAllowed           405
├── RequestTimeout             408  the request did not arrive in time
├── Conflict                   409
│   ├── TurnRunning            409  the same question is still being answered
│   ├── TurnStopped            409  it was stopped before anything was said
│   ├── NothingToAnswer        409  a conversation without a question has no answer to give again
│   ├── DocumentBusy           409  the document is being read just now
│   └── KeyRingChanged         409  two people changed the API keys at once
├── TooLarge                   413
│   ├── ContextTooLong         413  the conversation does not fit the model's context window
│   ├── AddressTooLong         414
│   └── HeadersTooLarge        431
├── IdempotencyMismatch        422  the Idempotency-Key was used for another request
├── GuardrailIntervened        422  the owner's guardrail refused the question or the answer
├── DocumentError              422  a document can't be indexed; its code and sentence stand with the document
│   ├── DocumentEncrypted      422  it wants a password
│   ├── DocumentCorrupt        422  it does not open
│   ├── DocumentUnsupported    422  no reader for this kind of file
│   ├── DocumentWithoutText    422  no text on any page
│   ├── DocumentTooLarge       422  the file, or what it unfolds to
│   ├── DocumentTooSlow        422  reading it takes too long
│   ├── DocumentLost           422  the file is not where it was announced
│   ├── DocumentRefused        422  the file is not what the upload was signed for
│   └── DocumentGivenUp        422  it failed again and again for another reason
├── BudgetSpent                429  what the owner allowed for a day or month is used up; carries Retry-After
├── RateLimited                429  too many requests with one API key in this minute; carries Retry-After
├── SealBroken                 500  a stored value does not open: it was changed, moved, or its key is lost
├── Misconfigured              500  a setting is missing or names something that does not exist
│   └── EmbedderChanged        500  the index was built with another embedder: reindex
├── InternalError              500  a defect of ours
└── Unavailable                503  a dependency does not answer; carries Retry-After
    ├── StoreUnavailable       503
    │   └── StorageFull        503  the disk or table takes no more
    ├── CipherUnavailable      503
    ├── FilesUnavailable       503
    ├── KeysUnavailable        503
    ├── JobsUnavailable        503
    ├── TurnLost               503  whoever was answering died
    ├── QueueUnavailable       503
    ├── LibraryUnavailable     503
    │   └── LibraryWaking      503  the database was asleep
    ├── EmbedderUnavailable    503
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


class DocumentNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("There is no such document. GET /documents lists yours.")


class PassageNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("There is no such passage in this document; it may have been indexed anew since. Search again.")


class LibraryOff(NotFound):
    def __init__(self) -> None:
        super().__init__("This deployment keeps no documents. Its owner can turn them on: PAI_RETRIEVER (docs/design.md).")


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


class TurnStopped(Conflict):
    def __init__(self) -> None:
        super().__init__("This turn was stopped before the model said anything. The question is kept; ask it again.")


class NothingToAnswer(Conflict):
    def __init__(self) -> None:
        super().__init__("There is no question here that could be answered again. Ask one: POST /chat.")


class DocumentBusy(Conflict):
    retry_after_s = 10


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


class DocumentError(PaiError):
    """Why a document ends as failed. `page` is the 1-based page it happened on, if it was one."""

    status = 422

    def __init__(self, message: str, *, page: int | None = None) -> None:
        super().__init__(message)
        self.page = page


class DocumentEncrypted(DocumentError):
    pass


class DocumentCorrupt(DocumentError):
    pass


class DocumentUnsupported(DocumentError):
    pass


class DocumentWithoutText(DocumentError):
    pass


class DocumentTooLarge(DocumentError):
    pass


class DocumentTooSlow(DocumentError):
    pass


class DocumentLost(DocumentError):
    pass


class DocumentRefused(DocumentError):
    pass


class DocumentGivenUp(DocumentError):
    pass


class BudgetSpent(PaiError):
    status = 429


class RateLimited(PaiError):
    status = 429
    retry_after_s = 60


class SealBroken(PaiError):
    pass


class Misconfigured(PaiError):
    pass


class EmbedderChanged(Misconfigured):
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


class TurnLost(Unavailable):
    def __init__(self) -> None:
        super().__init__("Whoever was answering this stopped before the end. The question is kept; ask it again.")


class QueueUnavailable(Unavailable):
    pass


class LibraryUnavailable(Unavailable):
    pass


class LibraryWaking(LibraryUnavailable):
    retry_after_s = 20


class EmbedderUnavailable(Unavailable):
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
