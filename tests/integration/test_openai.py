"""A server of OpenAI's protocol, over real HTTP: what PAI asks of it, and what it makes of everything that goes wrong."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib.errors import (
    BadRequest,
    ContextTooLong,
    GuardrailIntervened,
    Misconfigured,
    ModelAccessDenied,
    ModelInterrupted,
    ModelMissing,
    ModelQuotaSpent,
    ModelRejected,
    ModelThrottled,
    ModelTimeout,
    ModelUnreachable,
    PaiError,
    UnknownModel,
)
from chalicelib.llm import LLM, Event, Finish, JsonForm, Request, Said, Text, Tool, ToolCall, ToolResult
from chalicelib.llm.openai import build
from chalicelib.records import Usage
from chalicelib.settings import Settings
from tests.contract.llm_contract import finish_of, text_of
from tests.standins.openai import (
    DONE,
    Act,
    OpenAIStandin,
    Refuse,
    Stream,
    call_delta,
    delta,
    error,
    event,
    openai_standin,
    usage,
)

SECRET = "Bartholomew likes carrots"
ASK = Request([Said("user", f"{SECRET}, remember that.")], system="Be brief.", max_tokens=9, timeout_s=5)
HELLO = [event(delta("Hel")), event(delta("lo")), event(delta("", "stop")), event(usage(7, 2)), DONE]


@pytest.fixture
def standin() -> Iterator[OpenAIStandin]:
    with openai_standin() as standin:
        yield standin


def llm_of(standin: OpenAIStandin, **settings: str) -> LLM:
    return build(Settings(openai_base_url=standin.url, **settings))  # type: ignore[arg-type]


def answer(standin: OpenAIStandin, act: Act, request: Request = ASK) -> list[Event]:
    """Return the events of the answer to one request that gets this act."""
    standin.acts = [act]
    return list(llm_of(standin, model="standin-large").stream(request))


def refusal(standin: OpenAIStandin, act: Act) -> PaiError:
    """Return the error that this act becomes, which never repeats what was said."""
    with pytest.raises(PaiError) as caught:
        answer(standin, act)
    assert SECRET not in caught.value.message
    return caught.value


class TestWhatIsAsked:
    def test_question_goes_out_as_a_streamed_chat_with_its_system_prompt(self, standin: OpenAIStandin) -> None:
        answer(standin, Stream(HELLO), Request([*ASK.messages], system="Be brief.", max_tokens=9, temperature=0.5))

        assert standin.seen[-1].path == "/v1/chat/completions"
        assert standin.seen[-1].body == {
            "model": "standin-large",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASK.messages[0].text}],
            "max_tokens": 9,
            "temperature": 0.5,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def test_key_is_sent_and_neither_logged_nor_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        with openai_standin(api_key="sk-right") as standin:
            ours, theirs = llm_of(standin, openai_api_key="sk-right"), llm_of(standin, openai_api_key="sk-wrong")
            list(ours.stream(ASK))
            with pytest.raises(ModelAccessDenied) as caught:
                list(theirs.stream(ASK))

        assert "PAI_OPENAI_API_KEY" in caught.value.message
        assert "sk-" not in caplog.text + caught.value.message

    def test_no_key_sends_no_authorization(self, standin: OpenAIStandin) -> None:
        answer(standin, Stream(HELLO))

        assert "Authorization" not in standin.seen[-1].headers

    def test_one_connection_serves_one_answer_after_the_other(
        self, standin: OpenAIStandin, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "urllib3")
        llm = llm_of(standin, model="standin-large")

        for _ in range(3):
            list(llm.stream(ASK))

        assert caplog.text.count("Starting new HTTP connection") == 1

    @pytest.mark.parametrize(
        ("sentence", "sent"),
        [
            (
                {"max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."},
                {"max_completion_tokens": 9},
            ),
            ({"temperature": "Unsupported value: 'temperature' does not support 0.5 with this model."}, {"max_tokens": 9}),
            ({"stream_options": "Extra inputs are not permitted: stream_options"}, {"max_tokens": 9, "temperature": 0.5}),
        ],
    )
    def test_what_a_model_refuses_is_left_out_and_not_tried_again(
        self, standin: OpenAIStandin, sentence: dict[str, str], sent: dict[str, object]
    ) -> None:
        standin.refused_members = sentence
        llm = llm_of(standin, model="standin-large")
        request = Request(ASK.messages, max_tokens=9, temperature=0.5)

        answers = [text_of(list(llm.stream(request))) for _ in range(2)]

        assert answers == [ASK.messages[0].text] * 2
        assert len(standin.seen) == 3
        refused = next(iter(sentence))
        assert refused in standin.seen[0].body
        for later in standin.seen[1:]:
            assert refused not in later.body
            assert later.body | sent == later.body

    def test_all_that_can_be_left_out_is_left_out_one_by_one(self, standin: OpenAIStandin) -> None:
        standin.refused_members = {
            "max_tokens": "Use 'max_completion_tokens' instead.",
            "temperature": "No temperature.",
            "stream_options": "No stream_options.",
        }

        events = list(llm_of(standin, model="standin-large").stream(Request(ASK.messages, temperature=1.0)))

        assert text_of(events) == ASK.messages[0].text
        assert len(standin.seen) == 4

    def test_what_can_not_be_left_out_is_an_error_after_one_try(self, standin: OpenAIStandin) -> None:
        assert isinstance(refusal(standin, Refuse(400, error("invalid_value", f"You said: {SECRET}"))), ModelRejected)
        assert len(standin.seen) == 1


class TestWhatComesBack:
    def test_text_usage_stop_reason_and_the_model_that_answered(self, standin: OpenAIStandin) -> None:
        events = answer(standin, Stream(HELLO))

        assert events == [Text("Hel"), Text("lo"), Finish(Usage(7, 2), "end", "standin-large")]

    def test_what_the_server_had_cached_is_counted_apart(self, standin: OpenAIStandin) -> None:
        events = answer(standin, Stream([*HELLO[:3], event(usage(100, 2, cached_tokens=64)), DONE]))

        assert events[-1] == Finish(Usage(36, 2, cache_read_tokens=64), "end", "standin-large")

    def test_server_that_does_not_count_is_estimated_and_the_log_says_so(
        self, standin: OpenAIStandin, caplog: pytest.LogCaptureFixture
    ) -> None:
        events = answer(standin, Stream([*HELLO[:3], DONE]))

        # 9 + 41 bytes asked, 5 said, at four bytes a token.
        assert events[-1] == Finish(Usage(13, 2), "end", "standin-large")
        assert "estimated" in caplog.text

    def test_events_cut_anywhere_even_within_a_character_come_out_whole(self, standin: OpenAIStandin) -> None:
        said = "Zoë 東京 🎉 👩‍👩‍👧‍👦"
        stream = event(json.dumps(delta(said), ensure_ascii=False)) + b"".join(HELLO[2:])

        events = answer(standin, Stream([stream[at : at + 1] for at in range(len(stream))]))

        assert text_of(events) == said

    def test_comments_blank_lines_and_other_line_ends_are_no_part_of_it(self, standin: OpenAIStandin) -> None:
        stream = (
            b"".join([b": keep-alive\n\n", b"event: message\n", *HELLO]).replace(b"\n", b"\r\n").replace(b"data: ", b"data:")
        )

        assert text_of(answer(standin, Stream([stream]))) == "Hello"

    def test_reasoning_is_not_part_of_the_answer(self, standin: OpenAIStandin) -> None:
        thought = delta("")
        thought["choices"][0]["delta"] = {"reasoning_content": "Hmm.", "content": None}

        assert answer(standin, Stream([event(thought), *HELLO]))[0] == Text("Hel")

    def test_answer_that_says_why_it_ended_is_whole_without_the_closing_mark(self, standin: OpenAIStandin) -> None:
        assert text_of(answer(standin, Stream(HELLO[:-1]))) == "Hello"


QUESTION, CALL = Said("user", "What is the weather?"), ToolCall("call_7", "weather", '{"city": "Bern"}')
OPEN = {"type": "object", "properties": {"city": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["city"], "additionalProperties": False}
WEATHER = Tool("weather", "The weather in a city.", OPEN)
REFUSED = [  # what servers really say
    ("tools", "registry.ollama.ai/library/gemma:2b does not support tools"),
    ("tools", '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
    ("tools", 'No endpoints found that support tool use. Try disabling "weather".'),
    ("response_format", "'response_format' of type 'json_schema' is not supported with this model."),
    ("response_format", "This response_format type is unavailable now"),
    ("stop", "Unsupported parameter: 'stop' is not supported with this model."),
]
FULL = Request([QUESTION], tools=(WEATHER,), json_form=JsonForm(CLOSED, "town"), stop=("END",), top_p=0.5)


class TestTools:
    def test_all_of_a_request_goes_out_as_the_protocol_has_it(self, standin: OpenAIStandin) -> None:
        conversation = [
            QUESTION,
            Said("assistant", "I look.", (CALL,)),
            Said("user", "And now?", (), (ToolResult("call_7", "Sun."),)),
        ]
        request = replace(FULL, messages=conversation, tool_choice="weather")

        answer(standin, Stream(HELLO), request)

        body, function = standin.seen[-1].body, {"name": "weather", "arguments": '{"city": "Bern"}'}
        assert body["messages"] == [
            {"role": "user", "content": "What is the weather?"},
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [{"id": "call_7", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "call_7", "content": "Sun."},
            {"role": "user", "content": "And now?"},
        ]
        described = {"name": "weather", "description": "The weather in a city.", "parameters": OPEN}
        assert body["tools"] == [{"type": "function", "function": described}]
        assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
        form = {"name": "town", "schema": CLOSED, "strict": True}
        assert body["response_format"] == {"type": "json_schema", "json_schema": form}
        assert (body["stop"], body["top_p"]) == (["END"], 0.5)

    def test_results_that_nobody_says_anything_to_are_the_last_message(self, standin: OpenAIStandin) -> None:
        conversation = [QUESTION, Said("assistant", "", (CALL,)), Said("user", "", (), (ToolResult("call_7", "Sun."),))]

        answer(standin, Stream(HELLO), Request(conversation))

        assert [message["role"] for message in standin.seen[-1].body["messages"]] == ["user", "assistant", "tool"]
        assert standin.seen[-1].body["messages"][1]["content"] is None

    @pytest.mark.parametrize("choice", ["none", "required"])
    def test_a_choice_that_is_none_of_a_tool_goes_out_as_a_word(self, standin: OpenAIStandin, choice: str) -> None:
        answer(standin, Stream(HELLO), replace(FULL, tool_choice=choice))

        assert standin.seen[-1].body["tool_choice"] == choice

    def test_a_schema_that_leaves_members_open_is_not_called_strict(self, standin: OpenAIStandin) -> None:
        nested = {**CLOSED, "properties": {"city": {"anyOf": [{"type": "null"}, OPEN]}}}
        for schema in (OPEN, nested):
            answer(standin, Stream(HELLO), replace(FULL, json_form=JsonForm(schema)))

            assert "strict" not in standin.seen[-1].body["response_format"]["json_schema"]

    def test_a_schema_that_strictness_does_not_know_is_asked_for_without_it(self, standin: OpenAIStandin) -> None:
        sentence = "Invalid schema for response_format 'town': 'format' is not permitted."
        standin.acts = [Refuse(400, error("invalid", sentence, param="response_format")), Stream(HELLO)]

        assert text_of(list(llm_of(standin, model="standin-large").stream(FULL))) == "Hello"
        assert ["strict" in seen.body["response_format"]["json_schema"] for seen in standin.seen] == [True, False]

    @pytest.mark.parametrize(("question", "asks"), [("Who?", True), ("Who? Answer in JSON.", False)])
    def test_json_is_asked_for_in_words_too_unless_somebody_did(
        self, standin: OpenAIStandin, question: str, asks: bool
    ) -> None:
        request = Request([Said("user", question)], system="Be brief.", json_form=JsonForm())

        list(llm_of(standin, model="standin-large").stream(request))

        assert ("JSON object" in standin.seen[-1].body["messages"][0]["content"]) is asks
        assert standin.seen[-1].body["messages"][0]["content"].startswith("Be brief.")

    def test_calls_come_in_pieces_and_go_out_whole(self, standin: OpenAIStandin) -> None:
        pieces = [
            delta("I look."),
            call_delta(0, id="a", name="weather"),
            call_delta(0, '{"city": '),
            call_delta(0, '"Bern"}'),
            call_delta(1, id="b", name="clock"),
            delta("", "tool_calls"),
            usage(7, 2),
        ]

        events = answer(standin, Stream([*map(event, pieces), DONE]))

        assert events == [
            Text("I look."),
            ToolCall("a", "weather", '{"city": "Bern"}'),
            ToolCall("b", "clock", "{}"),
            Finish(Usage(7, 2), "tool_use", "standin-large"),
        ]

    def test_calls_that_a_server_all_numbers_0_and_ends_with_stop_are_told_apart(self, standin: OpenAIStandin) -> None:
        pieces = [call_delta(0, "{}", id="a", name="weather"), call_delta(0, "{}", id="b", name="clock"), delta("", "stop")]

        *calls, finish = answer(standin, Stream([*map(event, pieces), DONE]))

        assert calls == [ToolCall("a", "weather", "{}"), ToolCall("b", "clock", "{}")]
        assert finish_of([finish]).stop_reason == "tool_use"

    def test_a_call_without_an_id_gets_one_and_arguments_that_are_no_text_become_one(self, standin: OpenAIStandin) -> None:
        chunk = call_delta(0, name="weather")
        chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] = {"city": "Bern"}

        call = answer(standin, Stream([event(chunk), event(delta("", "stop")), DONE]))[0]

        assert isinstance(call, ToolCall)
        assert call.id
        assert call.arguments == '{"city": "Bern"}'

    def test_a_call_that_was_cut_short_is_left_out_and_the_end_says_so(self, standin: OpenAIStandin) -> None:
        pieces = [call_delta(0, '{"city": ', id="a", name="weather"), delta("", "length")]

        [finish] = answer(standin, Stream([*map(event, pieces), DONE]))

        assert finish_of([finish]).stop_reason == "max_tokens"

    @pytest.mark.parametrize("arguments", ['{"city": ', "[1]"])
    def test_a_call_that_can_not_be_read_breaks_the_answer_off(self, standin: OpenAIStandin, arguments: str) -> None:
        pieces = [call_delta(0, arguments, id="a", name="weather"), delta("", "tool_calls")]

        assert isinstance(refusal(standin, Stream([*map(event, pieces), DONE])), ModelInterrupted)

    @pytest.mark.parametrize(("field", "sentence"), REFUSED)
    @pytest.mark.parametrize("status", [400, 404])
    def test_what_a_server_does_not_take_is_refused_by_its_name_and_never_left_out(
        self, standin: OpenAIStandin, field: str, sentence: str, status: int
    ) -> None:
        standin.acts = [Refuse(status, error("bad_request", f"{sentence} You said: {SECRET}"))] * 2

        with pytest.raises(BadRequest) as refused:
            list(llm_of(standin, model="standin-large").stream(FULL))

        assert refused.value.field == field
        assert SECRET not in refused.value.message

    @pytest.mark.parametrize(("param", "field"), [("tools[0].function.parameters", "tools"), ("stop", "stop")])
    def test_what_a_server_names_is_what_it_means(self, standin: OpenAIStandin, param: str, field: str) -> None:
        standin.acts = [Refuse(400, error("bad", "Something with a response format, tools and a stop.", param=param))]

        with pytest.raises(BadRequest) as refused:
            list(llm_of(standin, model="standin-large").stream(FULL))

        assert refused.value.field == field

    def test_results_without_their_calls_are_refused_by_name(self, standin: OpenAIStandin) -> None:
        request = replace(FULL, messages=[Said("user", "", (), (ToolResult("call_7", "Sun."),))])

        with pytest.raises(BadRequest, match="messages"):
            list(llm_of(standin, model="standin-large").stream(request))

    def test_a_refusal_of_what_was_not_asked_for_is_about_the_model(self, standin: OpenAIStandin) -> None:
        assert isinstance(refusal(standin, Refuse(400, error("bad", "tools, stop, response_format"))), ModelRejected)

    def test_top_p_is_left_out_where_it_is_refused(self, standin: OpenAIStandin) -> None:
        standin.refused_members = {"top_p": "Unsupported parameter: 'top_p' is not supported with this model."}

        assert text_of(list(llm_of(standin, model="standin-large").stream(Request([QUESTION], top_p=0.5))))

    def test_tools_and_results_count_where_a_server_does_not(self, standin: OpenAIStandin) -> None:
        plain, full = (
            finish_of(answer(standin, Stream([*HELLO[:3], DONE]), request)).usage.input_tokens
            for request in (Request([QUESTION]), FULL)
        )

        assert full > plain + 20


class TestModels:
    def test_server_s_models_are_listed_and_the_first_is_the_default(self, standin: OpenAIStandin) -> None:
        llm = llm_of(standin)

        assert [model.id for model in llm.models()] == ["standin-large", "standin-small"]
        assert finish_of(list(llm.stream(ASK))).model == "standin-large"

    def test_configured_model_comes_first_and_is_not_asked_for(self, standin: OpenAIStandin) -> None:
        llm = llm_of(standin, model="standin-small")

        assert finish_of(list(llm.stream(ASK))).model == "standin-small"
        assert [seen.method for seen in standin.seen] == ["POST"]
        assert [model.id for model in llm.models()] == ["standin-small", "standin-large"]

    def test_owner_s_list_of_models_is_all_that_a_request_may_name(self, standin: OpenAIStandin) -> None:
        standin.models = ("cheap", "dear", "very-dear")
        llm = llm_of(standin, model="cheap", models="dear")

        assert [model.id for model in llm.models()] == ["cheap", "dear"]
        assert finish_of(list(llm.stream(Request(ASK.messages, model="dear")))).model == "dear"
        with pytest.raises(UnknownModel, match="cheap, dear"):
            list(llm.stream(Request(ASK.messages, model="very-dear")))

    def test_default_that_the_server_lacks_says_how_to_get_it(self, standin: OpenAIStandin) -> None:
        error = refusal_of_model(standin, "llama3.2", "model 'llama3.2' not found")

        assert isinstance(error, ModelMissing)
        assert "ollama pull llama3.2" in error.message

    def test_server_without_any_model_says_how_to_get_one(self, standin: OpenAIStandin) -> None:
        standin.models = ()

        with pytest.raises(ModelMissing, match="ollama pull"):
            llm_of(standin).models()

    def test_model_that_was_removed_since_it_was_listed_is_unknown(self, standin: OpenAIStandin) -> None:
        llm = llm_of(standin)
        llm.models()
        standin.models = ("standin-large",)

        with pytest.raises(UnknownModel):
            list(llm.stream(Request(ASK.messages, model="standin-small")))

    def test_list_that_is_none_is_an_error_with_the_address(self, standin: OpenAIStandin) -> None:
        for content in ("<html>", {"data": 5}, {"no": "data"}):
            standin.acts = [Refuse(200, content)]
            with pytest.raises(ModelUnreachable, match="/v1"):
                llm_of(standin).models()


def refusal_of_model(standin: OpenAIStandin, model: str, sentence: str) -> PaiError:
    standin.acts = [Refuse(404, {"error": {"message": sentence, "type": "not_found_error"}})]
    with pytest.raises(PaiError) as caught:
        list(llm_of(standin, model=model).stream(ASK))
    return caught.value


class TestRefusals:
    @pytest.mark.parametrize(
        ("act", "error_class"),
        [
            (Refuse(401, error("invalid_api_key")), ModelAccessDenied),
            (Refuse(403, error("forbidden")), ModelAccessDenied),
            (Refuse(402, "Insufficient Balance"), ModelQuotaSpent),
            (Refuse(404, error("model_not_found", "The model `standin-large` does not exist.")), ModelMissing),
            (Refuse(404, "404 page not found"), ModelUnreachable),
            (Refuse(405, ""), ModelUnreachable),
            (Refuse(307, "", {"Location": "http://elsewhere.invalid/"}), ModelUnreachable),
            (Refuse(200, "<html>Welcome</html>", {"Content-Type": "text/html"}), ModelUnreachable),
            (Refuse(400, error("context_length_exceeded", "maximum context length is 8192 tokens")), ContextTooLong),
            (Refuse(400, {"error": {"type": "exceed_context_size_error", "message": "(1024 tokens)"}}), ContextTooLong),
            (
                Refuse(400, {"object": "error", "message": "This model's maximum context length is 4096 tokens."}),
                ContextTooLong,
            ),
            (Refuse(400, error("content_filter", "ResponsibleAIPolicyViolation")), GuardrailIntervened),
            (Refuse(400, error("invalid_value", f"said {SECRET}")), ModelRejected),
            (Refuse(422, {"detail": [{"msg": f"bad: {SECRET}"}]}), ModelRejected),
            (Refuse(408, ""), ModelTimeout),
            (Refuse(429, error("rate_limit_exceeded")), ModelThrottled),
            (Refuse(429, error("insufficient_quota")), ModelQuotaSpent),
            (Refuse(500, "Internal Server Error"), ModelUnreachable),
            (Refuse(503, {"error": "server busy"}), ModelThrottled),
            (Refuse(504, ""), ModelTimeout),
            (Refuse(529, error("overloaded_error")), ModelThrottled),
        ],
    )
    def test_each_refusal_is_one_error_that_says_what_to_do(
        self, standin: OpenAIStandin, act: Refuse, error_class: type[PaiError]
    ) -> None:
        caught = refusal(standin, act)

        assert type(caught) is error_class
        assert len(caught.message) > 30

    def test_throttled_passes_on_how_long_to_wait(self, standin: OpenAIStandin) -> None:
        assert refusal(standin, Refuse(429, error("rate_limit"), {"Retry-After": "17"})).retry_after_s == 17
        assert refusal(standin, Refuse(429, "", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})).retry_after_s == 10

    def test_too_long_says_how_long_the_window_is(self, standin: OpenAIStandin) -> None:
        act = Refuse(400, error("context_length_exceeded", "This model's maximum context length is 8192 tokens."))

        assert "8192 tokens" in refusal(standin, act).message


class TestBrokenStreams:
    @pytest.mark.parametrize(
        ("act", "error_class"),
        [
            (Stream(HELLO[:2], then="drop"), ModelInterrupted),
            (Stream(HELLO[:2]), ModelInterrupted),
            (Stream([]), ModelInterrupted),
            (Stream([*HELLO[:2], DONE]), ModelInterrupted),
            (Stream([HELLO[0], event("{not json"), DONE]), ModelInterrupted),
            (Stream([HELLO[0], event("[1, 2]"), DONE]), ModelInterrupted),
            (Stream([HELLO[0], event({"choices": 5}), DONE]), ModelInterrupted),
            (Stream([HELLO[0], event({"choices": [{"delta": {"content": 5}}]}), DONE]), ModelInterrupted),
            (Stream([HELLO[0], event(error("server_error", f"said {SECRET}"))]), ModelInterrupted),
            (Stream([HELLO[0], event({"error": "out of memory"})]), ModelInterrupted),
            (Stream([HELLO[0], event(error("rate_limit_exceeded"))]), ModelThrottled),
            (Stream([HELLO[0], event(error("insufficient_quota"))]), ModelQuotaSpent),
            (Stream([event(error("context_length_exceeded"))]), ContextTooLong),
            (Stream([HELLO[0], event(delta("", "content_filter")), DONE]), GuardrailIntervened),
        ],
    )
    def test_an_answer_that_does_not_end_well_ends_in_an_error(
        self, standin: OpenAIStandin, act: Stream, error_class: type[PaiError]
    ) -> None:
        assert type(refusal(standin, act)) is error_class

    def test_what_came_before_the_break_is_with_the_reader(self, standin: OpenAIStandin) -> None:
        standin.acts = [Stream(HELLO[:2], then="drop")]
        events = llm_of(standin, model="standin-large").stream(ASK)

        assert [next(events), next(events)] == [Text("Hel"), Text("lo")]
        with pytest.raises(ModelInterrupted):
            next(events)

    def test_silence_ends_when_the_caller_has_waited_long_enough(self, standin: OpenAIStandin) -> None:
        for pieces in ([], HELLO[:1]):
            standin.left.clear()
            act = Stream(pieces, then="hang")
            began = time.monotonic()

            with pytest.raises(ModelTimeout):
                answer(standin, act, Request(ASK.messages, timeout_s=0.2))

            assert time.monotonic() - began < 5
            assert standin.left.wait(5), "the connection is closed, so the server can stop"

    def test_signs_of_life_without_a_word_do_not_prolong_the_wait(self, standin: OpenAIStandin) -> None:
        standin.acts = [Stream([], then="endless", more=b": thinking\n\n")]
        events = llm_of(standin, model="standin-large").stream(Request(ASK.messages, timeout_s=0.2))

        with pytest.raises(ModelTimeout):
            next(events)

    def test_closing_the_answer_closes_the_connection(self, standin: OpenAIStandin) -> None:
        standin.acts = [Stream(HELLO[:1], then="endless")]
        events = llm_of(standin, model="standin-large").stream(ASK)
        next(events)
        assert not standin.left.is_set()

        events.close()

        assert standin.left.wait(5)


class TestNobodyThere:
    def test_nothing_listening_says_what_to_start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"

        llm = build(Settings(openai_base_url=url, model="any"))

        for ask in (llm.models, lambda: list(llm.stream(ASK))):
            with pytest.raises(ModelUnreachable, match="ollama serve") as caught:
                ask()
            assert url in caught.value.message

    def test_server_that_accepts_and_says_nothing_is_a_timeout(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"

            with pytest.raises(ModelTimeout):
                list(build(Settings(openai_base_url=url, model="any")).stream(Request(ASK.messages, timeout_s=0.2)))

    @pytest.mark.parametrize("url", ["localhost:11434", "ftp://host/v1", "", "http://", "http://[half"])
    def test_address_that_is_none_is_named_with_its_setting(self, url: str) -> None:
        with pytest.raises(Misconfigured, match="PAI_OPENAI_BASE_URL"):
            build(Settings(openai_base_url=url))

    def test_password_in_the_address_is_not_shown(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        with pytest.raises(ModelUnreachable) as caught:
            build(Settings(openai_base_url=f"http://me:hunter2@127.0.0.1:{port}/v1")).models()

        assert "hunter2" not in caught.value.message
