"""benchmarks.ingest: whatever a file ends as has a row, and chunks are counted as they are stored."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.support.documents import read
from benchmarks.support.indexing import SPACE, batches_of, chunks_in
from benchmarks.support.peers import PEERS
from chalicelib.ingest.generation import BATCH_CHUNKS

ROOT = Path(__file__).resolve().parents[2]
RATES = ("chunks_per_s", "chunks_per_s_vector_only", "copy_chunks_per_s", "copy_at_once_chunks_per_s", "hnsw_insert_per_s")


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of two documents that can be read, and one that can't."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("lake.txt", "river.md"):
        (folder / name).write_text("\n\n".join(f"Sentence {number} speaks of the water of {name}." for number in range(200)))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    return folder


def test_program_prints_how_files_end_and_how_fast_chunks_are_stored(documents: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "benchmarks.ingest", "--docs", str(documents), "--chunks", "70", "--json"]

    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, check=True)

    numbers = json.loads(done.stdout)
    ends = {file["file"]: (file["outcome"], file["code"]) for file in numbers["files"]}
    assert ends == {"broken.pdf": ("failed", "DocumentCorrupt"), "lake.txt": ("ready", ""), "river.md": ("ready", "")}
    assert (numbers["ready"], numbers["failed"], numbers["other"]) == (2, 1, 0)
    assert numbers["chunks"] >= 70
    assert [name for name in RATES if not numbers[name] > 0] == []
    assert "peers" not in numbers
    assert list(scratch.iterdir()) == [], "its PostgreSQL is still there"


def test_file_whose_reading_fails_without_a_reason_is_counted_apart(tmp_path: Path) -> None:
    outcome = read(tmp_path / "not there.pdf")

    assert (outcome.outcome, outcome.code) == ("other", "FileNotFoundError")


def test_chunks_are_repeated_by_whole_documents_in_the_batches_that_ingestion_stores(documents: Path) -> None:
    chunks = chunks_in(sorted(documents.iterdir()))
    batches = batches_of(chunks, 3 * len(chunks) - 1)

    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert sum(len(batch.chunks) for batch in batches) == 3 * len(chunks)
    assert max(len(batch.chunks) for batch in batches) <= BATCH_CHUNKS
    assert [batch.document for batch in batches if batch.last] == ["document 0", "document 1", "document 2"]
    assert {len(vector) for batch in batches for vector in batch.vectors} == {SPACE.dimensions}


def test_libraries_to_compare_with_are_no_dependencies() -> None:
    lists = "\n".join(path.read_text() for path in [*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml"])

    assert [peer.package for peer in PEERS if peer.package in lists] == []
