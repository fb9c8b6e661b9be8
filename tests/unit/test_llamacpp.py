"""The embedded model's backend where no model is: everything that can be wrong with a model's file."""

from pathlib import Path

import pytest

from chalicelib.errors import Misconfigured, ModelMissing, ModelRejected
from chalicelib.llm import Request, Said
from chalicelib.settings import Settings
from pai.local.llamacpp import LlamaCpp

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
