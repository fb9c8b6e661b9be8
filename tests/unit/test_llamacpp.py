"""The embedded model's backend where no model is: everything that can be wrong with a model's file."""

import json
import struct
from pathlib import Path

import pytest

from chalicelib.errors import Misconfigured, ModelMissing, ModelRejected
from chalicelib.llm import Request, Said, Tool, ToolCall, ToolResult
from chalicelib.settings import Settings
from pai.local.engine import knows_tools
from pai.local.llamacpp import LlamaCpp
from pai.local.tools import calls_in, is_new, may_be_calls

ASK = Request([Said("user", "Hello.")])


def test_model_that_was_not_fetched_says_how_to_fetch_it(tmp_path: Path) -> None:
    llm = LlamaCpp(Settings(model="smollm2", models_home=str(tmp_path)))

    for act in (llm.load, llm.models, lambda: list(llm.stream(ASK))):
        with pytest.raises(ModelMissing, match=r"pai models fetch smollm2.*98 MB.*make run MODEL=smollm2"):
            act()


def test_model_that_is_half_here_counts_as_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")

    with pytest.raises(ModelMissing, match="not whole"):
        LlamaCpp(Settings(model="smollm2", models_home=str(tmp_path))).load()


def test_file_of_ones_own_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"

    with pytest.raises(ModelMissing, match=f"{path}.*PAI_MODEL"):
        list(LlamaCpp(Settings(model=str(path))).stream(ASK))


@pytest.mark.parametrize("content", [b"", b"hello world", b"GGUF" + bytes(100)])
def test_file_that_is_no_model_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(content)

    with pytest.raises(ModelRejected, match="can't load"):
        LlamaCpp(Settings(model=str(path))).load()

    assert capfd.readouterr() == ("", "")


def test_name_in_the_settings_that_is_no_model_is_a_wrong_setting() -> None:
    for settings in (Settings(model="gpt-9"), Settings(model="smollm2", models="qwen, gpt-9")):
        with pytest.raises(Misconfigured, match=r"PAI_MODEL.*gpt-9.*Choose one of"):
            LlamaCpp(settings)


def gguf(path: Path, *templates: tuple[str, str]) -> Path:
    """Write as much of a GGUF file as has these keys and texts."""
    pairs = (f"{key}".encode() + struct.pack("<IQ", 8, len(text)) + text.encode() for key, text in templates)
    path.write_bytes(b"GGUF" + b"\0" * 20 + b"".join(pairs) + b"\0" * 100 + b"tools")
    return path


@pytest.mark.parametrize(
    ("templates", "knows"),
    [
        ([], False),
        ([("tokenizer.chat_template", "{{ messages }}")], False),
        ([("tokenizer.chat_template", "{% if tools %}{{ tools }}{% endif %}{{ messages }}")], True),
        ([("tokenizer.chat_template", "{{ messages }}"), ("tokenizer.chat_template.tool_use", "{{ tools }}")], True),
    ],
)
def test_model_was_made_for_tools_if_its_chat_template_has_a_place_for_them(
    tmp_path: Path, templates: list[tuple[str, str]], knows: bool
) -> None:
    assert knows_tools(gguf(tmp_path / "model.gguf", *templates)) is knows


BERN = '{"name": "weather", "arguments": {"city": "Bern"}}'
ODD = '{"name": "weather", "arguments": {"city": "```json </tool_call> Zoë"}}'


@pytest.mark.parametrize(
    ("text", "cities"),
    [
        (BERN, ["Bern"]),
        (f"```json\n{BERN}\n```", ["Bern"]),
        (f"<tool_call>\n{BERN}\n</tool_call>", ["Bern"]),
        (f"<tools>\n{BERN}\n{BERN}\n</tools>\n", ["Bern", "Bern"]),
        (f"```json\n{ODD}\n```", ["```json </tool_call> Zoë"]),
        (f"{BERN} I think.", []),
        (f"I call {BERN}", []),
        ('{"name": "weather"}', []),
        ('{"name": "weather", "arguments": "Bern"}', []),
        ('{"name": ["weather"], "arguments": {}}', []),
        ("[1]", []),
        ("{", []),
        ("", []),
    ],
)
def test_calls_are_found_in_an_answer_that_is_nothing_else(text: str, cities: list[str]) -> None:
    assert [json.loads(call.arguments)["city"] for call in calls_in(text)] == cities
    assert all(may_be_calls(text[:end]) for end in range(len(text)) if cities)


@pytest.mark.parametrize("text", ["I", "```python", "<b>", "[1]", "``a"])
def test_an_answer_in_words_is_not_held_back(text: str) -> None:
    assert not may_be_calls(text)


def test_the_same_call_again_with_its_result_there_is_in_vain_until_the_user_has_spoken() -> None:
    first, again, other = (ToolCall("1", "weather", text) for text in ('{"a": 1, "b": 2}', '{"b":2,"a":1}', "{}"))
    called = [Said("user", "?"), Said("assistant", "", (first,)), Said("user", "", (), (ToolResult("1", "rain"),))]
    tools = (Tool("weather", "", {}),)

    assert not is_new(again, Request(called, tools=tools))
    assert is_new(other, Request(called, tools=tools))
    assert is_new(again, Request([*called, Said("assistant", "Rain."), Said("user", "And now?")], tools=tools))
    assert not is_new(ToolCall("2", "oven", "{}"), Request(called, tools=tools))
