"""How often "not in your documents" is said wrongly, and how often it is not said though it should be, without a model.

DIR holds sets of documents with judged questions (BEIR's form: corpus.jsonl, queries.jsonl, qrels.tsv). Each set is a library
of its own; each judged question is put to its own set, which has the answer, and to all others, which have not. A few of the
others may have one by chance, which counts as false here all the same.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.collections import fill, find, read
from benchmarks.support.deployment import deployment, library
from benchmarks.support.embedding import Cached
from benchmarks.support.options import CACHE, COLLECTIONS, EMBEDDER, RETRIEVER, number, run
from benchmarks.support.printing import Numbers
from chalicelib.chat.grounding import grounded
from chalicelib.records import RetrievalOptions
from chalicelib.retriever import Query
from chalicelib.wiring import Parts

SAMPLE = 200


def measure(data: Path, retriever: str, embedder: str, sample: int, cache: Path | None) -> Numbers:
    """Return both rates, over all pairs of a question's set and a library, and for each."""
    sets = [read(path) for path in find(data)]
    with deployment(library(retriever, embedder)) as parts:
        cached = Cached(parts.embedder, cache)
        for judged in sets:
            fill(parts.retriever, judged.name, judged.records, cached)
        refused = {
            asked.name: {held.name: _refused(parts, questions, held.name) for held in sets}
            for asked, questions in ((asked, _sampled(asked.answered, sample)) for asked in sets)
        }
        about = {"embedder": parts.settings.embedder, "space": parts.embedder.space.model, "sample": sample}
    own = [share for name, shares in refused.items() for held, share in shares.items() if held == name]
    others = [share for name, shares in refused.items() for held, share in shares.items() if held != name]
    return {
        "false_refusal": round(sum(own) / len(own), 3),
        "false_answer": round(1 - sum(others) / len(others), 3) if others else None,
        "refused": refused,
        **about,
    }


def _sampled(questions: Sequence[str], sample: int) -> Sequence[str]:
    return random.Random(1).sample(questions, min(sample, len(questions)))


def _refused(parts: Parts, questions: Sequence[str], owner: str) -> float:
    """Return the share of these questions that this library is said not to answer."""
    space = parts.embedder.space
    refused = 0
    for question, vector in zip(questions, parts.embedder.embed(questions, "query"), strict=True):
        found = parts.retriever.search(Query(owner, question, vector, space, RetrievalOptions.top_k))
        refused += not grounded(found, question, space)
    return round(refused / len(questions), 3)


if __name__ == "__main__":
    sample = number("sample", SAMPLE, "so many questions of each set, at most")
    run(__doc__, measure, COLLECTIONS, CACHE, sample, RETRIEVER, EMBEDDER)
