"""Settings come from PAI_* variables, and a wrong one is named."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from chalicelib.errors import Misconfigured
from chalicelib.settings import Settings, read_settings
from chalicelib.wiring import here, load_part, parts


def test_variables_become_settings_of_their_type() -> None:
    settings = read_settings({"PAI_STAGE": "dev", "PAI_MAX_TOKENS": "7", "PAI_DEADLINE_S": "2.5", "OTHER": "x"})

    assert (settings.stage, settings.max_tokens, settings.deadline_s) == ("dev", 7, 2.5)


def test_empty_variable_is_as_good_as_none() -> None:
    assert read_settings({"PAI_LLM": ""}) == Settings()


def test_number_that_is_none_names_its_variable() -> None:
    with pytest.raises(Misconfigured, match="PAI_MAX_TOKENS is 'many'"):
        read_settings({"PAI_MAX_TOKENS": "many"})


def test_every_variable_of_every_stage_is_a_setting() -> None:
    config = json.loads((Path(__file__).parents[2] / ".chalice" / "config.json").read_text())
    known = {f"PAI_{field.name.upper()}" for field in dataclasses.fields(Settings)}

    for stage in ("local", "dev", "prod"):
        assert set(config["stages"][stage]["environment_variables"]) <= known


def test_backend_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(Misconfigured, match=r"PAI_LLM is 'nonsense'.*docs/add-a-backend.md"):
        load_part("llm", "nonsense", Settings())


def test_module_that_is_no_backend_is_named_with_what_it_lacks() -> None:
    with pytest.raises(Misconfigured, match=r"PAI_LLM is 'json.decoder'.*build.*docs/add-a-backend.md"):
        load_part("llm", "json.decoder", Settings())


def test_threads_that_ask_first_get_the_same_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAI_STAGE", "race")
    for name in ("PAI_STORE", "PAI_PLATFORM", "PAI_LLM"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(20):
        parts.cache_clear()
        barrier = Barrier(8)

        def ask(_: int, barrier: Barrier = barrier) -> tuple[int, int]:
            barrier.wait()
            return id(here().platform), id(here().conversations)

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(ask, range(8)))) == 1
    parts.cache_clear()
