"""Tools, answers in JSON and stop sequences at Bedrock: how they are asked for, and what comes back."""

import json
import traceback
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chalicelib.errors import BadRequest, ModelInterrupted
from chalicelib.llm import Finish, JsonForm, Request, Said, Text, Tool, ToolCall, ToolResult
from chalicelib.llm.bedrock.tools import JSON_TOOL
from chalicelib.records import Usage
from tests.integration.bedrock.asking import MISTRAL, SONNET, Make, Outcome, outcome, question
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.bedrock_models import Json

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER, CLOCK = Tool("weather", "The weather in a city.", CITY), Tool("clock", "", CITY)
TOOLS = question(tools=(WEATHER, CLOCK))
IN_JSON = question(json_form=JsonForm(CITY, "town"))
CALLED = [
    Said("user", "What is the weather?"),
    Said("assistant", "I look.", (ToolCall("t1", "weather", '{"city": "Bern"}'), ToolCall("t2", "clock", ""))),
    Said("user", "And now?", (), (ToolResult("t1", "Sun."), ToolResult("t2", " "))),
]
NO_TOOLS = "This model doesn't support tool use in streaming mode."
NO_CHOICE = 'The model returned the following errors: tool_choice: type "tool" and "any" are not supported for this model.'
NO_TOOL = "This model doesn't support the toolConfig.toolChoice.tool field. Remove toolConfig.toolChoice.tool and try again."
NO_ANY = "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try again."
NO_FORMAT = "The model returned the following errors: output_config.format: Extra inputs are not permitted"


def refuses(having: str, message: str) -> Behaviour:
    return Behaviour(having=having, error="ValidationException", message=message)


def sent(standin: BedrockStandIn) -> Json:
    """Return the last request, which the stand-in found nothing wrong with."""
    return standin.asked("ConverseStream")[-1]


def field_of(result: Outcome) -> str:
    assert isinstance(result.error, BadRequest)
    assert result.events == []
    return result.error.field


def stream(stop_reason: str, *blocks: tuple[str, Sequence[str]]) -> Behaviour:
    """An answer of these blocks: the name of a tool, or none for text, and the block's pieces."""
    events: list[Json] = [{"messageStart": {"role": "assistant"}}]
    for index, (name, pieces) in enumerate(blocks):
        if name:
            start = {"toolUse": {"toolUseId": f"t{index}", "name": name}}
            events.append({"contentBlockStart": {"contentBlockIndex": index, "start": start}})
        deltas = ({"toolUse": {"input": piece}} if name else {"text": piece} for piece in pieces)
        events += ({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}} for delta in deltas)
        events.append({"contentBlockStop": {"contentBlockIndex": index}})
    return Behaviour(events=[*events, {"messageStop": {"stopReason": stop_reason}}])


