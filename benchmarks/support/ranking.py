"""What a ranking is worth, by the judgements of a test collection, as trec_eval counts it."""

import math
from collections.abc import Mapping, Sequence

Judgements = Mapping[str, float]
"""Document id → gain."""


def ndcg(ranking: Sequence[str], judged: Judgements, depth: int = 10) -> float:
    """Return the normalized discounted cumulative gain: linear gain, log2 discount."""
    ideal = _gain(sorted(judged.values(), reverse=True)[:depth])
    return _gain([judged.get(document_id, 0.0) for document_id in ranking[:depth]]) / ideal if ideal else 0.0


def recall(ranking: Sequence[str], judged: Judgements, depth: int = 100) -> float:
    relevant = {document_id for document_id, gain in judged.items() if gain > 0}
    return len(relevant & {*ranking[:depth]}) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], judged: Judgements, depth: int = 10) -> float:
    places = (place for place, document_id in enumerate(ranking[:depth], 1) if judged.get(document_id, 0.0) > 0)
    return 1 / next(places, math.inf)


def _gain(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))
