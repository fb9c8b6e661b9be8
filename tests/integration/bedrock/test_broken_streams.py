"""Answers that do not reach their end."""

from collections.abc import Sequence
from typing import Literal

import pytest

from chalicelib.errors import (
    ContextTooLong,
    GuardrailIntervened,
    ModelInterrupted,
    ModelRejected,
    ModelThrottled,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
)
from chalicelib.records import Usage
from tests.integration.bedrock.asking import HAIKU, Make, Outcome, outcome, question
from tests.standins.bedrock import BedrockStandIn, Behaviour, messages_of
from tests.standins.bedrock_models import Json

SHORT: Sequence[Json] = [
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hi"}}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1}}},
]
"""The events of the shortest answer."""
_LENGTHS = [len(message) for message in messages_of({}, "", Behaviour(events=SHORT))]
TEXT_IS_OUT, ANSWER_IS_OUT = _LENGTHS[0], _LENGTHS[0] + _LENGTHS[1]
"""At which byte of the stream so much of the answer is there."""
ONE_TRY_S = 1.0
"""So little patience leaves no time for a second try."""


def check(result: Outcome, byte: int) -> None:
    """A stream that is sound up to this byte: nothing of the answer may be lost, and it must end in one of two ways."""
    assert result.text == ("Hi" if byte >= TEXT_IS_OUT else ""), byte
    if byte >= ANSWER_IS_OUT:
        assert result.finish.stop_reason == "end", byte
    else:
        assert type(result.error) is ModelInterrupted, byte


