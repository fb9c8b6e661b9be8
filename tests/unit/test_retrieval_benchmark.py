"""The numbers of benchmarks.retrieval, against some worked out by hand."""

import math

import pytest

from benchmarks.support.ranking import ndcg, recall, reciprocal_rank


def test_ndcg_has_linear_gain_and_a_logarithmic_discount() -> None:
    gained = 1 + 3 / math.log2(4)
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["a", "x", "c"], {"a": 1, "b": 2, "c": 3}) == pytest.approx(gained / ideal)


def test_ndcg_counts_the_first_ten_only() -> None:
    ranking = [*"0123456789", "a"]
    assert ndcg(ranking, {"a": 1}) == 0
    assert ndcg(ranking[1:], {"a": 1}) == pytest.approx(1 / math.log2(11))


def test_recall_is_the_share_of_the_relevant() -> None:
    assert recall(["a", "b", "x"], {"a": 1, "b": 2, "c": 1, "x": 0}) == pytest.approx(2 / 3)


def test_reciprocal_rank_is_that_of_the_first_relevant() -> None:
    assert reciprocal_rank(["x", "a", "b"], {"a": 1, "b": 1, "x": 0}) == 0.5
    assert reciprocal_rank(["x"], {"a": 1}) == 0
