"""Test collections of BEIR's form: corpus.jsonl, queries.jsonl, qrels.tsv (or qrels/test.tsv)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.embedding import Cached
from benchmarks.support.ranking import Judgements
from chalicelib.embedder import Space, Vector
from chalicelib.ingest.language import detect
from chalicelib.ingest.split import split
from chalicelib.records import Block, Chunk, Part
from chalicelib.retriever import Indexing, Retriever

BATCH = 1000


@dataclass(frozen=True)
class Record:
    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Collection:
    """`queries` are those with judgements."""

    name: str
    records: Sequence[Record]
    queries: Mapping[str, str]
    judgements: Mapping[str, Judgements]

    @property
    def answered(self) -> list[str]:
        """The queries that some record answers."""
        return [text for id, text in self.queries.items() if any(gain > 0 for gain in self.judgements[id].values())]


def find(folder: Path) -> list[Path]:
    """Return the folder if it is a collection, or those in it that are."""
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return [path for path in folders if (path / "corpus.jsonl").exists()]


def read(folder: Path) -> Collection:
    judgements = _judgements(folder)
    queries = {str(line["_id"]): str(line["text"]) for line in _lines(folder / "queries.jsonl")}
    return Collection(
        folder.name,
        [
            Record(str(line["_id"]), line.get("title") or "", line.get("text") or "")
            for line in _lines(folder / "corpus.jsonl")
        ],
        {id: text for id, text in queries.items() if id in judgements},
        judgements,
    )


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _judgements(folder: Path) -> dict[str, dict[str, float]]:
    path = next(path for path in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if path.exists())
    found: dict[str, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, record, gain = line.split("\t")
        found.setdefault(query, {})[record] = float(gain)
    return found


# Into an index


def fill(retriever: Retriever, owner: str, records: Sequence[Record], embedder: Cached) -> int:
    """Index records under an owner, each as a part of one document, named like the owner; return how many chunks they are."""
    chunks = list(chunks_of(records, embedder.longest_tokens))
    vectors = embedder.embed([f"{chunk.context}\n{chunk.text}" for chunk in chunks], "passage")
    store(retriever, owner, chunks, vectors, embedder.space, language_of(records))
    return len(chunks)


def store(
    retriever: Retriever,
    owner: str,
    chunks: Sequence[Chunk],
    vectors: "Sequence[Vector[float]]",
    space: Space,
    language: str,
) -> None:
    indexing = Indexing(owner, owner, "1", space, language)
    for start in range(0, len(chunks), BATCH):
        end = start + BATCH
        retriever.replace(indexing, chunks[start:end], vectors[start:end], last=end >= len(chunks))


def chunks_of(records: Iterable[Record], tokens: int) -> Iterator[Chunk]:
    """Yield the chunks of all records, each record as a part. Between two ordinals one is left out: they are no neighbours."""
    ordinal = 0
    for index, record in enumerate(records):
        title, text = (record.title, record.text) if record.text.strip() else ("", record.title)
        found = split(Part(index, None, (), (Block(text),)), title=title, first_ordinal=ordinal, target_tokens=tokens)
        yield from found
        ordinal += len(found) + 1


def language_of(records: Sequence[Record]) -> str:
    return detect("\n".join(f"{record.title} {record.text}" for record in records[:200]))
