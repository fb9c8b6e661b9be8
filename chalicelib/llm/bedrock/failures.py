"""Whatever goes wrong on the way to Bedrock and back, as one failure with PAI's error in it. Pure."""

import json
import re
from collections.abc import Iterable

from botocore.eventstream import ParserError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    LoginError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from urllib3.exceptions import HTTPError
from urllib3.exceptions import ReadTimeoutError as StreamTimeout

from chalicelib.errors import (
    ModelAccessDenied,
    ModelInterrupted,
    ModelQuotaSpent,
    ModelRejected,
    ModelThrottled,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
)
from chalicelib.llm import Request
from chalicelib.llm.bedrock.meanings import meaning_of
from chalicelib.llm.bedrock.tools import JSON_TOOL

AWS_FAILURES = (BotoCoreError, ClientError, ParserError, HTTPError, OSError)
"""All that a call of botocore and the reading of its event stream raise; the stream's come from urllib3, as they are."""

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    NoAuthTokenError,
    SSOError,
    LoginError,
)
_FIELDS = (
    ("response_format", rf"output_?config|{JSON_TOOL}"),
    ("messages", r"tool_?(use|result)\b"),
    ("tools", r"tool"),
    ("response_format", r"schema|tool"),
    ("stop", r"stop_?sequence"),
)
"""What Bedrock calls the members of a request that mean something and so can't be left out."""
_QUOTED_CHARS = 200
_SHARED_CHARS = 12
"""So many characters in a row that are the service's as well as the conversation's: the service repeats what was said."""


class Failed(Exception):
    """A failure, and what may help: asking `again`, asking another model (`elsewhere`), or leaving out what was refused.

    `refusal` is the service's sentence about a request it did not take. It may repeat the request: never show it whole.
    """

    def __init__(self, error: PaiError, *, again: bool = False, elsewhere: bool = False, refusal: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.again = again
        self.elsewhere = elsewhere
        self.refusal = refusal


def failed(error: Exception, model: str, region: str, said: Iterable[str] = ()) -> Failed:
    """Return the failure that one of AWS_FAILURES means. `said` are the texts that its sentence must not repeat."""
    if isinstance(error, ClientError):
        return _refused(error, model, region, said)
    if isinstance(error, _NO_CREDENTIALS):
        sentence = "There are no AWS credentials here, or only a part. Run `aws configure`, or set AWS_PROFILE."
        return Failed(ModelAccessDenied(sentence))
    if isinstance(error, ParamValidationError):
        return Failed(ModelRejected(f"PAI asked {model} in a form that Bedrock does not have. Check PAI_MODEL."))
    if isinstance(error, (ReadTimeoutError, StreamTimeout)):
        return silent(model)
    if isinstance(error, BotoCoreError):
        return _unreachable(error, region)
    return interrupted("the connection to Bedrock was lost")


def failed_midway(error: Exception, model: str, region: str) -> Failed:
    """Return the failure that one of AWS_FAILURES means when a part of the answer is with the caller already."""
    failure = failed(error, model, region)
    if isinstance(failure.error, (ModelThrottled, ModelQuotaSpent, ModelInterrupted)):
        return failure
    if isinstance(failure.error, ModelTimeout):
        return interrupted("the model fell silent")
    return interrupted("Bedrock ended it with an error")


def interrupted(why: str) -> Failed:
    return Failed(ModelInterrupted(f"The answer broke off: {why}. Ask again."), again=True)


def silent(model: str) -> Failed:
    sentence = f"{model} said nothing in time. Try again; if it comes back, set PAI_MODEL to a quicker model."
    return Failed(ModelTimeout(sentence))


def _refused(error: ClientError, model: str, region: str, said: Iterable[str]) -> Failed:
    code, message = (str(error.response.get("Error", {}).get(name, "")) for name in ("Code", "Message"))
    status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    meaning = meaning_of(code, status, message)
    if meaning:
        return Failed(meaning.error(model, region), again=meaning.again, elsewhere=meaning.elsewhere)
    reason = "" if repeats(message, said) else f" Bedrock says: {message[:_QUOTED_CHARS]}"
    sentence = f"{model} does not take a request of this form ({code or status}). Set PAI_MODEL to another model.{reason}"
    return Failed(ModelRejected(sentence), refusal=message)


def refused_field(request: Request, refusal: str) -> str:
    """Return the field of the request that a refusal is about, empty for none that means something."""
    wanted = {
        "response_format": request.json_form,
        "messages": any(said.tool_calls or said.tool_results for said in request.messages),
        "tools": request.tools,
        "stop": request.stop,
    }
    return next((name for name, phrase in _FIELDS if wanted[name] and re.search(phrase, refusal, re.I)), "")


def repeats(message: str, said: Iterable[str]) -> bool:
    """Whether a message has 12 characters in a row of what was said, plain or as JSON; or all of it, where that is shorter."""
    windows = [message[start : start + _SHARED_CHARS] for start in range(len(message) - _SHARED_CHARS + 1)]
    forms = {form for text in said for form in (text.strip(), json.dumps(text.strip())[1:-1])} - {""}
    return any(form in message if len(form) < _SHARED_CHARS else any(window in form for window in windows) for form in forms)


def _unreachable(error: BotoCoreError, region: str) -> Failed:
    if isinstance(error, SSLError):
        sentence = "Bedrock's certificate can't be checked. See that no proxy stands in between, or set AWS_CA_BUNDLE to its."
    else:
        sentence = f"Bedrock in {region} can't be reached. Check the network, and that AWS_REGION is a region with Bedrock."
    return Failed(ModelUnreachable(sentence), again=isinstance(error, (HTTPClientError, ConnectionError)))
