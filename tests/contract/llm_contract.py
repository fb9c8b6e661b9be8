"""What every language model must do, whoever serves it. A backend's test class inherits this and gives it the fixture `llm`.

`long_task` must call for more than ten tokens of answer. Real models say what they like, so no test looks for certain words.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chalicelib.errors import BadRequest, ContextTooLong, UnknownModel
from chalicelib.llm import LLM, Event, Finish, JsonForm, Request, Said, Text, Tool, ToolCall, ToolResult

CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Bern", "Rome"]}}, "required": ["city"]}
WEATHER = Tool("weather", "The weather in a city.", CITY)
CLOCK = Tool("clock", "The time in a city.", CITY)
CALL = ToolCall("call_7", "weather", '{"city": "Bern"}')
GREETING = Request([Said("user", "Say hello to the world, please.")], max_tokens=16, temperature=0.0, timeout_s=60)


def asked(*texts: str, system: str = "", max_tokens: int = 16, model: str | None = None) -> Request:
    """Return a request of these messages, the user's first."""
    messages = [Said("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    return Request(messages, system=system, max_tokens=max_tokens, model=model, temperature=0.0, timeout_s=60)


def with_tools(tool_choice: str, *messages: Said) -> Request:
    said = messages or (Said("user", "What is the weather in Bern?"),)
    return Request(said, tools=(WEATHER, CLOCK), tool_choice=tool_choice, max_tokens=100, temperature=0.0)


def text_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def finish_of(events: Sequence[Event]) -> Finish:
    finish = events[-1]
    assert isinstance(finish, Finish)
    return finish


def calls_of(events: Sequence[Event]) -> list[ToolCall]:
    return [event for event in events if isinstance(event, ToolCall)]


class ToolsContract:
    """What must come of a request with tools. `refuses` are the fields that the backend has no way to do."""

    refuses: frozenset[str] = frozenset()

    @pytest.fixture
    def llm(self) -> LLM:
        raise NotImplementedError("each backend's tests say how to make one")

    def answer(self, llm: LLM, request: Request, field: str) -> list[Event]:
        """Return the answer to a request that needs this field; skip the rest of a test that the backend refuses for it."""
        if field not in self.refuses:
            return [event for event in llm.stream(request) if event != Text("")]  # signs of life are no part of it
        with pytest.raises(BadRequest) as refused:
            list(llm.stream(request))
        assert refused.value.field == field
        pytest.skip(f"this model refuses {field}, and says so")

    @pytest.mark.parametrize(("choice", "names"), [("clock", {"clock"}), ("required", {"weather", "clock"})])
    def test_a_tool_that_must_be_called_is_called_and_nothing_is_said(self, llm: LLM, choice: str, names: set[str]) -> None:
        *calls, finish = self.answer(llm, with_tools(choice), "tools")

        assert calls
        for call in calls:
            assert isinstance(call, ToolCall)
            assert call.id
            assert call.name in names
            assert isinstance(json.loads(call.arguments), dict)
        assert finish_of([finish]).stop_reason == "tool_use"

    def test_a_tool_that_may_be_called_is_called_or_the_answer_is_in_words(self, llm: LLM) -> None:
        events = self.answer(llm, with_tools("auto"), "tools")

        assert {call.name for call in calls_of(events)} <= {"weather", "clock"}
        assert calls_of(events) or text_of(events)
        assert bool(calls_of(events)) == (finish_of(events).stop_reason == "tool_use")

    def test_a_tool_that_may_not_be_called_is_not(self, llm: LLM) -> None:
        events = list(llm.stream(with_tools("none")))

        assert text_of(events)
        assert calls_of(events) == []

    @pytest.mark.parametrize("choice", ["auto", "none"])
    def test_what_a_tool_gave_is_part_of_the_question(self, llm: LLM, choice: str) -> None:
        question = Said("user", "What is the weather in Bern?")
        results = (ToolResult(CALL.id, "It is sunny, at 20 degrees, with light winds from the north, and dry."),)

        alone = finish_of(self.answer(llm, with_tools(choice, question), "tools" if choice == "auto" else ""))
        events = self.answer(
            llm, with_tools(choice, question, Said("assistant", "", (CALL,)), Said("user", "", (), results)), "tools"
        )

        assert _read_tokens(finish_of(events)) > _read_tokens(alone)

    def test_words_may_come_with_a_call_and_with_its_result(self, llm: LLM) -> None:
        called = Said("assistant", "I shall look.", (CALL,))
        told = Said("user", "Say it in one word.", (), (ToolResult(CALL.id, ""),))

        assert finish_of(self.answer(llm, with_tools("auto", Said("user", "The weather?"), called, told), "tools"))


class LLMContract(ToolsContract):
    keeps_schemas = False
    """Whether the model can be held to a schema: who only repeats what was said can't."""
    long_task = "Count in words: one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"

    def test_an_answer_is_pieces_of_text_and_one_finish_at_the_end(self, llm: LLM) -> None:
        *pieces, finish = llm.stream(GREETING)

        assert pieces
        assert all(isinstance(piece, Text) for piece in pieces)
        assert text_of(pieces)
        assert isinstance(finish, Finish)

    def test_the_finish_counts_tokens_and_names_the_model_that_answered(self, llm: LLM) -> None:
        finish = finish_of(list(llm.stream(GREETING)))

        assert finish.usage.input_tokens > 0
        assert 0 < finish.usage.output_tokens <= GREETING.max_tokens
        assert finish.model

    def test_an_answer_comes_piece_by_piece(self, llm: LLM) -> None:
        assert len(list(llm.stream(asked(self.long_task)))) > 2

    def test_an_answer_is_no_longer_than_asked_for_and_says_that_it_was_cut(self, llm: LLM) -> None:
        finish = finish_of(list(llm.stream(asked(self.long_task, max_tokens=3))))

        assert finish.stop_reason == "max_tokens"
        assert finish.usage.output_tokens <= 3

    def test_a_model_that_is_not_known_is_refused_as_such(self, llm: LLM) -> None:
        with pytest.raises(UnknownModel):
            list(llm.stream(asked("Hello.", model="no-such-model")))

    def test_the_first_of_the_models_is_the_default(self, llm: LLM) -> None:
        default = llm.models()[0]

        named = finish_of(list(llm.stream(asked("Hello there.", model=default.id))))
        unnamed = finish_of(list(llm.stream(asked("Hello there."))))

        assert named.model == unnamed.model
        assert default.context_tokens > 0

    def test_a_model_is_known_by_its_aliases(self, llm: LLM) -> None:
        for alias in llm.models()[0].aliases:
            assert finish_of(list(llm.stream(asked("Hello.", model=alias, max_tokens=2))))

    def test_closing_an_answer_early_is_clean_and_the_next_one_is_whole(self, llm: LLM) -> None:
        answer = llm.stream(asked(self.long_task))
        next(answer)

        answer.close()

        assert next(answer, None) is None
        assert finish_of(list(llm.stream(GREETING)))

    def test_an_answer_that_nobody_reads_costs_nothing(self, llm: LLM) -> None:
        llm.stream(asked(self.long_task)).close()

        assert finish_of(list(llm.stream(GREETING)))

    def test_two_answers_come_side_by_side(self, llm: LLM) -> None:
        first, second = llm.stream(asked(self.long_task)), llm.stream(asked(self.long_task))

        beginnings = [next(first), next(second)]
        rests = [list(second), list(first)]

        assert all(isinstance(beginning, Text) for beginning in beginnings)
        assert all(finish_of(rest) for rest in rests)

    def test_many_who_ask_at_once_all_get_an_answer(self, llm: LLM) -> None:
        with ThreadPoolExecutor(5) as people:
            answers = list(people.map(lambda number: list(llm.stream(asked(f"Hello, I am number {number}."))), range(5)))

        assert all(finish_of(answer) and text_of(answer) for answer in answers)

    def test_characters_of_every_plane_go_in_and_come_out_whole(self, llm: LLM) -> None:
        text = text_of(list(llm.stream(asked("Repeat: Zoë 東京 🎉 👩‍👩‍👧‍👦 العربية \u0000 ½", max_tokens=40))))

        assert "\ufffd" not in text
        assert text.encode()

    def test_a_system_prompt_and_earlier_turns_are_part_of_the_question(self, llm: LLM) -> None:
        alone = finish_of(list(llm.stream(asked("And now?"))))

        within = finish_of(list(llm.stream(asked("My name is Ada.", "Hello Ada.", "And now?", system="You are a parrot."))))

        assert _read_tokens(within) > _read_tokens(alone)

    def test_the_same_question_at_temperature_0_gets_the_same_answer(self, llm: LLM) -> None:
        assert text_of(list(llm.stream(GREETING))) == text_of(list(llm.stream(GREETING)))

    def test_a_question_that_is_too_long_is_refused_as_such_or_answered(self, llm: LLM) -> None:
        words = "word " * (llm.models()[0].context_tokens + 100)

        try:
            answer = list(llm.stream(asked(words, max_tokens=2)))
        except ContextTooLong:
            return
        assert finish_of(answer)

    def test_an_answer_in_json_is_an_object(self, llm: LLM) -> None:
        request = replace(asked("Ada is 36 years old. Who is it?", max_tokens=200), json_form=JsonForm())

        events = self.answer(llm, request, "response_format")

        assert isinstance(json.loads(text_of(events)), dict)
        assert finish_of(events).stop_reason == "end"

    def test_an_answer_in_json_has_the_form_that_was_asked_for(self, llm: LLM) -> None:
        properties = {"name": {"type": "string", "enum": ["Ada", "Bob"]}, "age": {"type": "integer"}}
        schema = {"type": "object", "properties": properties, "required": ["name", "age"], "additionalProperties": False}
        request = replace(asked("Ada is 36 years old. Who is it?", max_tokens=200), json_form=JsonForm(schema, "person"))

        events = self.answer(llm, request, "response_format")

        answer = json.loads(text_of(events))
        assert isinstance(answer, dict)
        assert calls_of(events) == []
        assert finish_of(events).stop_reason == "end"
        if self.keeps_schemas:
            assert answer.keys() == {"name", "age"}
            assert isinstance(answer["age"], int)

    def test_an_answer_ends_before_a_stop_text_and_without_it(self, llm: LLM) -> None:
        whole = text_of(list(llm.stream(asked(self.long_task))))
        stop = whole.split()[4]

        events = self.answer(llm, replace(asked(self.long_task), stop=("no such text", stop)), "stop")

        assert text_of(events) == whole.partition(stop)[0]
        assert finish_of(events).stop_reason in ("stop_sequence", "end")

    def test_an_answer_of_the_likeliest_words_only_is_an_answer(self, llm: LLM) -> None:
        assert text_of(list(llm.stream(replace(GREETING, temperature=None, top_p=0.1))))


def _read_tokens(finish: Finish) -> int:
    usage = finish.usage
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
