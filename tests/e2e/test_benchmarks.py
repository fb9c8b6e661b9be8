"""The benchmarks that need a model, as programs, with the small one where it has been fetched."""

import pytest

from chalicelib.settings import Settings
from pai.local.catalogue import find, installed, models_folder
from tests.integration.test_benchmarks import numbers_of

pytestmark = pytest.mark.skipif(
    not installed(find("smollm2"), models_folder(Settings())), reason="needs `pai models fetch smollm2`"
)


def test_throughput_of_the_server_is_compared_with_the_bare_engines() -> None:
    numbers = numbers_of("local", "--model", "smollm2", "--rounds", "1", "--max-tokens", "4")

    assert numbers["throughput_ratio"] > 0


def test_estimate_of_tokens_is_compared_with_a_tokenizer() -> None:
    numbers = numbers_of("tokens", "--model", "smollm2")

    assert len(numbers["ratio"]) == len(numbers["kinds"])
    assert numbers["lowest_ratio"] == min(numbers["ratio"])
