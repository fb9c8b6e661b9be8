"""What Bedrock says instead of an answer, and whom PAI asks then."""

import traceback

import pytest

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
from tests.integration.bedrock.asking import HAIKU, MISTRAL, SONNET, Make, outcome, question
from tests.standins.bedrock import BedrockStandIn, Behaviour

REFUSALS = [
    ("ThrottlingException", "Too many tokens, please wait before trying again.", ModelThrottled, "Rate limit exceeded"),
    ("ThrottlingException", "Too many requests, please wait before trying again.", ModelThrottled, "request an increase"),
    ("ThrottlingException", "Too many tokens per day, please wait before trying again.", ModelQuotaSpent, "per day"),
    (
        "ServiceQuotaExceededException",
        "Your request exceeds the service quota.",
        ModelQuotaSpent,
        "service quotas in us-east-1",
    ),
    ("ModelNotReadyException", "The model is not ready for inference.", ModelThrottled, "still loading"),
    ("ServiceUnavailableException", "Bedrock is unable to process your request.", ModelThrottled, "no capacity"),
    (
        "AccessDeniedException",
        "User: arn:aws:sts::123456789012:assumed-role/pai/x is not authorized to perform: "
        "bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:us-east-1::foundation-model/m",
        ModelAccessDenied,
        "bedrock:InvokeModelWithResponseStream",
    ),
    (
        "AccessDeniedException",
        "User: x is not authorized to perform: bedrock:InvokeModelWithResponseStream on resource: "
        "arn:aws:bedrock:::foundation-model/m with an explicit deny in a service control policy: arn:aws:organizations::1:p",
        ModelAccessDenied,
        "policy of your AWS organization",
    ),
    (
        "AccessDeniedException",
        "User: x is not authorized to perform: bedrock:ApplyGuardrail on resource: arn:aws:bedrock:us-east-1:1:guardrail/g",
        ModelAccessDenied,
        "bedrock:ApplyGuardrail",
    ),
    (
        "AccessDeniedException",
        "You don't have access to the model with the specified model ID.",
        ModelAccessDenied,
        "check that the account has access",
    ),
    (
        "AccessDeniedException",
        "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace "
        "actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model.",
        ModelAccessDenied,
        "aws-marketplace:Subscribe",
    ),
    (
        "AccessDeniedException",
        "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided. Your AWS "
        "Marketplace subscription for this model cannot be completed at this time.",
        ModelAccessDenied,
        "payment method",
    ),
    (
        "ResourceNotFoundException",
        "Model use case details have not been submitted for this account. Fill out the Anthropic use case details form before "
        "using the model. If you have already filled out the form, try again in 15 minutes.",
        ModelAccessDenied,
        "fill out the use case details form",
    ),
    ("ValidationException", "Operation not allowed", ModelAccessDenied, "AWS Support"),
    (
        "ValidationException",
        "Access to Anthropic models is not allowed from unsupported countries, regions, or territories.",
        ModelAccessDenied,
        "another provider",
    ),
    (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        ModelAccessDenied,
        "credentials",
    ),
    ("InvalidSignatureException", "The request signature we calculated does not match.", ModelAccessDenied, "clock"),
    ("ExpiredTokenException", "The security token included in the request is expired", ModelAccessDenied, "have expired"),
    (
        "ValidationException",
        "Invocation of model ID anthropic.claude-sonnet-4-20250514-v1:0 with on-demand throughput isn’t supported. Retry your "
        "request with the ID or ARN of an inference profile that contains this model.",
        ModelNeedsProfile,
        "On-demand throughput isn't supported",
    ),
    (
        "ResourceNotFoundException",
        "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
        ModelEndOfLife,
        "Set PAI_MODEL to a family",
    ),
    (
        "ResourceNotFoundException",
        "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in the last "
        "30 days. Please upgrade to an active model on Amazon Bedrock",
        ModelEndOfLife,
        "withdrawn",
    ),
    ("ValidationException", "Input is too long for requested model.", ContextTooLong, "context window"),
    ("ValidationException", "prompt is too long: 208310 tokens > 200000 maximum", ContextTooLong, "Start a new one"),
    (
        "ValidationException",
        "The model returned the following errors: input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000",
        ContextTooLong,
        "PAI_HISTORY_TOKENS",
    ),
    (
        "ValidationException",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt",
        ContextTooLong,
        "context window",
    ),
    ("ValidationException", "too many total text bytes: 30000000 > 20000000", ContextTooLong, "context window"),
    (
        "ValidationException",
        "Malformed input request: expected maxLength: 51200, actual: 90000, please reformat your input and try again.",
        ContextTooLong,
        "context window",
    ),
    (
        "ValidationException",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
        ContextTooLong,
        "context window",
    ),
    ("ValidationException", "The provided model identifier is invalid.", ModelRejected, "knows no model"),
    ("ResourceNotFoundException", "Could not resolve the foundation model.", ModelRejected, "knows no model"),
    ("ValidationException", "The provided guardrail identifier is invalid.", ModelRejected, "PAI_GUARDRAIL"),
    ("ValidationException", "This model doesn't support documents.", ModelRejected, "This model doesn't support documents."),
    ("ModelTimeoutException", "The request took too long to process.", ModelTimeout, "took too long"),
    ("ModelErrorException", "The request failed due to an error while processing the model.", ModelInterrupted, "Ask again"),
    ("InternalServerException", "An internal server error occurred.", ModelUnreachable, "health.aws.amazon.com"),
]


