"""What Bedrock's refusals mean: one class for each, and a sentence that tells the owner what to do.

The phrases are Bedrock's own. It has few error codes, and one code means many things: "ResourceNotFoundException" is a
model that never was, one that is withdrawn, and a form that nobody filled in.
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

import re
from dataclasses import dataclass

from chalicelib.errors import (
    ContextTooLong,
    ModelAccessDenied,
    ModelEndOfLife,
    ModelInterrupted,
    ModelNeedsProfile,
    ModelQuotaSpent,
    ModelRejected,
    ModelThrottled,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
)


@dataclass(frozen=True)
class Meaning:
    """A refusal with one of `codes` (none: any) and this `phrase` is an error of this `kind`.

    A code is Bedrock's without "Exception", or an HTTP status. `sentence` has {model} and {region} to fill in. What may
    help: asking `again`, or asking another model (`elsewhere`).
    """

    codes: tuple[str, ...]
    phrase: str
    kind: type[PaiError]
    sentence: str
    again: bool = False
    elsewhere: bool = False
    retry_after_s: int | None = None

    def fits(self, codes: set[str], message: str) -> bool:
        return (not self.codes or not codes.isdisjoint(self.codes)) and re.search(
            self.phrase, message, re.I | re.S
        ) is not None

    def error(self, model: str, region: str) -> PaiError:
        error = self.kind(self.sentence.format(model=model, region=region))
        error.retry_after_s = self.retry_after_s or error.retry_after_s
        return error


def meaning_of(code: str, status: str, message: str) -> Meaning | None:
    """Return what a refusal means; None for one that is only known to be a refusal. `code` as in "ThrottlingException"."""
    codes = {code[:1].upper() + code[1:].removesuffix("Exception"), status}
    return next((meaning for meaning in _MEANINGS if meaning.fits(codes, message)), None)


_THROTTLED = ("Throttling", "TooManyRequests", "RequestLimitExceeded", "429")
_DENIED = ("AccessDenied", "Forbidden", "403")
_INVALID = ("Validation", "ModelError", "ModelStreamError", "ResourceNotFound", "400", "404")
_EXPIRED = ("ExpiredToken", "TokenRefreshRequired", "RequestExpired")
_NOT_SIGNED = (
    "UnrecognizedClient",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "MissingAuthenticationToken",
    "401",
)
_TOO_LONG = (
    r"(input|prompt|conversation|request|message)s? (is|are) too long|context (limit|window|length)|maximum context"
    r"|input tokens? exceed|exceeds? the maximum (input|number of tokens)|too many (input|prompt|total)|expected maxLength"
)
_RENEW = "The AWS credentials have expired. Renew them (`aws sso login` or `aws login`, where you use it) and try again."
_NO_SUCH_MODEL = (
    "Bedrock in {region} knows no model {model}. Set PAI_MODEL to a family (such as claude-sonnet or nova-lite), or to an "
    "id that the Bedrock console lists for {region}."
)
_FAULT = "Bedrock has a fault of its own just now. Try again in a moment; https://health.aws.amazon.com says if it is known."

# The first that fits is the one: a code's special cases stand before the code.
_MEANINGS = (
    Meaning(
        _THROTTLED,
        r"per day|daily",
        ModelQuotaSpent,
        "Rate limit exceeded: this account's tokens per day for {model} are used up in {region}. They come back within a day. "
        "For more, check Bedrock's service quotas in {region} (AWS Service Quotas, Amazon Bedrock) and request an increase; "
        "or set PAI_MODEL to another model.",
        elsewhere=True,
    ),
    Meaning(
        ("ServiceQuotaExceeded",),
        "",
        ModelQuotaSpent,
        "This account's quota for {model} is used up in {region}. Check Bedrock's service quotas in {region} (AWS Service "
        "Quotas, Amazon Bedrock) and request an increase; or set PAI_MODEL to another model.",
        elsewhere=True,
    ),
    Meaning(
        ("ModelNotReady",),
        "",
        ModelThrottled,
        "Bedrock is still loading {model}. Try again in a minute.",
        again=True,
        elsewhere=True,
        retry_after_s=60,
    ),
    Meaning(
        ("ServiceUnavailable", "503"),
        "",
        ModelThrottled,
        "Bedrock has no capacity for {model} in {region} just now. Try again in a moment; PAI_FALLBACK_MODELS names models "
        "to ask in its place.",
        again=True,
        elsewhere=True,
    ),
    Meaning(
        _THROTTLED,
        "",
        ModelThrottled,
        "Rate limit exceeded for {model}. Try again in a moment. If it comes back, check Bedrock's service quotas in {region} "
        "(AWS Service Quotas, Amazon Bedrock) and request an increase; PAI_FALLBACK_MODELS names models to ask meanwhile.",
        again=True,
        elsewhere=True,
    ),
    Meaning(
        (),
        r"end of (its |it's )?life|marked by provider as legacy",
        ModelEndOfLife,
        "The provider has withdrawn {model}. Set PAI_MODEL to a family (such as claude-sonnet), which means its newest "
        "model, or to an id that the Bedrock console lists as active in {region}.",
    ),
    Meaning(
        (),
        r"use[- ]case (details|form)",
        ModelAccessDenied,
        "Anthropic wants to know once what this AWS account uses its models for. Open the Bedrock console in {region}, Model "
        "catalog, choose the model and fill out the use case details form; then wait 15 minutes.",
        retry_after_s=900,
    ),
    Meaning(
        (),
        r"payment.instrument",
        ModelAccessDenied,
        "{model} is sold through AWS Marketplace, which needs a valid payment method on this AWS account. Add one in the "
        "Billing console, then wait 2 minutes.",
    ),
    Meaning(
        (),
        r"marketplace",
        ModelAccessDenied,
        "{model} is sold through AWS Marketplace, and this AWS account has not subscribed to it. Ask it something once in the "
        "Bedrock console of {region}, as a user who may do aws-marketplace:Subscribe and aws-marketplace:ViewSubscriptions; "
        "then wait 5 minutes.",
        retry_after_s=300,
    ),
    Meaning(
        (),
        r"on-demand throughput",
        ModelNeedsProfile,
        "On-demand throughput isn't supported for {model}: it wants an inference profile. Set PAI_MODEL to the model's family "
        "(such as claude-sonnet), or to the profile's id, which has the area in front (such as us. or eu.).",
    ),
    Meaning((), r"security token.*expired|signature expired", ModelAccessDenied, _RENEW),
    Meaning(_EXPIRED, "", ModelAccessDenied, _RENEW),
    Meaning(
        _NOT_SIGNED,
        "",
        ModelAccessDenied,
        "AWS does not accept these credentials. Check AWS_PROFILE or AWS_ACCESS_KEY_ID, and this machine's clock.",
    ),
    Meaning(
        (*_DENIED, *_INVALID),
        r"operation not allowed",
        ModelAccessDenied,
        "AWS does not let this account use Bedrock yet, as happens with new accounts. Open a case with AWS Support (Account "
        "and billing) and ask for access to Amazon Bedrock.",
    ),
    Meaning(
        (*_DENIED, *_INVALID),
        r"unsupported (countr|region|location)",
        ModelAccessDenied,
        "The provider does not offer {model} where you are. Set PAI_MODEL to a model of another provider, such as nova-lite.",
    ),
    Meaning(
        _DENIED,
        r"explicit deny",
        ModelAccessDenied,
        "A policy of your AWS organization forbids {model}, or a region it may run in. Ask whoever keeps the service control "
        "policies, or set PAI_MODEL to an id that stays in the regions they allow.",
    ),
    Meaning(
        _DENIED,
        r"guardrail",
        ModelAccessDenied,
        "This deployment's role may not apply the guardrail of PAI_GUARDRAIL. Allow it bedrock:ApplyGuardrail.",
    ),
    Meaning(
        _DENIED,
        r"bedrock:List",
        ModelAccessDenied,
        "This deployment's role may not list Bedrock's models, so that PAI_MODEL can't be a family. Allow it "
        "bedrock:ListFoundationModels and bedrock:ListInferenceProfiles, or set PAI_MODEL to a full id.",
    ),
    Meaning(
        _DENIED,
        "",
        ModelAccessDenied,
        "This deployment may not use {model} in {region}. Allow its role bedrock:InvokeModelWithResponseStream on the "
        "inference profile and on the model in every region of the profile, and check that the account has access to it.",
    ),
    Meaning(
        _INVALID,
        r"guardrail",
        ModelRejected,
        "Bedrock in {region} does not know the guardrail of PAI_GUARDRAIL, or not this version. The Bedrock console has both.",
    ),
    Meaning(
        ("RequestEntityTooLarge", "413"),
        "",
        ContextTooLong,
        "this conversation is more than Bedrock takes in one request. Start a new one, or send a shorter message.",
    ),
    Meaning(
        _INVALID,
        _TOO_LONG,
        ContextTooLong,
        "this conversation is longer than the context window of {model}. Start a new one, send a shorter message, or lower "
        "PAI_HISTORY_TOKENS.",
    ),
    Meaning((), r"model identifier|could not resolve the foundation model", ModelRejected, _NO_SUCH_MODEL),
    Meaning(("ResourceNotFound", "404"), "", ModelRejected, _NO_SUCH_MODEL),
    Meaning(
        ("ModelTimeout", "RequestTimeout", "408", "504"),
        "",
        ModelTimeout,
        "{model} took too long, and Bedrock gave up. Try again, or ask for a shorter answer.",
    ),
    Meaning(
        ("ModelError", "ModelStreamError"),
        "",
        ModelInterrupted,
        "{model} failed while it worked on this. Ask again.",
        again=True,
    ),
    Meaning((), r"unexpected error during processing", ModelUnreachable, _FAULT, again=True),
    Meaning(("InternalServer", "InternalFailure", "InternalError", "500", "502"), "", ModelUnreachable, _FAULT, again=True),
)
