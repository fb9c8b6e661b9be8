"""What models say, as OpenAI's clients are told it: words, chunks, errors, vectors, lists of models."""

import json
import random
import threading
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace

import pytest

from chalicelib import errors
from chalicelib.chat.markers import anatomy
from chalicelib.chat.prompt import Findings
from chalicelib.embedder import Space
from chalicelib.errors import BadRequest, GuardrailIntervened, ModelInterrupted, ModelTimeout, PaiError, UnknownModel
from chalicelib.http import Reply, Request
from chalicelib.llm import Event, Finish, JsonForm, Said, Text, ToolCall, ToolResult
from chalicelib.llm import Request as Question
from chalicelib.metering import Meter
from chalicelib.metering.ledger import date_of
from chalicelib.records import Chunk, Citation, ModelInfo, Passage, Principal, Retrieval, Turn, Usage
from chalicelib.settings import Settings
from chalicelib.store.memory import MemoryStore
from chalicelib.v1 import embeddings, failures, models, stream
from chalicelib.v1.answer import Frame, counts
from chalicelib.v1.ask import Wanted
from chalicelib.v1.completions import Completions, End, Step
from chalicelib.v1.given import Given
from chalicelib.v1.wording import Wording
from tests.standins.scripted import ScriptedLLM

NOW = 1_800_000_000.0
ME = Principal("me", "k1")
ADD = ToolCall("c1", "add", '{"a": 1}')
SUB = ToolCall("c2", "sub", "{}")
QUESTION = Question((Said("user", "May I keep a dog?"),))
CITED = Citation(1, "d1", "0", "lease.pdf", 1, "The tenant may keep one small dog.", 0.9)

# Words


def pieces(text: str, random_: random.Random) -> list[str]:
    """Cut a text anywhere."""
    cuts = sorted(random_.sample(range(1, len(text)), min(len(text) - 1, 12)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "The tenant may keep a dog [1]. The rent is due [2, 3].",
        "One 【4†source】 two [passage 2], three.",
        "As it says [1](https://example.com/x), and [2][ref] so on.",
        "Use `items[1] + items[2]` here [1].",
        "Like this:\n```python\nfirst = items[1]\nrest = items[2:]\n```\nThat is all [1].",
        "A list [not a mark], a [link](https://example.com), an array [ 1.",
        "| a [1] | b |\n|---|---|\n\n# Heading [2]\n\nText [1].",
    ],
)
def test_marks_that_a_model_wrote_are_not_sent_wherever_the_pieces_are_cut(text: str) -> None:
    for seed in range(30):
        words = Wording(passages=3)
        said = [words.take(piece) for piece in pieces(text, random.Random(seed))]
        assert "".join(said) + words.take("", last=True) == anatomy(text, 3).text
        assert words.heard == text


def test_words_without_marks_are_sent_as_they_come() -> None:
    words = Wording(passages=3)

    assert [words.take(piece) for piece in ("The", " tenant", " may.")] == ["The", " tenant", " may."]


def test_marks_are_left_alone_where_there_are_no_passages() -> None:
    words = Wording()

    assert [words.take("[1"), words.take("] and 【2】")] == ["[1", "] and 【2】"]


def test_character_that_comes_in_two_halves_is_made_whole() -> None:
    words = Wording()

    assert [words.take("a\ud83d"), words.take("\ude00b\ud83d"), words.take("", last=True)] == ["a", "😀b", "\ufffd"]


# Answers


def says(*steps: Event | PaiError | Callable[[], None], asked: list[Question] | None = None) -> Completions:
    """A model that says this, without documents."""
    return Completions(_meter(steps, asked if asked is not None else []), None)


def _meter(steps: Iterable[Event | PaiError | Callable[[], None]], asked: list[Question]) -> Meter:
    def act(request: Question) -> Iterable[Event | PaiError]:
        asked.append(request)
        for step in steps:
            if callable(step):
                step()
            else:
                yield step

    return Meter(ScriptedLLM([act]), MemoryStore(lambda: NOW), Settings(), lambda: NOW)


