"""docs/add-a-backend.md keeps its word: the code on that page, named by its dotted path, is a backend like any other."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.errors import Misconfigured, ModelInterrupted, ModelTimeout, ModelUnreachable
from chalicelib.llm import LLM, Request, Said
from chalicelib.settings import read_settings
from chalicelib.wiring import Parts
from tests.contract.llm_contract import LLMContract, finish_of, text_of
from tests.standins.processes import ROOT

PAGE = ROOT / "docs" / "add-a-backend.md"
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
ASK = Request([Said("user", "Hello.")], timeout_s=0.2)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dotted path under which the page's code can be imported during this test."""
    (tmp_path / "my_parts").mkdir()
    (tmp_path / "my_parts" / "program.py").write_text(CODE[0])
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_parts.program"
    for name in ("my_parts.program", "my_parts"):
        sys.modules.pop(name, None)


def program(module: str, command: str, monkeypatch: pytest.MonkeyPatch) -> LLM:
    monkeypatch.setenv("PAI_LLM", module)
    monkeypatch.setenv("PAI_MODEL", command)
    return Parts(read_settings()).llm


class TestThePageS(LLMContract):
    refuses = frozenset({"tools", "response_format", "stop"})

    @pytest.fixture
    def llm(self, module: str, monkeypatch: pytest.MonkeyPatch) -> LLM:
        return program(module, "cat", monkeypatch)


def test_backend_on_the_page_is_no_longer_than_62_lines() -> None:
    assert len(CODE[0].splitlines()) <= 62


def test_suite_on_the_page_is_this_one() -> None:
    assert "from tests.contract.llm_contract import LLMContract" in CODE[1]
    compile(CODE[1], str(PAGE), "exec")


def test_program_answers_to_what_it_is_sent(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events = list(program(module, "cat", monkeypatch).stream(Request([Said("user", "Zoë 🎉")], system="Be brief.")))

    assert text_of(events) == "Be brief.\nuser: Zoë 🎉"
    assert finish_of(events).model == "cat"


@pytest.mark.parametrize(
    ("command", "error"),
    [("no-such-program", ModelUnreachable), ("false", ModelInterrupted), ("sleep 10", ModelTimeout), ("", Misconfigured)],
)
def test_program_that_does_not_answer_is_one_typed_error(
    module: str, monkeypatch: pytest.MonkeyPatch, command: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        list(program(module, command, monkeypatch).stream(ASK))


def test_program_is_ended_when_nobody_wants_the_rest(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = f"sh -c 'echo $$ > {tmp_path}/pid; exec yes'"
    answer = program(module, command, monkeypatch).stream(ASK)
    next(answer)

    answer.close()

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