class TestToolsInARequest:
    def test_are_told_with_their_schemas(self, standin: BedrockStandIn, make: Make) -> None:
        outcome(make(), TOOLS)

        weather = {"name": "weather", "description": "The weather in a city.", "inputSchema": {"json": CITY}}
        clock = {"name": "clock", "inputSchema": {"json": CITY}}
        assert sent(standin)["toolConfig"] == {"tools": [{"toolSpec": weather}, {"toolSpec": clock}]}

    @pytest.mark.parametrize(("choice", "told"), [("required", {"any": {}}), ("clock", {"tool": {"name": "clock"}})])
    def test_may_have_to_be_called(self, standin: BedrockStandIn, make: Make, choice: str, told: Json) -> None:
        result = outcome(make(), replace(TOOLS, tool_choice=choice))

        assert sent(standin)["toolConfig"]["toolChoice"] == told
        [call, finish] = result.events
        assert isinstance(call, ToolCall)
        assert call.name == ("clock" if choice == "clock" else "weather")
        assert finish == Finish(Usage(3, 4), "tool_use", SONNET)

    def test_that_may_not_be_called_are_not_told(self, standin: BedrockStandIn, make: Make) -> None:
        outcome(make(), replace(TOOLS, tool_choice="none"))

        assert "toolConfig" not in sent(standin)

    def test_come_with_the_calls_and_results_before(self, standin: BedrockStandIn, make: Make) -> None:
        outcome(make(model=MISTRAL), replace(TOOLS, messages=CALLED))

        assert [message["content"] for message in sent(standin)["messages"]] == [
            [{"text": "What is the weather?"}],
            [
                {"text": "I look."},
                {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Bern"}}},
                {"toolUse": {"toolUseId": "t2", "name": "clock", "input": {}}},
            ],
            [
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "Sun."}]}},
                {"toolResult": {"toolUseId": "t2", "content": [{"text": "(nothing)"}]}},
                {"text": "And now?"},
            ],
        ]

    def test_may_give_their_results_in_messages_of_their_own(self, standin: BedrockStandIn, make: Make) -> None:
        apart = [Said("user", "", (), (result,)) for result in CALLED[2].tool_results]

        outcome(make(), replace(TOOLS, messages=[*CALLED[:2], *apart, Said("user", "And now?")]))
        first = sent(standin)
        outcome(make(), replace(TOOLS, messages=CALLED))

        assert first == sent(standin)

    def test_leave_the_cache_points_where_they_are_without(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make()
        outcome(llm, replace(TOOLS, messages=CALLED, system="Be brief."))
        first = sent(standin)

        outcome(llm, replace(TOOLS, messages=[*CALLED, Said("assistant", "Noon."), Said("user", "Thanks.")]))

        assert "cachePoint" in first["system"][-1]
        marked = [
            [i for i, message in enumerate(each["messages"]) if "cachePoint" in message["content"][-1]]
            for each in (first, sent(standin))
        ]
        assert marked == [[1], [1, 3]]

    @pytest.mark.parametrize("request_", [question(), replace(TOOLS, tool_choice="none")])
    def test_that_nobody_may_call_any_more_are_in_the_conversation_in_words(
        self, standin: BedrockStandIn, make: Make, request_: Request
    ) -> None:
        outcome(make(model=MISTRAL), replace(request_, messages=CALLED))

        texts = [block["text"] for message in sent(standin)["messages"] for block in message["content"]]
        assert "toolConfig" not in sent(standin)
        for said in ("I look.", "weather", "Bern", "Sun.", "And now?"):
            assert any(said in text for text in texts)

    def test_with_arguments_that_are_no_object_are_not_sent(self, standin: BedrockStandIn, make: Make) -> None:
        called = [CALLED[0], Said("assistant", "", (ToolCall("t1", "weather", "[1"),)), CALLED[2]]

        assert field_of(outcome(make(), replace(TOOLS, messages=called))) == "messages"
        assert standin.requests == []

    @pytest.mark.parametrize(
        "messages", [[CALLED[0], CALLED[1], Said("user", "And now?")], [Said("user", "", (), (ToolResult("t9", "Sun."),))]]
    )
    def test_whose_calls_and_results_do_not_fit_are_refused_by_name(self, make: Make, messages: Sequence[Said]) -> None:
        assert field_of(outcome(make(), replace(TOOLS, messages=messages))) == "messages"

    @pytest.mark.parametrize("tool", [replace(WEATHER, name="the weather"), replace(WEATHER, parameters={"type": "string"})])
    def test_of_a_form_that_bedrock_does_not_have_are_refused_by_name(self, make: Make, tool: Tool) -> None:
        assert field_of(outcome(make(), replace(TOOLS, tools=(tool,)))) == "tools"

    def test_are_never_repeated_in_an_error(self, standin: BedrockStandIn, make: Make) -> None:
        secret = "My account number is 4711-0815."
        standin.script(refuses("toolConfig", f"tools.0: {secret} is odd"))

        result = outcome(make(), replace(TOOLS, tools=(replace(WEATHER, description=secret),)))

        assert field_of(result) == "tools"
        assert result.error is not None
        assert "4711" not in "".join(traceback.format_exception(result.error))


class TestAModelWithout:
    @pytest.mark.parametrize(
        ("having", "refusal", "request_", "field"),
        [
            ("toolConfig", NO_TOOLS, TOOLS, "tools"),
            ("toolConfig", "This model doesn't support tool use.", TOOLS, "tools"),
            ("toolChoice", NO_CHOICE, replace(TOOLS, tool_choice="clock"), "tool_choice"),
            ("toolChoice", NO_ANY, replace(TOOLS, tool_choice="required"), "tool_choice"),
            ("toolConfig", NO_TOOLS, question(json_form=JsonForm()), "response_format"),
            ("toolChoice", NO_CHOICE, question(json_form=JsonForm()), "response_format"),
            (
                "stopSequences",
                "This model doesn't support the stopSequences field. Remove stopSequences and try again.",
                question(stop=("END",)),
                "stop",
            ),
        ],
    )
    def test_is_asked_once_and_whoever_wants_it_then_is_told_at_once(
        self, standin: BedrockStandIn, make: Make, having: str, refusal: str, request_: Request, field: str
    ) -> None:
        standin.script(refuses(having, refusal))
        llm = make()

        first, second, plain = outcome(llm, request_), outcome(llm, request_), outcome(llm)

        assert field_of(first) == field_of(second) == field
        assert plain.text == "How are you?"
        assert len(standin.requests) == 2

    def test_a_choice_of_one_is_given_that_one_alone(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(refuses("tool", NO_TOOL))

        result = outcome(make(), replace(TOOLS, tool_choice="clock"))

        assert result.finish.stop_reason == "tool_use"
        config = sent(standin)["toolConfig"]
        assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["clock"]
        assert config["toolChoice"] == {"any": {}}

    def test_forced_calls_can_still_be_free_to_call(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(refuses("toolChoice", NO_CHOICE))
        llm = make()
        outcome(llm, replace(TOOLS, tool_choice="required"))

        assert outcome(llm, TOOLS).text == "How are you?"

    def test_forced_calls_answers_in_json_by_its_output_format(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(refuses("toolChoice", NO_CHOICE))

        result = outcome(make(), replace(IN_JSON, tools=(WEATHER,)))

        assert json.loads(result.text) == {"echo": "How are you?"}
        assert result.finish.stop_reason == "end"
        form = sent(standin)["outputConfig"]["textFormat"]
        assert form["type"] == "json_schema"
        assert form["structure"]["jsonSchema"] == {"name": "town", "schema": json.dumps(CITY)}
        assert "toolChoice" not in sent(standin)["toolConfig"]

    def test_output_formats_either_has_no_json(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(refuses("toolChoice", NO_CHOICE), refuses("outputConfig", NO_FORMAT))
        llm = make()

        assert [field_of(outcome(llm, IN_JSON)) for _ in range(2)] == ["response_format"] * 2
        assert len(standin.requests) == 2

    def test_forced_calls_refuses_an_open_schema_and_still_takes_the_next(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(refuses("toolChoice", NO_CHOICE))
        llm = make()

        refused = outcome(llm, question(json_form=JsonForm({"type": "object"})))

        assert field_of(refused) == "response_format"
        assert outcome(llm, IN_JSON).finish.stop_reason == "end"


class TestAnAnswerInJson:
    def test_is_the_arguments_of_a_tool_and_comes_as_text(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(stream("tool_use", (JSON_TOOL, ['{"city"', ': "Bern"}'])))

        result = outcome(make(), IN_JSON)

        assert result.events == [Text('{"city"'), Text(': "Bern"}'), Finish(Usage(), "end", SONNET)]
        [tool] = sent(standin)["toolConfig"]["tools"]
        assert tool["toolSpec"]["inputSchema"]["json"] == CITY
        assert sent(standin)["toolConfig"]["toolChoice"] == {"tool": {"name": JSON_TOOL}}

    def test_may_be_any_object(self, standin: BedrockStandIn, make: Make) -> None:
        result = outcome(make(), question(json_form=JsonForm()))

        assert json.loads(result.text) == {"echo": "How are you?"}
        [tool] = sent(standin)["toolConfig"]["tools"]
        assert tool["toolSpec"]["inputSchema"]["json"]["type"] == "object"

    def test_or_a_call_where_there_are_tools(self, standin: BedrockStandIn, make: Make) -> None:
        result = outcome(make(), replace(IN_JSON, tools=(WEATHER,)))

        names = [tool["toolSpec"]["name"] for tool in sent(standin)["toolConfig"]["tools"]]
        assert names == ["weather", JSON_TOOL]
        assert sent(standin)["toolConfig"]["toolChoice"] == {"any": {}}
        assert isinstance(result.events[0], ToolCall)
        assert result.finish.stop_reason == "tool_use"

    def test_gives_way_to_a_tool_that_must_be_called(self, standin: BedrockStandIn, make: Make) -> None:
        outcome(make(), replace(IN_JSON, tools=(WEATHER,), tool_choice="required"))

        assert JSON_TOOL not in str(sent(standin))

    @pytest.mark.parametrize(
        ("behaviour", "text"),
        [
            (stream("tool_use", ("", ["I shall answer."]), (JSON_TOOL, ["{}"])), "{}"),
            (stream("tool_use", (JSON_TOOL, [])), "{}"),
            (stream("tool_use", (JSON_TOOL, ['{"a": 1}']), (JSON_TOOL, ['{"a": 2}'])), '{"a": 1}'),
            (stream("end_turn", ("", ['{"a"', ": 1}"])), '{"a": 1}'),
        ],
    )
    def test_is_one_object_however_the_model_gives_it(
        self, standin: BedrockStandIn, make: Make, behaviour: Behaviour, text: str
    ) -> None:
        standin.script(behaviour)

        result = outcome(make(), IN_JSON)

        assert result.text == text
        assert result.finish.stop_reason == "end"

    def test_that_is_in_words_is_none(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(stream("end_turn", ("", ["It is in Bern."])))

        result = outcome(make(), IN_JSON)

        assert isinstance(result.error, ModelInterrupted)
        assert result.events == []

    def test_that_is_cut_says_so(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(stream("max_tokens", (JSON_TOOL, ['{"city"'])))

        result = outcome(make(), IN_JSON)

        assert (result.text, result.finish.stop_reason) == ('{"city"', "max_tokens")


class TestCalls:
    def test_come_whole_and_several_after_the_words_before_them(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(stream("tool_use", ("", ["I look."]), ("weather", ['{"city": ', '"Bern"}']), ("clock", [])))

        assert outcome(make(), TOOLS).events == [
            Text("I look."),
            ToolCall("t1", "weather", '{"city": "Bern"}'),
            ToolCall("t2", "clock", "{}"),
            Finish(Usage(), "tool_use", SONNET),
        ]

    def test_that_are_cut_short_are_left_out_and_the_end_says_so(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(stream("max_tokens", ("weather", ['{"city": "Bern"}']), ("clock", ['{"ci'])))

        result = outcome(make(), TOOLS)

        assert result.events == [ToolCall("t0", "weather", '{"city": "Bern"}'), Finish(Usage(), "max_tokens", SONNET)]


class TestStopAndLikelihood:
    def test_go_with_the_limits(self, standin: BedrockStandIn, make: Make) -> None:
        result = outcome(make(), question("One two END three", stop=("END", "FIN"), top_p=0.5))

        assert sent(standin)["inferenceConfig"] == {"maxTokens": 1024, "topP": 0.5, "stopSequences": ["END", "FIN"]}
        assert (result.text, result.finish.stop_reason) == ("One two ", "stop_sequence")

    def test_that_bedrock_does_not_take_are_refused_by_name(self, make: Make) -> None:
        assert field_of(outcome(make(), question(stop=("\n",)))) == "stop"

    def test_likelihood_gives_way_where_it_may_not_stand_beside_a_temperature(
        self, standin: BedrockStandIn, make: Make
    ) -> None:
        words = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        standin.script(replace(refuses("topP", f"The model returned the following errors: {words}"), times=1))
        llm = make()

        outcome(llm, question(temperature=0.5, top_p=0.9))
        both = sent(standin)["inferenceConfig"]
        outcome(llm, question(top_p=0.9))

        assert (both.get("temperature"), both.get("topP")) == (0.5, None)
        assert sent(standin)["inferenceConfig"]["topP"] == 0.9

    def test_likelihood_is_left_out_where_it_is_refused(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(refuses("topP", "The model returned the following errors: `top_p` is deprecated for this model."))

        assert outcome(make(), question(top_p=0.9)).text == "How are you?"
