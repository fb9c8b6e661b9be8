"""The benchmarks that need a model, as programs, with the small one where it has been fetched."""

from pathlib import Path

import pytest

from chalicelib.settings import Settings
from pai.local.catalogue import find, installed, models_folder
from tests.integration.test_answer_benchmarks import write_collection
from tests.integration.test_benchmarks import numbers_of

pytestmark = pytest.mark.skipif(
    not installed(find("smollm2"), models_folder(Settings())), reason="needs `pai models fetch smollm2`"
)


def test_throughput_of_the_server_is_compared_with_the_bare_engines() -> None:
    numbers = numbers_of("local", "--model", "smollm2", "--rounds", "1", "--max-tokens", "4")

    assert numbers["throughput_ratio"] > 0


def test_followed_turn_is_compared_with_the_bare_engine_and_costed_on_aws() -> None:
    numbers = numbers_of("stream", "--model", "smollm2", "--rounds", "1", "--words", "8")

    assert numbers["total_ratio"] > 0
    assert 1 <= numbers["polls_per_turn"] < 8
    assert 9 <= numbers["aws_write_units"] < 20
    assert 0 < numbers["dollars_per_million_turns"] < 150


def test_estimate_of_tokens_is_compared_with_a_tokenizer() -> None:
    numbers = numbers_of("tokens", "--model", "smollm2")

    assert len(numbers["ratio"]) == len(numbers["kinds"])
    assert numbers["lowest_ratio"] == min(numbers["ratio"])


@pytest.mark.skipif(not installed(find("minilm"), models_folder(Settings())), reason="needs `pai models fetch minilm`")
def test_records_are_found_by_words_by_meaning_and_by_both(tmp_path: Path) -> None:
    records = {
        "pets": "A dog may live in the flat.",
        "rent": "The rent is due on the third.",
        "keys": "Two keys are handed over.",
    }
    write_collection(tmp_path, records, {"q": "When must the rent be paid?"}, {("q", "rent"): 1})

    numbers = numbers_of("retrieval", "--data", str(tmp_path))

    assert numbers["chunks"] == 3
    for leg in ("vector", "bm25", "hybrid"):
        assert (numbers[leg]["ndcg10"], numbers[leg]["recall100"], numbers[leg]["mrr10"]) == (1, 1, 1)