class TestARefusal:
    @pytest.mark.parametrize(("code", "message", "kind", "words"), REFUSALS)
    def test_becomes_one_error_that_says_what_to_do(
        self, standin: BedrockStandIn, make: Make, code: str, message: str, kind: type[PaiError], words: str
    ) -> None:
        standin.script(Behaviour(error=code, message=message))

        result = outcome(make())

        assert type(result.error) is kind
        assert words in result.error.message
        assert result.events == []

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (401, ModelAccessDenied),
            (403, ModelAccessDenied),
            (404, ModelRejected),
            (408, ModelTimeout),
            (413, ContextTooLong),
            (418, ModelRejected),
            (429, ModelThrottled),
            (500, ModelUnreachable),
            (502, ModelUnreachable),
            (503, ModelThrottled),
            (504, ModelTimeout),
        ],
    )
    def test_with_a_code_that_nobody_knows_goes_by_its_status(
        self, standin: BedrockStandIn, make: Make, status: int, kind: type[PaiError]
    ) -> None:
        standin.script(Behaviour(error="NewInNextYearException", status=status))

        assert type(outcome(make()).error) is kind

    def test_never_repeats_what_was_said(self, standin: BedrockStandIn, make: Make) -> None:
        secret = "My account number is 4711-0815."
        standin.script(Behaviour(error="ValidationException", message=f"Malformed input request: {secret} is odd"))

        result = outcome(make(), question(secret))

        assert isinstance(result.error, ModelRejected)
        assert "4711" not in "".join(traceback.format_exception(result.error))

    @pytest.mark.parametrize("code", ["InternalServerException", "ModelErrorException", "ThrottlingException"])
    def test_that_may_pass_is_met_with_a_second_try(self, standin: BedrockStandIn, make: Make, code: str) -> None:
        standin.script(Behaviour(error=code, times=1))

        assert outcome(make()).text == "How are you?"

    @pytest.mark.parametrize("code", ["InternalServerException", "ThrottlingException"])
    def test_is_met_with_no_third_try(self, standin: BedrockStandIn, make: Make, code: str) -> None:
        standin.script(Behaviour(error=code))

        outcome(make())

        assert len(standin.requests) == 2

    def test_is_met_with_no_second_try_when_the_caller_will_not_wait_for_it(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(error="InternalServerException"))

        outcome(make(), question(timeout_s=0.9))

        assert len(standin.requests) == 1

    @pytest.mark.parametrize("code", ["AccessDeniedException", "ServiceQuotaExceededException", "ModelTimeoutException"])
    def test_that_will_not_pass_is_final(self, standin: BedrockStandIn, make: Make, code: str) -> None:
        standin.script(Behaviour(error=code))

        outcome(make())

        assert len(standin.requests) == 1

    def test_says_when_to_come_back(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(error="ModelNotReadyException"))

        result = outcome(make())

        assert result.error is not None
        assert result.error.retry_after_s == 60


class TestAFallback:
    @pytest.mark.parametrize(
        "code",
        ["ThrottlingException", "ModelNotReadyException", "ServiceUnavailableException", "ServiceQuotaExceededException"],
    )
    def test_answers_at_once_when_the_model_has_no_room(self, standin: BedrockStandIn, make: Make, code: str) -> None:
        standin.script(Behaviour(model="sonnet", error=code))

        result = outcome(make(fallback_models=HAIKU))

        assert result.text == "How are you?"
        assert result.finish.model == HAIKU
        assert len(standin.requests) == 2

    def test_is_asked_after_the_one_before_it(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(model="claude", error="ThrottlingException"))

        result = outcome(make(fallback_models="claude-haiku, nova-lite"))

        assert result.finish.model == "us.amazon.nova-2-lite-v1:0"
        assert [sent["modelId"] for sent in standin.asked("ConverseStream")] == [SONNET, HAIKU, result.finish.model]

    def test_is_another_model(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(model="sonnet", error="ThrottlingException"))

        outcome(make(fallback_models=f"{SONNET},{HAIKU}"))

        assert [sent["modelId"] for sent in standin.asked("ConverseStream")] == [SONNET, HAIKU]

    def test_is_asked_when_the_stream_says_it_before_the_first_word(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(model="sonnet", exception="throttlingException", at=1))

        assert outcome(make(fallback_models=HAIKU)).finish.model == HAIKU

    @pytest.mark.parametrize("code", ["AccessDeniedException", "ValidationException", "ModelTimeoutException"])
    def test_is_not_asked_for_any_other_reason(self, standin: BedrockStandIn, make: Make, code: str) -> None:
        standin.script(Behaviour(model="sonnet", error=code))

        assert outcome(make(fallback_models=HAIKU)).error is not None
        assert {sent["modelId"] for sent in standin.asked("ConverseStream")} == {SONNET}

    def test_that_has_no_room_either_is_the_end(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(error="ThrottlingException"))

        assert type(outcome(make(fallback_models=HAIKU)).error) is ModelThrottled

    def test_gets_a_request_of_its_own_form(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(model="sonnet", error="ThrottlingException"))

        outcome(make(fallback_models=MISTRAL), question(system="Be brief."))

        first, second = standin.asked("ConverseStream")
        assert "cachePoint" in str(first)
        assert "cachePoint" not in str(second)


class TestTheWayToBedrock:
    def test_that_is_closed_is_said_to_be(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9")

        result = outcome(make())

        assert type(result.error) is ModelUnreachable
        assert "us-east-1 can't be reached" in result.error.message

    def test_that_speaks_no_tls_is_said_to(self, standin: BedrockStandIn, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", standin.url.replace("http:", "https:"))

        result = outcome(make())

        assert type(result.error) is ModelUnreachable
        assert "certificate" in result.error.message

    def test_without_credentials_is_not_gone(
        self, standin: BedrockStandIn, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(variable, raising=False)
        for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(variable, "/nonexistent")

        result = outcome(make())

        assert type(result.error) is ModelAccessDenied
        assert "aws configure" in result.error.message
        assert standin.requests == []
