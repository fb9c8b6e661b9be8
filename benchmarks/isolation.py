"""Whether searches keep to their owner, where all owners speak of the same things: of conversations, each is an owner's.

DIR holds collections of BEIR's form; those count whose ids name a conversation before a slash (`conv-26/D1:3`). Every owner
asks every question, and each passage is looked at for whose it is. `found` is how many there were, so that silence is not
taken for isolation; `foreign` how many of them were another's.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.support.collections import Collection, Record, fill, find, read
from benchmarks.support.embedding import Cached
from benchmarks.support.printing import Numbers, parser, product_silenced, show
from benchmarks.support.processes import environment
from chalicelib.retriever import Query
from chalicelib.wiring import here

PASSAGES = 30


def measure(folder: Path, settings: dict[str, str], cache: Path | None) -> Numbers:
    shared = [collection for collection in map(read, find(folder)) if _is_of_owners(collection)]
    questions = [text for collection in shared for text in collection.queries.values()]
    with TemporaryDirectory() as home, environment({**settings, "PAI_HOME": home}):
        parts = here()
        embedder = Cached(parts.embedder, cache)
        owners = _by_owner([record for collection in shared for record in collection.records])
        for owner, records in owners.items():
            fill(parts.retriever, owner, records, embedder)
        vectors = zip(questions, embedder.embed(questions, "query"), strict=True)
        asked = [Query(owner, text, vector, embedder.space, PASSAGES) for owner, (text, vector) in product(owners, vectors)]
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


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="a folder of collections")
    arguments.add_argument("--cache", type=Path, help="a folder that keeps embeddings between runs")
    arguments.add_argument("--retriever", default="pgvector", help="as PAI_RETRIEVER")
    arguments.add_argument("--embedder", default="pai.local.minilm", help="as PAI_EMBEDDER")
    given = arguments.parse_args()
    settings = {"PAI_RETRIEVER": given.retriever, "PAI_EMBEDDER": given.embedder, "PAI_DATABASE": "pai.local.postgres"}
    with product_silenced():
        found = measure(given.data, settings, given.cache)
    show(found, given.json)


if __name__ == "__main__":
    main()