class TestAStreamThatBreaks:
    @pytest.mark.parametrize(
        ("exception", "kind"),
        [
            ("internalServerException", ModelUnreachable),
            ("modelStreamErrorException", ModelInterrupted),
            ("serviceUnavailableException", ModelThrottled),
            ("throttlingException", ModelThrottled),
            ("validationException", ModelRejected),
            ("somethingNew", ModelRejected),
        ],
    )
    def test_before_the_first_word_is_like_a_refusal(
        self, standin: BedrockStandIn, make: Make, exception: str, kind: type[PaiError]
    ) -> None:
        standin.script(Behaviour(exception=exception, at=1))

        result = outcome(make())

        assert type(result.error) is kind
        assert result.events == []

    @pytest.mark.parametrize(
        ("exception", "kind"),
        [
            ("internalServerException", ModelInterrupted),
            ("modelStreamErrorException", ModelInterrupted),
            ("serviceUnavailableException", ModelThrottled),
            ("throttlingException", ModelThrottled),
            ("validationException", ModelInterrupted),
            ("somethingNew", ModelInterrupted),
        ],
    )
    @pytest.mark.parametrize("at", [2, 4])
    def test_after_some_words_leaves_those_and_is_not_tried_again(
        self, standin: BedrockStandIn, make: Make, exception: str, kind: type[PaiError], at: int
    ) -> None:
        standin.script(Behaviour(exception=exception, at=at, reply="abcd"))

        result = outcome(make(fallback_models=HAIKU))

        assert type(result.error) is kind
        assert result.text == "abcd"[: at - 1]
        assert len(standin.requests) == 1

    def test_after_the_end_of_the_answer_takes_nothing_from_it(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(exception="internalServerException", at=7, deltas=4, reply="abcd"))

        result = outcome(make())

        assert result.text == "abcd"
        assert result.finish.usage == Usage()

    @pytest.mark.parametrize(("how", "step"), [("close", 1), ("end", 5)])
    def test_at_any_byte_is_an_interruption_or_a_whole_answer(
        self, standin: BedrockStandIn, make: Make, how: Literal["close", "end"], step: int
    ) -> None:
        llm = make()

        for cut_at in range(0, ANSWER_IS_OUT + 20, step):
            standin.clear()
            standin.script(Behaviour(events=SHORT, cut_at=cut_at, cut=how))
            check(outcome(llm, question(timeout_s=ONE_TRY_S)), cut_at)

    def test_by_a_reset_connection_is_one_of_the_two_as_well(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make()

        for cut_at in range(0, ANSWER_IS_OUT + 20, 20):
            standin.clear()
            standin.script(Behaviour(events=SHORT, cut_at=cut_at, cut="reset"))
            result = outcome(llm, question(timeout_s=ONE_TRY_S))
            # What was sent just before a reset may or may not arrive.
            assert result.text in ("Hi", "")
            assert type(result.error) is ModelInterrupted or result.finish.stop_reason == "end"

    def test_with_any_byte_spoiled_is_an_interruption_or_a_whole_answer(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make()

        for spoiled in range(0, ANSWER_IS_OUT + 20, 5):
            standin.clear()
            standin.script(Behaviour(events=SHORT, corrupt_at=spoiled))
            check(outcome(llm, question(timeout_s=ONE_TRY_S)), spoiled)

    def test_before_the_first_word_is_tried_again(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(cut_at=10, times=1))

        assert outcome(make()).text == "How are you?"

    @pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
    def test_in_the_model_is_an_interruption(self, standin: BedrockStandIn, make: Make, reason: str) -> None:
        standin.script(Behaviour(stop_reason=reason))

        assert isinstance(outcome(make()).error, ModelInterrupted)

    def test_because_the_window_is_full_from_the_start_asks_for_a_new_conversation(
        self, standin: BedrockStandIn, make: Make
    ) -> None:
        standin.script(Behaviour(stop_reason="model_context_window_exceeded", reply=""))

        assert isinstance(outcome(make()).error, ContextTooLong)

    @pytest.mark.parametrize(("reason", "words"), [("guardrail_intervened", "Your guardrail"), ("content_filtered", "filter")])
    def test_because_something_must_not_be_said_is_said_so(
        self, standin: BedrockStandIn, make: Make, reason: str, words: str
    ) -> None:
        standin.script(Behaviour(stop_reason=reason, reply="Sorry, I can't answer that."))

        result = outcome(make(fallback_models=HAIKU))

        assert isinstance(result.error, GuardrailIntervened)
        assert words in result.error.message
        assert len(standin.requests) == 1


class TestSilence:
    @pytest.mark.parametrize("at", [-1, 0, 1])
    def test_before_the_first_word_ends_when_the_caller_waits_no_longer(
        self, standin: BedrockStandIn, make: Make, at: int
    ) -> None:
        standin.script(Behaviour(stall_s=20, at=at))

        result = outcome(make(), question(timeout_s=0.2))

        assert type(result.error) is ModelTimeout
        assert len(standin.requests) == 1

    def test_in_the_middle_is_an_interruption(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(stall_s=20, at=2, reply="abcd"))

        result = outcome(make(), question(timeout_s=0.5))

        assert type(result.error) is ModelInterrupted
        assert result.text == "a"

    def test_of_a_model_that_only_reasons_ends_too(self, standin: BedrockStandIn, make: Make) -> None:
        thought = {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}}
        standin.script(Behaviour(events=[thought] * 1000, delay_s=0.01))

        assert type(outcome(make(), question(timeout_s=0.2)).error) is ModelTimeout

    def test_an_answer_that_goes_on_for_too_long_ends_with_what_has_come(self, standin: BedrockStandIn, make: Make) -> None:
        word: Json = {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "a"}}}
        standin.script(Behaviour(events=[word] * 1000, delay_s=0.05))

        result = outcome(make(), question(timeout_s=0.5))

        assert type(result.error) is ModelInterrupted
        assert 0 < len(result.text) < 20

    def test_after_the_end_takes_nothing_from_the_answer(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(reply="a", deltas=1, stall_s=20, at=4))

        result = outcome(make(), question(timeout_s=0.5))

        assert result.text == "a"
        assert result.finish.stop_reason == "end"
