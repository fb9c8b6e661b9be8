"""What the benchmarks' numbers should be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Numbers = Mapping[str, Any]
Results = Mapping[str, Numbers]
"""By program: its numbers, and under `machine` where they come from."""
COLLECTIONS = {"scifact": (0.735, 0.696), "cranfield": (0.47, 0.425), "cacm": (0.56, 0.5), "locomo_a": (0.495, 0.447)}
"""Name → nDCG@10 that hybrid search should reach, and what bm25s gives (method lucene, English stemmer and stop words)."""


@dataclass(frozen=True)
class Target:
    """A number of one program, and what it should be: at most `limit`, or at least, if `least`."""

    program: str
    what: str
    value: Callable[[Numbers], float]
    limit: float
    least: bool = False

    def row(self, results: Results) -> list[str]:
        value = self.value(results[self.program])
        reached = value >= self.limit if self.least else value <= self.limit
        return [self.what, f"{'≥' if self.least else '≤'} {self.limit:g}", f"{value:.4g}", "yes" if reached else "**no**"]


def _most(name: str) -> Callable[[Numbers], float]:
    return lambda numbers: float(max(numbers[name]))


def _growth(*names: str) -> Callable[[Numbers], float]:
    """How much more these are together at the longest length than at the one before it."""
    return lambda numbers: float(sum(numbers[name][-1] for name in names) / sum(numbers[name][-2] for name in names))


def _writes_of_turn(numbers: Numbers) -> float:
    pairs = zip(numbers["writes"], numbers["budget_writes"], strict=True)
    return float(max(writes - budget for writes, budget in pairs))


def _further_writes(numbers: Numbers) -> float:
    pairs = zip(numbers["writes_with_idempotency_key"], numbers["writes"], strict=True)
    return float(max(keyed - plain for keyed, plain in pairs))


def _of(*path: str) -> Callable[[Numbers], float]:
    """Return what stands at the end of these keys."""

    def value(numbers: Numbers) -> float:
        found: Any = numbers
        for key in path:
            found = found[key]
        return float(found)

    return value


def _over(name: str, under: str) -> Callable[[Numbers], float]:
    return lambda numbers: float(numbers[name] / numbers[under])


def _gain_by_fusion(numbers: Numbers) -> float:
    """Return how far hybrid is above the better of its two legs, on the collection where it gains least."""
    measured = [numbers[name] for name in COLLECTIONS]
    return float(min(legs["hybrid"]["ndcg10"] - max(legs["vector"]["ndcg10"], legs["bm25"]["ndcg10"]) for legs in measured))


def _below_bm25s(numbers: Numbers) -> float:
    """Return how far BM25 is below bm25s, on the collection where it is most."""
    return float(max(reference - numbers[name]["bm25"]["ndcg10"] for name, (_, reference) in COLLECTIONS.items()))


TARGETS = (
    Target("turn", "DynamoDB reads in a turn", _most("reads"), 1),
    Target("turn", "DynamoDB writes in a turn, but for the budget's", _writes_of_turn, 4),
    Target("turn", "… to reserve and settle the budget", _most("budget_writes"), 2),
    Target("turn", "Bedrock calls in a turn", _most("bedrock_calls"), 1),
    Target("turn", "DynamoDB write units of a turn, index included", _most("write_units"), 9),
    Target("turn", "KMS calls in a turn, warm", lambda numbers: numbers["kms_warm"], 0),
    Target("turn", "KMS calls in a turn, cold", lambda numbers: numbers["kms_cold"], 1),
    Target("turn", "Further writes with an `Idempotency-Key`", _further_writes, 2),
    Target("turn", "Write units at 1000 turns ÷ at 100", _growth("write_units"), 1.25),
    Target("turn", "Read units at 1000 turns ÷ at 100", _growth("read_units"), 1.25),
    Target("turn", "Bytes at 1000 turns ÷ at 100", _growth("bytes_sent", "bytes_received"), 1.25),
    Target("turn", "CPU time at 1000 turns ÷ at 100, the SDK's included", _growth("cpu_ms"), 1.25),
    Target("turn", "PAI's own CPU time of a turn, ms, at the worst length", _most("own_cpu_ms"), 3),
    Target("coldstart", "`import app` ÷ a bare Chalice app with boto3", lambda numbers: numbers["import_ratio"], 1.3),
    Target("coldstart", "Memory after the first `/chat`, MB", lambda numbers: numbers["rss_mb"], 110),
    Target("coldstart", "Modules in it that a chat has no use for", lambda numbers: len(numbers["unwanted_modules"]), 0),
    Target("local", "Tokens a second through `/chat` ÷ bare engine", lambda numbers: numbers["throughput_ratio"], 0.9, True),
    Target("local", "… for a short question", lambda numbers: numbers["short_question"]["throughput_ratio"], 0.9, True),
    Target("stream", "First word of a followed turn after the bare engine's, ms", _of("first_word_extra_ms"), 150),
    Target("stream", "… its end, ÷ the bare engine's", _of("total_ratio"), 1.1),
    Target("stream", "… on AWS, first word after bare boto3's, ms", _of("aws_first_word_extra_ms"), 400),
    Target(
        "stream", "Dollars of requests and DynamoDB for a million such turns of 8 s", _of("dollars_per_million_turns"), 150
    ),
    *(
        Target("retrieval", f"nDCG@10 of hybrid search, {name}", _of(name, "hybrid", "ndcg10"), least, True)
        for name, (least, _) in COLLECTIONS.items()
    ),
    Target("retrieval", "… above the better of vector and BM25, at least", _gain_by_fusion, 0, True),
    Target("retrieval", "nDCG@10 of BM25 below bm25s, at most", _below_bm25s, 0.015),
    Target("retrieval", "Hybrid search among 20,000 × 1024, median ms", _of("scale", "p50_ms"), 4),
    Target("retrieval", "… 95th percentile, ms", _of("scale", "p95_ms"), 8),
    Target("retrieval", "… recall@10 of its vectors against exact", _of("scale", "recall10"), 0.97, True),
    Target("isolation", "Passages of other owners that searches gave", _of("foreign"), 0),
    Target("ingest", "Files that ended in neither text nor a reason", _of("other"), 0),
    Target("ingest", "Pages a second ÷ pypdf's", _over("pages_per_s", "pypdf_pages_per_s"), 8, True),
    Target("ingest", "Chunks a second, vectors of 1024 only", _of("chunks_per_s_vector_only"), 10_000, True),
    Target("ingest", "… ÷ a raw binary COPY", _over("chunks_per_s_vector_only", "copy_chunks_per_s"), 0.5, True),
    Target("ingest", "Chunks a second, with postings", _of("chunks_per_s"), 2_000, True),
)
