"""How often "not in your documents" is said wrongly, and how often it is not said though it should be, without a model.

DIR holds sets of documents with judged questions (BEIR's form: corpus.jsonl, queries.jsonl, qrels.tsv). Each set is a library
of its own; each judged question is put to its own set, which has the answer, and to all others, which have not. A few of the
others may have one by chance, which counts as false here all the same.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.support.collections import fill, find, read
from benchmarks.support.embedding import Cached
from benchmarks.support.printing import Numbers, parser, product_silenced, show
from benchmarks.support.processes import environment
from chalicelib.chat.grounding import grounded
from chalicelib.records import RetrievalOptions
from chalicelib.retriever import Query
from chalicelib.wiring import Parts, here

SAMPLE = 200


def measure(folder: Path, settings: dict[str, str], sample: int, cache: Path | None) -> Numbers:
    """Return both rates, over all pairs of a question's set and a library, and for each."""
    sets = [read(path) for path in find(folder)]
    with TemporaryDirectory() as home, environment({**settings, "PAI_HOME": home}):
        parts = here()
        embedder = Cached(parts.embedder, cache)
        for judged in sets:
            fill(parts.retriever, judged.name, judged.records, embedder)
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


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="folder of the sets")
    arguments.add_argument("--cache", type=Path, help="a folder that keeps embeddings between runs")
    arguments.add_argument("--sample", type=int, default=SAMPLE, help="so many questions of each set, at most")
    arguments.add_argument("--retriever", default="pgvector", help="as PAI_RETRIEVER")
    arguments.add_argument("--embedder", default="pai.local.minilm", help="as PAI_EMBEDDER")
    given = arguments.parse_args()
    settings = {"PAI_RETRIEVER": given.retriever, "PAI_EMBEDDER": given.embedder, "PAI_DATABASE": "pai.local.postgres"}
    with product_silenced():
        found = measure(given.data, settings, given.sample, given.cache)
    show(found, given.json)


if __name__ == "__main__":
    main()
