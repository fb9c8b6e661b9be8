"""What AWS refuses, as PAI's errors: one sentence for each cause, telling the owner what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from botocore.exceptions import ConnectionError as ConnectionFailed

from chalicelib.errors import PaiError, Unavailable

Meanings = Mapping[str, tuple[type[PaiError], str]]
"""Error code of AWS → the error it is here, and its sentence."""

_DENIED = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "403"}
_THROTTLED = {
    "RequestLimitExceeded",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


@contextmanager
def aws_failures(kind: type[Unavailable], service: str, meanings: Meanings) -> Iterator[None]:
    """Turn what botocore raises in this block into the error that `meanings` has for its code, else into a `kind`.

    AWS's own message stays out of the sentence: it may repeat what was sent.
    """
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        meaning, sentence = meanings.get(code) or (kind, _refusal(service, error.operation_name, code))
        raise meaning(sentence) from error
    except BotoCoreError as error:
        raise kind(_no_answer(service, error)) from error


def _refusal(service: str, operation: str, code: str) -> str:
    if code in _DENIED:
        return f"{service} denied {operation}. Allow it for this deployment's role, and for its KMS key."
    if code in _THROTTLED:
        return f"{service} takes no more requests just now. Try again in a moment."
    if code in _CREDENTIALS:
        return f"{service} does not accept the AWS credentials ({code}). Renew them and try again."
    return f"{service} refused {operation} ({code}). Try again; `pai doctor` looks for the cause."


def _no_answer(service: str, error: BotoCoreError) -> str:
    if isinstance(error, NoCredentialsError):
        return "There are no AWS credentials here. Run `aws configure`, or set AWS_PROFILE."
    if isinstance(error, HTTPClientError | ConnectionFailed):
        return f"{service} does not answer. Check the network and the region, then try again."
    return f"{service} could not be asked ({type(error).__name__}). Check the AWS settings of this stage."
