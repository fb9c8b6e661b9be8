"""Whether searches keep to their owner, where all owners speak of the same things: of conversations, each is an owner's.

DIR holds collections of BEIR's form; those count whose ids name a conversation before a slash (`conv-26/D1:3`). Every owner
asks every question, and each passage is looked at for whose it is. `found` is how many there were, so that silence is not
taken for isolation; `foreign` how many of them were another's.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from benchmarks.support.collections import Collection, Record, fill, find, read
from benchmarks.support.deployment import deployment, library
from benchmarks.support.embedding import Cached
from benchmarks.support.options import CACHE, COLLECTIONS, EMBEDDER, RETRIEVER, run
from benchmarks.support.printing import Numbers
from chalicelib.retriever import Query

PASSAGES = 30


def measure(data: Path, retriever: str, embedder: str, cache: Path | None) -> Numbers:
    shared = [collection for collection in map(read, find(data)) if _is_of_owners(collection)]
    questions = [text for collection in shared for text in collection.queries.values()]
    with deployment(library(retriever, embedder)) as parts:
        cached = Cached(parts.embedder, cache)
        owners = _by_owner([record for collection in shared for record in collection.records])
        for owner, records in owners.items():
            fill(parts.retriever, owner, records, cached)
        vectors = zip(questions, cached.embed(questions, "query"), strict=True)
        asked = [Query(owner, text, vector, cached.space, PASSAGES) for owner, (text, vector) in product(owners, vectors)]
        whose = [(query.owner, passage.document_id) for query in asked for passage in parts.retriever.search(query)]
    foreign = sum(owner != document_id for owner, document_id in whose)
    return {"owners": len(owners), "searches": len(asked), "found": len(whose), "foreign": foreign}


def _is_of_owners(collection: Collection) -> bool:
    return all("/" in record.id for record in collection.records)


def _by_owner(records: Sequence[Record]) -> Mapping[str, Sequence[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.id.partition("/")[0], []).append(record)
    return found


if __name__ == "__main__":
    run(__doc__, measure, COLLECTIONS, CACHE, RETRIEVER, EMBEDDER)