def finish(reason: str = "end") -> Finish:
    return Finish(Usage(10, 2), reason, "answering")  # type: ignore[arg-type]


PLAIN = Wanted("m", QUESTION)
FRAME = Frame("m", id="i", created=1)


def heard(completions: Completions, wanted: Wanted = PLAIN, seconds: float = 60) -> list[Step]:
    return list(completions.answer(ME, wanted, time.monotonic() + seconds))


def ending(completions: Completions, wanted: Wanted = PLAIN, seconds: float = 60) -> End:
    end = heard(completions, wanted, seconds)[-1]
    assert isinstance(end, End)
    return end


@pytest.mark.parametrize(
    ("reason", "said"),
    [("end", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"), ("deadline", "length")],
)
def test_reasons_have_openais_names(reason: str, said: str) -> None:
    assert ending(says(Text("Hi"), finish(reason))) == End(said, Usage(10, 2), "answering", "Hi")


def test_answer_with_tool_calls_ends_for_them() -> None:
    assert ending(says(ADD, finish("end"))).reason == "tool_calls"
    assert ending(says(ADD, finish("max_tokens"))).reason == "length"


def test_only_the_first_of_several_tool_calls_is_given_where_one_is_wanted() -> None:
    both = says(ADD, SUB, finish("tool_use"))

    assert heard(both)[:-1] == [ADD, SUB]
    assert heard(both, Wanted("m", QUESTION, one_call=True))[:-1] == [ADD]


def test_answer_ends_at_the_deadline_with_what_there_is() -> None:
    end = ending(says(Text("Some words"), Text(" never heard"), finish()), seconds=0)

    assert (end.reason, end.text, end.model) == ("length", "Some words", "scripted")
    assert end.usage.input_tokens > 0 < end.usage.output_tokens


def test_model_that_gives_up_after_the_deadline_has_answered_as_far_as_it_came() -> None:
    late = says(Text("Some words"), lambda: time.sleep(0.05), ModelTimeout("Too slow."), finish())

    assert ending(late, seconds=0.04).reason == "length"
    with pytest.raises(ModelTimeout):
        heard(late, seconds=60)
    with pytest.raises(ModelTimeout):
        heard(says(ModelTimeout("Too slow.")), seconds=0)


def test_answer_that_a_guardrail_ends_is_filtered_and_a_question_that_it_refuses_fails() -> None:
    end = ending(says(Text("Well"), GuardrailIntervened("No.")))

    assert (end.reason, end.text, end.model) == ("content_filter", "Well", "scripted")
    with pytest.raises(GuardrailIntervened):
        heard(says(GuardrailIntervened("No.")))


@pytest.mark.parametrize(
    ("steps", "seconds"), [([Text("Let me see."), ADD, GuardrailIntervened("No.")], 60), ([Text("Let me"), Text(" see.")], 0)]
)
def test_answer_that_is_cut_off_says_what_is_counted_of_it(steps: Sequence[Event | PaiError], seconds: float) -> None:
    meter = _meter(steps, [])

    end = ending(Completions(meter, None), seconds=seconds)

    [line] = meter.ledger.days(date_of(NOW)[:7])[0].lines()
    assert (line.model, line.usage) == (end.model, end.usage)


def test_answer_without_an_end_broke_off() -> None:
    with pytest.raises(ModelInterrupted):
        heard(says(Text("Well")))


def test_model_is_told_how_long_is_left() -> None:
    asked: list[Question] = []
    heard(says(Text("Hi"), finish(), asked=asked), seconds=5)

    assert 4 < asked[0].timeout_s <= 5


def test_answer_that_is_given_up_stops_the_model() -> None:
    llm = ScriptedLLM([lambda request: [Text("Some words"), Text(" never heard")]])
    steps = Completions(Meter(llm, MemoryStore(), Settings()), None).answer(ME, PLAIN, time.monotonic() + 60)

    next(steps)
    steps.close()

    assert llm.closed == 1


class Shelf:
    """Documents that have one passage, and cite it."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def find(self, turn: Turn, wait_s: float) -> Findings:
        self.turns.append(turn)
        passage = Passage("0", "d1", (Chunk(0, 0, 1, "", CITED.quote, 0),), 0.9)
        return Findings(Retrieval("used", 1), (passage,), shown=f"Passages. {turn.question.content}")

    def cite(self, answer: str, question: str, findings: Findings) -> tuple[str, tuple[Citation, ...]]:
        return f"{answer} [1]", (CITED,)


def test_pai_looks_up_what_the_user_said_last_and_cites() -> None:
    shelf, asked = Shelf(), list[Question]()
    completions = Completions(_meter([Text("You may"), Text(" [1]."), finish()], asked), shelf)
    messages = (
        Said("user", "Who are you?"),
        Said("assistant", "", tool_calls=(ADD,)),
        Said("user", "May I keep a dog?", tool_results=(ToolResult("c1", "3"),)),
        Said("assistant", "", tool_calls=(SUB,)),
        Said("user", "", tool_results=(ToolResult("c2", "4"),)),
    )

    *said, end = heard(completions, Wanted("pai", replace(QUESTION, messages=messages)))

    [turn] = shelf.turns
    assert (turn.conversation.owner, turn.question.content) == ("me", "May I keep a dog?")
    assert [message.content for message in turn.history] == ["Who are you?"]
    shown = replace(messages[2], text="Passages. May I keep a dog?")
    assert asked[0].messages == (*messages[:2], shown, *messages[3:])
    assert said == [Text("You may"), Text(".")]
    assert isinstance(end, End)
    assert (end.text, end.citations) == ("You may [1]. [1]", (CITED,))


def test_json_is_cited_and_gets_no_marks() -> None:
    completions = Completions(_meter([Text('{"a": [1]}'), finish()], []), Shelf())

    *said, end = heard(completions, Wanted("pai", replace(QUESTION, json_form=JsonForm())))

    assert said == [Text('{"a": [1]}')]
    assert isinstance(end, End)
    assert (end.text, end.citations) == ('{"a": [1]}', (CITED,))


def test_other_models_look_nothing_up() -> None:
    shelf, asked = Shelf(), list[Question]()
    heard(Completions(_meter([Text("Hi"), finish()], asked), shelf))

    assert not shelf.turns
    assert asked[0].messages == QUESTION.messages


# Completions and chunks


def test_completion_has_openais_form() -> None:
    steps: list[Step] = [Text("Hi"), End("stop", Usage(10, 2, 3, 4), "answering", "Hi")]

    assert Frame("m", id="i", created=1).whole(steps) == {
        "id": "i",
        "object": "chat.completion",
        "created": 1,
        "model": "answering",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 17,
            "completion_tokens": 2,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }
    assert counts(steps) == {"model": "answering", "stop_reason": "stop", "input_tokens": 10, "output_tokens": 2}


def test_completion_of_tool_calls_has_no_content() -> None:
    message = Frame("m").whole([ADD, SUB, End("tool_calls", Usage(), "answering")])["choices"][0]["message"]

    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
    ]


def events(*steps: Step | Exception, frame: Frame = FRAME) -> list[str]:
    def drawn() -> Generator[Step]:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            yield step

    sent = list(stream.events(drawn(), frame, Request("r1", "POST /v1/chat/completions")))
    assert all(event.startswith("data: ") and event.endswith("\n\n") for event in sent)
    return [event.removeprefix("data: ").removesuffix("\n\n") for event in sent]


def test_stream_is_a_role_then_words_then_calls_then_the_reason() -> None:
    *chunks, done = events(Text("Hi"), ADD, SUB, End("tool_calls", Usage(1, 1), "answering", "Hi"))

    read = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert {(chunk["id"], chunk["object"], chunk["created"]) for chunk in read} == {("i", "chat.completion.chunk", 1)}
    assert [chunk["model"] for chunk in read] == ["m", "m", "m", "m", "answering"]
    assert [chunk["choices"][0]["delta"] for chunk in read] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hi"},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "sub", "arguments": "{}"}}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in read] == [None, None, None, None, "tool_calls"]
    assert "usage" not in read[-1]


def test_usage_comes_after_the_last_chunk_where_it_is_wanted() -> None:
    *chunks, done = events(End("stop", Usage(3, 4), "answering"), frame=Frame("m", usage=True))

    *before, last = json.loads(f"[{','.join(chunks)}]".replace("}\n\ndata: {", "},{"))
    assert done == "[DONE]"
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in before)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)


def test_citations_come_with_the_last_chunk_of_pai_alone() -> None:
    end = End("stop", Usage(), "answering", "You may [1].", (CITED,))

    delta = json.loads(events(end, frame=Frame("pai"))[-2])["choices"][0]["delta"]
    assert delta == {"marked_content": "You may [1].", "citations": [vars(CITED)]}
    bare = End("stop", Usage(), "answering", "You may.")
    assert json.loads(events(bare, frame=Frame("pai"))[-2])["choices"][0]["delta"] == {"citations": []}
    assert json.loads(events(bare)[-2])["choices"][0]["delta"] == {}
    assert Frame("pai").whole([end])["choices"][0]["message"]["citations"] == [vars(CITED)]
    assert "citations" not in Frame("m").whole([end])["choices"][0]["message"]


def test_events_are_one_line_of_ascii_whatever_is_said() -> None:
    chunk = events(Text("a\u2028b\nc\x85 ä"), End("stop", Usage(), "m"))[1]

    assert chunk.isascii()
    assert chunk.splitlines() == [chunk]
    assert json.loads(chunk)["choices"][0]["delta"]["content"] == "a\u2028b\nc\x85 ä"


def test_failure_in_the_middle_is_the_last_event() -> None:
    *_, last = events(Text("Hi"), ModelInterrupted("It broke off."))

    assert json.loads(last) == {
        "error": {"message": "It broke off.", "type": "server_error", "param": None, "code": "ModelInterrupted"}
    }
    assert "secret" not in events(Text("Hi"), RuntimeError("a secret"))[-1]
    assert json.loads(events(RuntimeError("x"))[-1])["error"]["code"] == "InternalError"


def test_first_failure_is_raised_and_a_slow_beginning_is_not_waited_for() -> None:
    def fails() -> Generator[Step]:
        raise ModelTimeout("Too slow.")
        yield

    with pytest.raises(ModelTimeout):
        stream.begun(fails(), None)
    gate = threading.Event()

    def slow() -> Generator[Step]:
        gate.wait(10)
        yield from (Text("late"), End("stop", Usage(), "m"))

    begun = stream.begun(slow(), 0)
    gate.set()
    assert list(begun) == [Text("late"), End("stop", Usage(), "m")]


def test_answer_that_is_given_up_while_it_begins_is_stopped() -> None:
    closed = threading.Event()

    def steps() -> Generator[Step]:
        try:
            yield from (Text("late"), Text("never"))
        finally:
            closed.set()

    drawn = steps()
    begun = stream.begun(drawn, None)
    next(begun)
    begun.close()

    assert closed.is_set()


# Errors


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (BadRequest("n", "must be 1"), 400, "invalid_request_error", "BadRequest"),
        (UnknownModel("there is none"), 404, "invalid_request_error", "model_not_found"),
        (errors.ContextTooLong("too long"), 400, "invalid_request_error", "context_length_exceeded"),
        (errors.TooLarge("body", "too large"), 413, "invalid_request_error", "TooLarge"),
        (errors.LibraryOff(), 404, "invalid_request_error", "LibraryOff"),
        (errors.GuardrailIntervened("No."), 422, "invalid_request_error", "content_filter"),
        (errors.Unauthorized("Who?"), 401, "authentication_error", "Unauthorized"),
        (errors.Forbidden("No."), 403, "permission_error", "Forbidden"),
        (errors.RateLimited("Slower."), 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.BudgetSpent("Spent.", retry_after_s=9000), 429, "insufficient_quota", "insufficient_quota"),
        (errors.ModelThrottled("Busy."), 503, "server_error", "ModelThrottled"),
        (errors.InternalError("Oh."), 500, "server_error", "InternalError"),
    ],
)
def test_errors_have_openais_form(error: PaiError, status: int, kind: str, code: str) -> None:
    reply = failures.failed(error)

    param = "messages" if isinstance(error, errors.ContextTooLong) else error.details.get("field")
    assert reply.status == status
    assert reply.body == {"error": {"message": error.message, "type": kind, "param": param, "code": code}}
    assert reply.headers.get("Retry-After") == (None if error.retry_after_s is None else str(error.retry_after_s))
    assert ("x-should-retry" in reply.headers) == ((error.retry_after_s or 0) > 60)
    assert reply.log == {"error": error.code}


def test_defect_is_an_error_in_openais_form_that_tells_nothing() -> None:
    @failures.openai_errors
    def broken(request: Request) -> Reply:
        raise RuntimeError("a secret")

    reply = broken(Request("r1", "GET /v1/models"))

    assert reply.status == 500
    assert reply.headers["x-request-id"] == "r1"
    assert reply.body["error"]["code"] == "InternalError"
    assert "secret" not in reply.text


# Vectors and models

SPACE = Space("hashed", 2)


def texts(**members: object) -> embeddings.Texts:
    return embeddings.texts(Given("", {"model": "hashed", "input": "a", **members}), SPACE)


def test_vectors_are_given_as_numbers_or_as_their_bytes() -> None:
    vectors: Sequence[array[float]] = [array("f", [1.0, 0.0]), array("f", [0.0, -1.0])]

    numbers = embeddings.embedded(texts(input=["a", "b"], dimensions=2, encoding_format="float"), vectors, SPACE)
    in_bytes = embeddings.embedded(texts(input=["a", "b"], encoding_format="base64"), vectors, SPACE)

    assert numbers["data"] == [
        {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]},
        {"object": "embedding", "index": 1, "embedding": [0.0, -1.0]},
    ]
    assert [item["embedding"] for item in in_bytes["data"]] == ["AACAPwAAAAA=", "AAAAAAAAgL8="]
    assert (numbers["model"], numbers["usage"]) == ("hashed", {"prompt_tokens": 2, "total_tokens": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", None),
        ("input", ""),
        ("input", []),
        ("input", ["a", ""]),
        ("input", [1, 2]),
        ("input", [[1, 2], [3]]),
        ("input", {"a": 1}),
        ("input", ["a"] * 2049),
        ("dimensions", 3),
        ("dimensions", 0),
        ("encoding_format", "int8"),
        ("model", None),
    ],
)
def test_texts_that_are_none_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BadRequest) as refused:
        texts(**{name: value})

    assert refused.value.details == {"field": name}


def test_another_embedding_model_is_unknown_and_the_right_one_is_named() -> None:
    with pytest.raises(UnknownModel, match="is hashed"):
        texts(model="text-embedding-3-small")


def test_models_are_pai_then_the_backends_by_all_their_names_then_the_embedder() -> None:
    infos = [ModelInfo("us.big-1", "Big", 1, aliases=("big",)), ModelInfo("small", "Small", 1)]

    listed = models.listed(infos, "pai.local.llamacpp", ("hashed", SPACE))

    assert [(model["id"], model["owned_by"]) for model in listed] == [
        ("pai", "pai"),
        ("us.big-1", "llamacpp"),
        ("big", "llamacpp"),
        ("small", "llamacpp"),
        ("hashed", "hashed"),
    ]
    assert models.one(listed, "big")["object"] == "model"
    with pytest.raises(UnknownModel):
        models.one(listed, "Big")
