"""The real engine with the small model: what it promises beyond the contract of language models."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from chalicelib.errors import ContextTooLong, ModelInterrupted, ModelRejected, ModelThrottled, ModelTimeout
from chalicelib.llm import Request, Said
from chalicelib.settings import Settings
from pai.local.engine import SLOTS, engine_for
from pai.local.llamacpp import LlamaCpp
from tests.contract.llm_contract import finish_of, text_of
from tests.local_model import HOW_TO_GET_IT, NAME, small_model_path

pytestmark = pytest.mark.skipif(small_model_path() is None, reason=HOW_TO_GET_IT)

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
