"""Test collections of BEIR's form: corpus.jsonl, queries.jsonl, qrels.tsv (or qrels/test.tsv)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.ranking import Judgements


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
