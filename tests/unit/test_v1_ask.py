"""What OpenAI's clients send, as a model is asked it; and what is refused, by name."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.errors import BadRequest, TooLarge
from chalicelib.http import Request
from chalicelib.llm import JsonForm, Said, Tool, ToolCall, ToolResult
from chalicelib.settings import Settings
from chalicelib.v1 import given
from chalicelib.v1.ask import Wanted, wanted

ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ASSISTANT: Mapping[str, Any] = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3"}
USER = {"role": "user", "content": "Hi"}


def read(**members: object) -> Wanted:
    body = {"model": "m", "messages": [USER], **members}
    return wanted(given.body(Request("r", "POST /v1", body=json.dumps(body).encode())), Settings(max_tokens=99))


def said(*messages: object) -> tuple[str, list[Said]]:
    request = read(messages=messages).request
    return request.system, list(request.messages)


def test_question_alone_is_asked_with_the_deployments_longest_answer() -> None:
    asked = read()

    assert (asked.model, asked.stream, asked.include_usage, asked.one_call) == ("m", False, False, False)
    assert (asked.request.model, asked.request.system, asked.request.max_tokens) == ("m", "", 99)
    assert asked.request.messages == (Said("user", "Hi"),)
    assert (asked.request.temperature, asked.request.top_p, asked.request.stop) == (None, None, ())


def test_pai_is_the_default_model_with_the_deployments_system_prompt() -> None:
    assert read(model="pai").request.model is None
    assert read(model="pai").request.system == Settings().system_prompt
    assert read(model="pai", messages=[{"role": "system", "content": "Rhyme."}, USER]).request.system == "Rhyme."


def test_systems_and_developers_are_one_system_prompt_wherever_they_stand() -> None:
    system, messages = said(
        {"role": "system", "content": "One."},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
        {"role": "system", "content": " "},
    )

    assert system == "One.\n\nTwo."
    assert messages == [Said("user", "Hi")]


def test_system_prompt_without_a_question_is_the_question() -> None:
    assert said({"role": "system", "content": "Say hello."}) == ("", [Said("user", "Say hello.")])


def test_parts_of_text_are_lines_of_one_text() -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}]

    assert said({"role": "user", "content": parts})[1] == [Said("user", "What is\nthis?")]


def test_neighbours_of_one_role_are_merged_and_blank_messages_left_out() -> None:
    messages = said(USER, {"role": "user", "content": "there"}, {"role": "assistant", "content": "  "}, USER)[1]

    assert messages == [Said("user", "Hi\n\nthere\n\nHi")]


def test_greeting_that_begins_a_conversation_is_kept() -> None:
    messages = said({"role": "assistant", "content": "How can I help?"}, USER)[1]

    assert [(message.role, message.text) for message in messages] == [
        ("user", "(You begin.)"),
        ("assistant", "How can I help?"),
        ("user", "Hi"),
    ]


def test_tool_calls_and_their_results_are_passed_on() -> None:
    second = {"id": "c2", "type": "function", "function": {"name": "add", "arguments": ""}}
    both = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, second]}
    messages = said(USER, both, {**RESULT, "tool_call_id": "c2"}, RESULT, {"role": "user", "content": "Well?"})[1]

    assert messages == [
        Said("user", "Hi"),
        Said("assistant", "Let me see.", tool_calls=(ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "add", ""))),
        Said("user", "Well?", tool_results=(ToolResult("c2", "3"), ToolResult("c1", "3"))),
    ]


def test_refusal_of_an_assistant_is_what_it_said() -> None:
    assert said(USER, {"role": "assistant", "refusal": "No."}, USER)[1][1] == Said("assistant", "No.")


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        (None, "messages: must hold something"),
        ([], "messages: must hold something"),
        ("Hi", "messages: must be a list"),
        (["Hi"], "messages[0]: must be an object"),
        ([{"content": "Hi"}], "messages[0].role: is missing"),
        ([{"role": "function", "content": "Hi"}], "messages[0].role: must be one of"),
        ([{"role": "user"}], "messages[0].content: is missing"),
        ([{"role": "user", "content": 1}], "messages[0].content: must be a string"),
        ([{"role": "user", "content": " "}], "messages: must hold something"),
        ([USER, {"role": "user", "content": [{"type": "image_url"}]}], "messages[1].content[0]: parts of type image_url"),
        ([{"role": "user", "content": [{"type": "Hi there"}]}], "messages[0].content[0]: parts of this type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text: is missing"),
        ([USER, {"role": "assistant", "content": "Hello"}], "messages: must end with"),
        ([USER, {"role": "assistant", "content": "x", "function_call": {}}], "messages[1].function_call: is not taken"),
        ([USER, {**ASSISTANT, "tool_calls": [{"type": "custom"}]}], "messages[1].tool_calls[0].type: must be one of function"),
        ([USER, {**ASSISTANT, "tool_calls": [{**CALL, "id": None}]}], "messages[1].tool_calls[0].id: is missing"),
        ([USER, {**ASSISTANT, "tool_calls": {}}], "messages[1].tool_calls: must be a list"),
        ([USER, RESULT], "messages[1].tool_call_id: is not the id of a call"),
        ([USER, ASSISTANT, RESULT, RESULT], "messages[3].tool_call_id: is not the id of a call"),
        ([USER, ASSISTANT, USER], "messages[2]: must be a tool's message"),
        ([USER, ASSISTANT], "messages: must have a tool's message for each"),
        ([USER] * 2049, "messages: must have 2048 items at most"),
    ],
)
def test_messages_that_are_none_are_named(messages: object, place: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(messages=messages)

    assert refused.value.message.startswith(place), refused.value.message


def test_tools_are_passed_on() -> None:
    bare = {"type": "function", "function": {"name": "now", "strict": True}}
    request = read(tools=[ADD, bare], tool_choice={"type": "function", "function": {"name": "now"}}).request

    assert request.tools == (Tool("add", "Adds.", {"type": "object"}), Tool("now", "", {"type": "object", "properties": {}}))
    assert request.tool_choice == "now"
    assert [read(tools=[ADD], tool_choice=choice).request.tool_choice for choice in ("auto", "none", "required", None)] == [
        "auto",
        "none",
        "required",
        "auto",
    ]
    assert read(tools=[], tool_choice="auto", parallel_tool_calls=False).one_call


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"tools": {}}, "tools: must be a list"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type: must be one of function"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name: is missing"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name: must be 1 to 64"),
        ({"tools": [{"type": "function", "function": {"name": "none"}}]}, "tools[0].function.name: must be another"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": 1}}]},
            "tools[0].function.parameters: must be",
        ),
        ({"tools": [ADD, ADD]}, "tools: must each have another name"),
        ({"tools": [ADD] * 129}, "tools: must have 128 items"),
        ({"tool_choice": "required"}, "tool_choice: needs tools"),
        ({"tools": [ADD], "tool_choice": "add"}, "tool_choice: must be one of auto, none, required"),
        ({"tools": [ADD], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type: must be one of function"),
        (
            {"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
            "tool_choice: must name one of the tools",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls: must be true or false"),
    ],
)
def test_tools_that_are_none_are_named(members: dict[str, object], place: str) -> None:
    with pytest.raises(BadRequest) as refused:
        read(**members)

    assert refused.value.message.startswith(place)


def test_json_is_asked_for_as_an_object_or_by_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    by_schema = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}}

    assert read(response_format={"type": "text"}).request.json_form is None
    assert read(response_format=None).request.json_form is None
    assert read(response_format={"type": "json_object"}).request.json_form == JsonForm()
    assert read(response_format=by_schema).request.json_form == JsonForm(schema, "sum")
    bad_ones: list[object] = ["json_object", [], {"type": "xml"}, {"type": "json_schema"}, {"schema": {}}]
    for bad in bad_ones:
        with pytest.raises(BadRequest, match="response_format"):
            read(response_format=bad)


@pytest.mark.parametrize(("given", "taken"), [(0, 0), (0.7, 0.7), (1, 1), (1.3, 1), (2, 1)])
def test_temperature_above_one_is_one(given: float, taken: float) -> None:
    assert read(temperature=given).request.temperature == taken


def test_longest_answer_has_two_names() -> None:
    assert read(max_tokens=5).request.max_tokens == 5
    assert read(max_completion_tokens=7, max_tokens=5).request.max_tokens == 7


def test_stops_are_a_text_or_some() -> None:
    assert read(stop="END").request.stop == ("END",)
    assert read(stop=["a", "b"]).request.stop == ("a", "b")
    assert read(stop=[]).request.stop == ()


def test_usage_at_the_end_of_a_stream_is_asked_for() -> None:
    assert read(stream=True, stream_options={"include_usage": True}).include_usage
    assert not read(stream=True, stream_options={}).include_usage


def test_what_makes_no_other_answer_is_taken_and_left_aside() -> None:
    harmless = {
        "user": "anna",
        "metadata": {"a": "b"},
        "seed": 7,
        "store": True,
        "presence_penalty": 0.5,
        "frequency_penalty": 0,
        "service_tier": "auto",
        "reasoning_effort": "low",
        "n": 1,
        "logprobs": False,
        "logit_bias": {},
        "modalities": ["text"],
        "functions": [],
        "something_new": 1,
    }

    assert read(**harmless) == read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", None),
        ("model", " "),
        ("model", 1),
        ("model", "m" * 257),
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"1": 1}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy"}),
        ("functions", [{"name": "add"}]),
        ("function_call", {"name": "add"}),
        ("web_search_options", {}),
        ("stream", 1),
        ("stream_options", True),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("max_tokens", 0),
        ("max_completion_tokens", 1.5),
        ("stop", 1),
        ("stop", [""]),
        ("stop", ["a"] * 5),
    ],
)
def test_what_would_make_another_answer_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises((BadRequest, TooLarge)) as refused:
        read(**{name: value})

    assert refused.value.details == {"field": name}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "x": NaN}',
    ],
)
def test_body_that_could_not_be_sent_on_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="body: is not JSON"):
        wanted(given.body(Request("r", "POST /v1", body=body)), Settings())
