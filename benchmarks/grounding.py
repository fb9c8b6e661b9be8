"""How often "not in your documents" is said wrongly, and how often it is not said though it should be, without a model.

DIR holds sets of documents with judged questions (BEIR's form: corpus.jsonl, queries.jsonl, qrels.tsv). Each set is a library
of its own; each judged question is put to its own set, which has the answer, and to all others, which have not. A few of the
others may have one by chance, which counts as false here all the same.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.support.printing import Numbers, parser, product_silenced, show
from benchmarks.support.processes import environment
from chalicelib.chat.grounding import grounded
from chalicelib.ingest.split import split
from chalicelib.records import Block, Chunk, Part, RetrievalOptions
from chalicelib.retriever import Indexing, Query
from chalicelib.wiring import Parts, here

SAMPLE = 200
BATCH = 256
GENERATION = "g1"


@dataclass(frozen=True)
class Judged:
    """A set of documents (id → title and text), and those of its questions that have an answer in it."""

    name: str
    documents: Mapping[str, tuple[str, str]]
    questions: Sequence[str]


def measure(folder: Path, settings: dict[str, str], sample: int) -> Numbers:
    """Return both rates, over all pairs of a question's set and a library, and for each."""
    sets = [_read(path.parent) for path in sorted(folder.glob("*/queries.jsonl"))]
    with TemporaryDirectory() as home, environment({**settings, "PAI_HOME": home}):
        parts = here()
        for judged in sets:
            _index(parts, judged)
        refused = {
            asked.name: {held.name: _refused(parts, questions, held.name) for held in sets}
            for asked, questions in ((asked, _sampled(asked.questions, sample)) for asked in sets)
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


def _read(folder: Path) -> Judged:
    documents = {row["_id"]: (row.get("title", ""), row["text"]) for row in _lines(folder / "corpus.jsonl")}
    judged = {line.split("\t")[0] for line in (folder / "qrels.tsv").read_text().splitlines() if not line.endswith("\t0")}
    questions = [row["text"] for row in _lines(folder / "queries.jsonl") if row["_id"] in judged]
    return Judged(folder.name, documents, questions)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        yield from map(json.loads, lines)


def _index(parts: Parts, judged: Judged) -> None:
    """Index a set under an owner of its name."""
    space, longest = parts.embedder.space, parts.embedder.longest_tokens
    chunks = [(document_id, chunk) for document_id in judged.documents for chunk in _chunks(judged, document_id, longest)]
    for start in range(0, len(chunks), BATCH):
        batch = chunks[start : start + BATCH]
        vectors = parts.embedder.embed([f"{chunk.context}\n{chunk.text}" for _, chunk in batch], "passage")
        for (document_id, chunk), vector in zip(batch, vectors, strict=True):
            indexing = Indexing(judged.name, document_id, GENERATION, space, "en")
            parts.retriever.replace(indexing, [chunk], [vector], last=False)
    for document_id in judged.documents:
        parts.retriever.replace(Indexing(judged.name, document_id, GENERATION, space, "en"), [], [], last=True)


def _chunks(judged: Judged, document_id: str, longest: int) -> list[Chunk]:
    title, text = judged.documents[document_id]
    return split(Part(0, None, (), (Block(text),)), title=title, first_ordinal=0, target_tokens=longest)


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
    arguments.add_argument("--sample", type=int, default=SAMPLE, help="so many questions of each set, at most")
    arguments.add_argument("--retriever", default="pgvector", help="as PAI_RETRIEVER")
    arguments.add_argument("--embedder", default="pai.local.minilm", help="as PAI_EMBEDDER")
    given = arguments.parse_args()
    settings = {"PAI_RETRIEVER": given.retriever, "PAI_EMBEDDER": given.embedder, "PAI_DATABASE": "pai.local.postgres"}
    with product_silenced():
        found = measure(given.data, settings, given.sample)
    show(found, given.json)


if __name__ == "__main__":
    main()
