"""The real engine with the small model: what it promises beyond the contract of language models."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from chalicelib.errors import BadRequest, ContextTooLong, ModelInterrupted, ModelRejected, ModelThrottled, ModelTimeout
from chalicelib.llm import JsonForm, Request, Said, Text, Tool, ToolCall, ToolResult
from chalicelib.settings import Settings, read_settings
from pai.local.catalogue import find, installed, models_folder
from pai.local.engine import SLOTS, engine_for
from pai.local.llamacpp import LlamaCpp
from tests.contract.llm_contract import ToolsContract, calls_of, finish_of, text_of, with_tools
from tests.local_model import HOW_TO_GET_IT, NAME, small_model_path

pytestmark = pytest.mark.skipif(small_model_path() is None, reason=HOW_TO_GET_IT)

BIG, MODELS = "qwen2.5-coder-1.5b", models_folder(read_settings())
CONTEXT_TOKENS = 512
FACTS = "Remember these facts. " + " ".join(f"Box {number} is blue." for number in range(18))


def settings(**members: str) -> Settings:
    return Settings(
        models_home=str(Path(str(small_model_path())).parent),
        context_tokens=CONTEXT_TOKENS,
        threads=1,
        **{"model": NAME, **members},  # type: ignore[arg-type]
    )


@pytest.fixture
def llm() -> LlamaCpp:
    return LlamaCpp(settings())


def ask(*texts: str, max_tokens: int = 8, timeout_s: float = 60) -> Request:
    messages = [Said("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    return Request(messages, max_tokens=max_tokens, temperature=0.0, timeout_s=timeout_s)


def endless() -> Request:
    return ask("Write a very long story about a fisherman and the sea.", max_tokens=CONTEXT_TOKENS)


class TestStopping:
    def test_closing_an_answer_stops_the_engine_and_frees_its_place(self, llm: LlamaCpp) -> None:
        for _ in range(2 * SLOTS):
            answer = llm.stream(endless())
            next(answer)
            answer.close()

        # Had they gone on, this one would wait for the end of a very long story.
        assert finish_of(list(llm.stream(ask("Hello.", timeout_s=10))))

    def test_an_answer_whose_prompt_is_still_being_read_is_stopped_too(self, llm: LlamaCpp) -> None:
        for number in range(SLOTS):
            with pytest.raises(ModelTimeout, match="took too long"):
                next(llm.stream(ask(f"{number}. {FACTS}", timeout_s=0.05)))

        assert finish_of(list(llm.stream(ask("Hello.", timeout_s=10))))

    def test_who_waits_for_a_place_can_leave(self, llm: LlamaCpp) -> None:
        answers = [llm.stream(endless()) for _ in range(SLOTS)]
        for answer in answers:
            next(answer)
        waiting = llm.stream(ask("Hello.", timeout_s=30))

        assert next(waiting) == Text("")
        for answer in (waiting, *answers):
            answer.close()

        assert finish_of(list(llm.stream(ask("Hello.", timeout_s=10))))

    def test_asking_again_after_a_timeout_goes_on_with_what_was_read(self, llm: LlamaCpp) -> None:
        answer = None
        for _ in range(40):
            with suppress(ModelTimeout, ModelThrottled):
                answer = list(llm.stream(ask(f"Again and again. {FACTS}", timeout_s=0.5)))
                break

        assert answer, "each try reads a part, so that one of them comes to the end"

    def test_who_finds_no_place_is_told_to_come_back(self, llm: LlamaCpp) -> None:
        answers = [llm.stream(endless()) for _ in range(SLOTS)]
        for answer in answers:
            next(answer)

        with pytest.raises(ModelThrottled, match=f"{SLOTS} requests at a time") as caught:
            next(llm.stream(ask("Hello.", timeout_s=0.05)))

        assert caught.value.retry_after_s
        for answer in answers:
            answer.close()

    def test_who_waits_for_a_place_gets_one(self, llm: LlamaCpp) -> None:
        with ThreadPoolExecutor(2 * SLOTS) as people:
            answers = list(people.map(lambda number: list(llm.stream(ask(f"I am {number}."))), range(2 * SLOTS)))

        assert all(finish_of(answer) for answer in answers)


class TestReading:
    def test_what_two_turns_share_is_read_once(self, llm: LlamaCpp) -> None:
        first = list(llm.stream(ask(FACTS)))
        second = list(llm.stream(ask(FACTS, text_of(first), "Thank you.")))

        known = finish_of(first).usage.input_tokens + finish_of(first).usage.cache_read_tokens
        assert finish_of(second).usage.cache_read_tokens >= known
        assert finish_of(second).usage.input_tokens < 40

    def test_conversations_in_turns_do_not_make_the_engine_forget_each_other(self, llm: LlamaCpp) -> None:
        conversations = [[f"{name}. {FACTS}"] for name in ("Ada", "Bob", "Eve")]
        for texts in conversations:
            texts += [text_of(list(llm.stream(ask(*texts)))), "Go on."]

        usage = [finish_of(list(llm.stream(ask(*texts)))).usage for texts in conversations]

        assert all(counted.input_tokens < 40 < counted.cache_read_tokens for counted in usage)

    def test_conversation_that_does_not_fit_is_refused_with_both_lengths(self, llm: LlamaCpp) -> None:
        with pytest.raises(ContextTooLong, match=rf"is 20\d\d tokens long and {NAME} reads at most {CONTEXT_TOKENS}"):
            list(llm.stream(ask("word " * 2000)))

    def test_answer_that_fills_the_window_is_cut_there(self, llm: LlamaCpp) -> None:
        finish = finish_of(list(llm.stream(ask("word " * 430 + "Write a long story.", max_tokens=100_000))))

        assert finish.stop_reason in ("max_tokens", "end")
        assert finish.usage.output_tokens < CONTEXT_TOKENS

    def test_text_that_is_no_unicode_is_refused_and_not_repeated(self, llm: LlamaCpp) -> None:
        with pytest.raises(ModelRejected) as caught:
            list(llm.stream(ask("carrots \ud800")))

        assert "carrots" not in caught.value.message


class TestLoading:
    def test_model_is_loaded_once_however_many_ask_for_it_first(self) -> None:
        path = Path(str(small_model_path()))
        with ThreadPoolExecutor(4) as people:
            engines = list(people.map(lambda _: engine_for(path, 512, 1), range(4)))

        assert len(set(engines)) == 1

    def test_file_of_ones_own_answers_under_its_own_name(self) -> None:
        llm = LlamaCpp(settings(model=str(small_model_path())))

        assert llm.models()[0].id == "SmolLM2-135M-Instruct.Q4_1"
        assert finish_of(list(llm.stream(ask("Hello.")))).model == "SmolLM2-135M-Instruct.Q4_1"

    def test_file_that_ends_too_soon_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "half.gguf"
        path.write_bytes(Path(str(small_model_path())).read_bytes()[:5_000_000])

        with pytest.raises(ModelRejected, match="damaged"):
            LlamaCpp(settings(model=str(path))).load()

    def test_closing_the_backend_ends_its_answers_and_it_loads_again_when_asked(self, llm: LlamaCpp) -> None:
        answer = llm.stream(endless())
        next(answer)

        llm.close()

        with pytest.raises(ModelInterrupted):
            list(answer)
        assert finish_of(list(llm.stream(ask("Hello."))))


@pytest.fixture(scope="module")
def model_with_tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the small model's file with a chat template that knows tools in place of its own, to the byte."""
    content = Path(str(small_model_path())).read_bytes()
    start = content.index(b"{% for message in messages %}")
    end = content.index(b"{% endif %}", content.index(b"add_generation_prompt", start)) + len(b"{% endif %}")
    path = tmp_path_factory.mktemp("models") / "tools.gguf"
    path.write_bytes(content[:start] + TEMPLATE_WITH_TOOLS.ljust(end - start).encode() + content[end:])
    yield path
    path.unlink()


