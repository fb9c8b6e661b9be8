"""What tokens cost: the price file, and what the owner says instead."""

import json
import re
from pathlib import Path

import pytest

from chalicelib.errors import Misconfigured
from chalicelib.metering.prices import FILE, Price, Prices, prices_of, runs_here
from chalicelib.records import Usage
from chalicelib.settings import Settings

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MILLION = 10**6
DOLLAR = 10**9


def prices(text: str = "") -> Prices:
    return prices_of(Settings(prices=text))


def price(model: str) -> Price:
    found = prices().of(model)
    assert found
    return found


def test_the_file_has_a_date_a_source_and_a_price_for_each_model() -> None:
    data = json.loads(FILE.read_text())

    assert re.fullmatch(r"20\d\d-\d\d-\d\d", data["as_of"])
    assert data["source"].startswith("https://aws.amazon.com/bedrock/pricing/")
    assert prices().models.keys() == data["models"].keys()


def test_each_kind_of_token_has_its_own_price() -> None:
    usage = Usage(MILLION, MILLION, MILLION, MILLION)

    assert price(SONNET).cost(usage) == round((3.3 + 16.5 + 0.33 + 4.125) * DOLLAR)


def test_the_global_profile_costs_less_than_the_one_of_the_area() -> None:
    assert price(SONNET.replace("us.", "global.")).cost(Usage(MILLION)) == 3 * DOLLAR
    assert price(SONNET).cost(Usage(MILLION)) == 3.3 * DOLLAR


def test_an_arn_means_the_model_at_its_end() -> None:
    assert prices().of(f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{SONNET}") == price(SONNET)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "claude-sonnet",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5",
        f"somebody/{SONNET}",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
    ],
)
def test_what_is_not_in_the_file_has_no_price(model: str) -> None:
    assert prices().of(model) is None


def test_a_long_prompt_has_the_price_of_long_prompts() -> None:
    haiku = price("global.anthropic.claude-haiku-5-5")

    assert haiku.cost(Usage(100_000, 1000)) == 100_000 * 100 + 1000 * 500
    assert haiku.cost(Usage(1, 1000, cache_read_tokens=100_000)) == 500 + 1000 * 2500 + 100_000 * 50


def test_tokens_of_a_kind_without_a_price_make_the_cost_unknown_and_count_as_input_against_a_budget() -> None:
    nova, usage = price("us.amazon.nova-lite-v1:0"), Usage(1000, 0, cache_write_tokens=1000)

    assert nova.cost(usage) is None
    assert nova.at_least(usage) == 2000 * 60
    assert nova.cost(Usage(1000, 0, cache_read_tokens=1000)) == 1000 * 60 + 1000 * 15


def test_what_an_answer_can_cost_at_most_has_the_prompt_written_to_the_cache() -> None:
    assert price(SONNET).at_most(1000, 100) == 1000 * 4125 + 100 * 16_500


def test_ten_tokens_of_an_embedding_cost_something() -> None:
    assert price("amazon.titan-embed-text-v2:0").cost(Usage(10)) == 200


def test_the_owners_prices_stand_beside_ours_and_before_them(tmp_path: Path) -> None:
    given = {"as_of": "2027-01-01", "models": {"mine": {"input": 1, "output": 2}, SONNET: {"input": 5, "output": 6}}}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(given))

    for text in (json.dumps(given), str(file)):
        mine = prices(text)
        assert mine.as_of == "2027-01-01"
        assert [mine.of(name) for name in ("mine", SONNET)] == [Price(1, 2), Price(5, 6)]
        assert mine.of("us.amazon.nova-lite-v1:0") == price("us.amazon.nova-lite-v1:0")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"models": []}',
        '{"models": {"x": 3}}',
        '{"models": {"x": {"input": 1}}}',
        '{"models": {"x": {"input": 1, "output": "2"}}}',
        '{"models": {"x": {"input": 1, "output": -2}}}',
        '{"models": {"x": {"input": 1, "output": NaN}}}',
        '{"models": {"x": {"input": true, "output": 2}}}',
        '{"models": {"x": {"input": 1, "output": 2, "cached": 1}}}',
        '{"models": {"x": {"input": 1, "output": 2, "over": {"input": 1, "output": 2}}}}',
        "/nowhere/prices.json",
    ],
)
def test_prices_that_can_not_be_read_name_their_variable(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"^PAI_PRICES "):
        prices(text)


@pytest.mark.parametrize(
    ("backend", "here"),
    [
        ("echo", True),
        ("hashed", True),
        ("pai.local.llamacpp", True),
        ("pai.local.minilm", True),
        ("bedrock", False),
        ("openai", False),
    ],
)
def test_only_models_of_this_process_are_free(backend: str, here: bool) -> None:
    assert runs_here(backend) is here
