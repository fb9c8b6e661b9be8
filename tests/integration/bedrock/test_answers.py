"""What is asked of Bedrock, and what comes back."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.errors import ModelInterrupted, ModelRejected
from chalicelib.llm import Finish, Request, Said, Text, ToolCall
from chalicelib.records import Usage
from tests.integration.bedrock.asking import MISTRAL, SONNET, Make, conversation, outcome, question
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.bedrock_models import Json


class TestAnAnswer:
    def test_comes_in_pieces_and_ends_with_its_usage(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(reply="Quite well, thank you.", deltas=3, usage={"inputTokens": 7, "outputTokens": 5}))

        result = outcome(make())

        assert result.text == "Quite well, thank you."
        assert len(result.events) == 4
        assert result.finish == Finish(Usage(7, 5), "end", SONNET)

    def test_counts_what_the_prompt_cache_saved(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(usage={"cacheReadInputTokens": 900, "cacheWriteInputTokens": 80}))

        assert outcome(make()).finish.usage == Usage(3, 3, cache_read_tokens=900, cache_write_tokens=80)

    @pytest.mark.parametrize(
        ("bedrock_says", "pai_says"),
        [
            ("end_turn", "end"),
            ("max_tokens", "max_tokens"),
            ("stop_sequence", "stop_sequence"),
            ("tool_use", "tool_use"),
            ("model_context_window_exceeded", "max_tokens"),
            ("a_reason_of_next_year", "end"),
        ],
    )
    def test_says_why_it_ended(self, standin: BedrockStandIn, make: Make, bedrock_says: str, pai_says: str) -> None:
        standin.script(Behaviour(stop_reason=bedrock_says))

        assert outcome(make()).finish.stop_reason == pai_says

    def test_leaves_the_reasoning_out(self, standin: BedrockStandIn, make: Make) -> None:
        reasoning = {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "They ask how I am."}}}
        standin.script(
            Behaviour(
                events=[
                    {"messageStart": {"role": "assistant"}},
                    {"contentBlockDelta": reasoning},
                    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": ""}}},
                    {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "Well."}}},
                    {"messageStop": {"stopReason": "end_turn"}},
                ]
            )
        )

        result = outcome(make())

        assert result.events == [Text("Well."), Finish(Usage(), "end", SONNET)]

    def test_may_ask_for_a_tool(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(events=tool_events('{"city": ', '"Bern"}')))

        result = outcome(make())

        assert result.events[0] == ToolCall("t1", "weather", '{"city": "Bern"}')
        assert result.finish.stop_reason == "tool_use"

    @pytest.mark.parametrize("arguments", ['{"city": ', "[1]"])
    def test_with_a_tool_that_cannot_be_read_breaks_off(self, standin: BedrockStandIn, make: Make, arguments: str) -> None:
        standin.script(Behaviour(events=tool_events(arguments)))

        assert isinstance(outcome(make()).error, ModelInterrupted)

    def test_is_the_last_thing_on_a_connection_that_the_next_question_uses_again(
        self, standin: BedrockStandIn, make: Make
    ) -> None:
        llm = make()

        outcome(llm)
        outcome(llm)

        assert len({request.connection for request in standin.requests}) == 1

    def test_stops_at_bedrock_when_nobody_wants_it_any_more(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(reply="word " * 400, deltas=400, delay_s=0.01))
        events = make().stream(question())
        next(events)

        events.close()

        assert standin.requests[0].aborted.wait(5)

    def test_comes_to_many_at_the_same_time(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make(model="claude-sonnet")

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda number: outcome(llm, question(f"Question {number}")), range(16)))

        assert [result.text for result in results] == [f"Question {number}" for number in range(16)]
        assert len(standin.asked("ListFoundationModels")) == 1


def tool_events(*pieces: str) -> Sequence[Json]:
    return [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t1", "name": "weather"}}}},
        *({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"toolUse": {"input": piece}}}} for piece in pieces),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "tool_use"}},
    ]


class TestARequest:
    def test_carries_system_prompt_messages_and_limits(self, standin: BedrockStandIn, make: Make) -> None:
        request = Request(
            [Said("user", "Hi"), Said("assistant", "Hello."), Said("user", "And now?")],
            system="Be brief.",
            max_tokens=100,
            temperature=0.5,
        )

        outcome(make(model=MISTRAL), request)

        assert standin.asked("ConverseStream") == [
            {
                "modelId": MISTRAL,
                "messages": [
                    {"role": "user", "content": [{"text": "Hi"}]},
                    {"role": "assistant", "content": [{"text": "Hello."}]},
                    {"role": "user", "content": [{"text": "And now?"}]},
                ],
                "system": [{"text": "Be brief."}],
                "inferenceConfig": {"maxTokens": 100, "temperature": 0.5},
            }
        ]

    @pytest.mark.parametrize("model", [SONNET, "us.amazon.nova-2-lite-v1:0"])
    def test_marks_what_the_next_turn_will_repeat_for_the_prompt_cache(
        self, standin: BedrockStandIn, make: Make, model: str
    ) -> None:
        outcome(make(model=model), Request(conversation(4), system="Be brief."))

        [sent] = standin.asked("ConverseStream")
        assert "cachePoint" in sent["system"][-1]
        marked = [message["content"][0]["text"] for message in sent["messages"] if "cachePoint" in message["content"][-1]]
        assert marked == ["assistant 2", "assistant 3"]

    def test_has_its_later_cache_point_where_the_next_one_has_its_earlier(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make()

        outcome(llm, Request(conversation(3)))
        outcome(llm, Request(conversation(4)))

        first, second = (
            [i for i, message in enumerate(sent["messages"]) if "cachePoint" in message["content"][-1]]
            for sent in standin.asked("ConverseStream")
        )
        assert first[-1] == second[0]

    @pytest.mark.parametrize("model", [MISTRAL, "anthropic.claude-3-haiku-20240307-v1:0"])
    def test_has_no_cache_points_for_a_model_without(self, standin: BedrockStandIn, make: Make, model: str) -> None:
        outcome(make(model=model), Request(conversation(3), system="Be brief."))

        assert "cachePoint" not in str(standin.asked("ConverseStream"))

    def test_carries_the_guardrail_which_checks_words_before_they_are_sent(self, standin: BedrockStandIn, make: Make) -> None:
        outcome(make(guardrail="arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1:2"))

        assert standin.asked("ConverseStream")[0]["guardrailConfig"] == {
            "guardrailIdentifier": "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr1",
            "guardrailVersion": "2",
            "streamProcessingMode": "sync",
        }

    def test_is_made_of_any_conversation_that_bedrock_would_refuse_as_it_is(self, standin: BedrockStandIn, make: Make) -> None:
        messages = [
            Said("assistant", "Welcome."),
            Said("user", "One."),
            Said("assistant", "  \n"),
            Said("user", "Two."),
            Said("user", ""),
        ]

        result = outcome(make(), Request(messages, system=" "))

        assert result.text == "One.\n\nTwo."

    def test_with_nothing_to_ask_is_not_sent(self, standin: BedrockStandIn, make: Make) -> None:
        result = outcome(make(), question(" "))

        assert isinstance(result.error, ModelRejected)
        assert standin.requests == []


class TestAParameterThatTheModelRefuses:
    @pytest.mark.parametrize(
        ("having", "refusal", "request_"),
        [
            (
                "temperature",
                "The model returned the following errors: `temperature` is deprecated for this model.",
                question(temperature=0.5),
            ),
            (
                "cachePoint",
                "You invoked an unsupported model or your request did not allow prompt caching. See the documentation.",
                question(system="Be brief."),
            ),
            (
                "cachePoint",
                "The model returned the following errors: system.0.cache_control: Extra inputs are not permitted",
                question(system="Be brief."),
            ),
            (
                "system",
                "This model doesn't support system messages. Try again without a system message or use a model that supports "
                "system messages.",
                question(system="Be brief."),
            ),
        ],
    )
    def test_is_left_out_then_and_from_then_on(
        self, standin: BedrockStandIn, make: Make, having: str, refusal: str, request_: Request
    ) -> None:
        standin.script(Behaviour(having=having, error="ValidationException", message=refusal))
        llm = make()

        first, second = outcome(llm, request_), outcome(llm, request_)

        assert first.finish.stop_reason == second.finish.stop_reason == "end"
        assert [f'"{having}"' in str(sent).replace("'", '"') for sent in standin.asked("ConverseStream")] == [
            True,
            False,
            False,
        ]

    def test_is_left_out_when_the_stream_says_so_too(self, standin: BedrockStandIn, make: Make) -> None:
        words = "`temperature` is deprecated for this model."
        standin.script(Behaviour(having="temperature", exception="validationException", at=1, message=words))

        assert outcome(make(), question(temperature=0.5)).text == "How are you?"

    def test_may_be_several(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(
            Behaviour(having="temperature", error="ValidationException", message="temperature is deprecated for this model"),
            Behaviour(having="cachePoint", error="ValidationException", message="request did not allow prompt caching"),
            Behaviour(having="system", error="ValidationException", message="This model doesn't support system messages."),
        )

        assert outcome(make(), question(system="Be brief.", temperature=0.5)).finish.model == SONNET

    def test_leaves_the_system_prompt_in_the_first_question(self, standin: BedrockStandIn, make: Make) -> None:
        words = "This model doesn't support system messages."
        standin.script(Behaviour(having="system", error="ValidationException", message=words))

        assert outcome(make(), question(system="Be brief.")).text == "Be brief.\n\nHow are you?"

    @pytest.mark.parametrize(
        "refusal",
        [
            "The maximum tokens you requested exceeds the model limit of 4096. Try again with a maximum tokens value that is "
            "lower than 4096.",
            "The model returned the following errors: max_tokens: 9000 > 4,096, which is the maximum allowed number of output "
            "tokens for this model",
        ],
    )
    def test_is_made_smaller_when_it_is_the_length(self, standin: BedrockStandIn, make: Make, refusal: str) -> None:
        standin.script(Behaviour(times=1, error="ValidationException", message=refusal))
        llm = make()

        outcome(llm, question(max_tokens=9000))
        outcome(llm, question(max_tokens=9000))
        outcome(llm, question(max_tokens=50))

        sent = [sent["inferenceConfig"]["maxTokens"] for sent in standin.asked("ConverseStream")]
        assert sent == [9000, 4096, 4096, 50]

    def test_is_kept_when_only_its_value_was_refused(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make()

        wrong = outcome(llm, question(temperature=1.5))
        outcome(llm, question(temperature=0.5))

        assert isinstance(wrong.error, ModelRejected)
        assert [sent["inferenceConfig"]["temperature"] for sent in standin.asked("ConverseStream")] == [1.5, 0.5]

    def test_ends_the_question_when_leaving_it_out_does_not_help(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(error="ValidationException", message="temperature is deprecated for this model"))

        result = outcome(make(), question(temperature=0.5))

        assert isinstance(result.error, ModelRejected)
        assert len(standin.requests) == 2