TEMPLATE_WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t|tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls %}<tool_call>{{ c.function|tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class TestTools(ToolsContract):
    """A model that was not made for tools, told of them: what it says is chance, but the form of it is not."""

    @pytest.fixture
    def llm(self, model_with_tools: Path) -> LlamaCpp:
        return LlamaCpp(settings(model=str(model_with_tools)))

    def test_a_call_that_must_be_made_keeps_to_the_tool_s_schema(self, llm: LlamaCpp) -> None:
        [call] = calls_of(list(llm.stream(with_tools("clock"))))

        assert json.loads(call.arguments)["city"] in ("Bern", "Rome")

    def test_half_a_call_is_none(self, llm: LlamaCpp) -> None:
        [finish] = llm.stream(replace(with_tools("clock"), max_tokens=5))

        assert finish_of([finish]).stop_reason == "max_tokens"

    def test_an_answer_in_json_may_be_a_call_instead(self, llm: LlamaCpp) -> None:
        schema = {"type": "object", "properties": {"sky": {"type": "string", "enum": ["blue"]}}, "required": ["sky"]}

        events = list(llm.stream(replace(with_tools("auto"), json_form=JsonForm(schema))))

        assert calls_of(events) or json.loads(text_of(events))["sky"] == "blue"

    def test_a_schema_that_is_none_is_refused_by_the_name_of_its_field(self, llm: LlamaCpp) -> None:
        wrong = {"type": "nonsense"}
        for request, field in (
            (replace(with_tools("required"), tools=(Tool("odd", "", wrong),)), "tools"),
            (replace(ask("Hello."), json_form=JsonForm(wrong)), "response_format"),
        ):
            with pytest.raises(BadRequest) as refused:
                list(llm.stream(request))
            assert refused.value.field == field

    def test_a_tool_that_there_is_not_can_not_be_chosen(self, llm: LlamaCpp) -> None:
        with pytest.raises(BadRequest, match="tool_choice"):
            list(llm.stream(with_tools("oven")))

    def test_arguments_that_nobody_can_read_are_refused(self, llm: LlamaCpp) -> None:
        conversation = (Said("user", "?"), Said("assistant", "", (ToolCall("1", "clock", "{"),)))

        with pytest.raises(BadRequest, match="messages"):
            list(llm.stream(with_tools("auto", *conversation, Said("user", "", (), (ToolResult("1", "noon"),)))))


@pytest.fixture(scope="module")
def big() -> Iterator[LlamaCpp]:
    llm = LlamaCpp(Settings(model=BIG, models_home=str(MODELS), context_tokens=1024))
    yield llm
    llm.close()


@pytest.mark.skipif(installed(find(BIG), MODELS) is None, reason=f"{BIG} is not on this machine")
class TestTheModelThatPeopleUse:
    """What Qwen2.5-Coder does with tools, which it was told of in another form than it writes."""

    def test_calls_a_tool_and_answers_in_words_once_it_has_the_result(self, big: LlamaCpp) -> None:
        question = Said("user", "What is the weather in Bern?")
        called = list(big.stream(with_tools("auto", question)))
        [call] = calls_of(called)
        result = ToolResult(call.id, "hail, 3 degrees")

        answer = list(
            big.stream(with_tools("auto", question, Said("assistant", "", (call,)), Said("user", "", (), (result,))))
        )

        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Bern"})
        assert text_of(called) == ""
        assert finish_of(called).stop_reason == "tool_use"
        assert "hail" in text_of(answer)
        assert finish_of(answer).stop_reason == "end"

    def test_answers_in_words_what_no_tool_is_for(self, big: LlamaCpp) -> None:
        assert "onjour" in text_of(list(big.stream(with_tools("auto", Said("user", "Say hello in French.")))))


PROGRAM = """
    import os, sys
    from chalicelib.llm import Request, Said
    from chalicelib.settings import Settings
    from pai.local.llamacpp import LlamaCpp

    llm = LlamaCpp(Settings(model="smollm2", models_home=sys.argv[1], context_tokens=512, threads=1))
    answer = llm.stream(Request([Said("user", "Write a very long story about carrots.")], max_tokens=400))
    next(answer)
    descriptors = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    sockets = {os.readlink(path) for path in descriptors if os.path.lexists(path)}
    listening = {f"socket:[{line.split()[9]}]" for line in open("/proc/self/net/tcp") if line.split()[3] == "0A"}
    assert not sockets & listening, "it listens on a port"
    assert os.listdir(os.environ["TMPDIR"]) == [], "its socket can be reached"
"""


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks at its sockets in /proc")
def test_process_is_silent_listens_nowhere_and_may_end_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    folder = str(Path(str(small_model_path())).parent)

    run = subprocess.run(
        [sys.executable, "-c", dedent(PROGRAM), folder], capture_output=True, env=environment, timeout=60, check=False
    )

    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
