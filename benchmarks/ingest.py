"""How documents become searchable: what each file of a folder ends as, how fast PDFs are read, how fast chunks are stored.

Pages a second are pages by CPU seconds of reading inside the child process, its start not counted, over the PDFs that both
read; `wall_pages_per_s` is over all PDFs from end to end, the start of a process for each and OCR included. Chunks are those
of the files, repeated, with made-up vectors of 1024: see support/indexing.py, and support/peers.py for `--peers`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.support.documents import Outcome, compare, documents_in, read
from benchmarks.support.indexing import batches_of, chunks_in, measure_indexing, own_server
from benchmarks.support.peers import MOST_CHUNKS, measure_peers
from benchmarks.support.printing import Numbers, parser, product_silenced, show

CHUNKS = 20_000


def measure_reading(paths: Sequence[Path]) -> Numbers:
    """Read every file; return what each ended as, and the rates."""
    outcomes = [read(path) for path in paths]
    both = list(compare(paths, outcomes))
    pdfs = [outcome for outcome in outcomes if outcome.pages and outcome.file.lower().endswith(".pdf")]
    return {
        "files": [_row(outcome) for outcome in outcomes],
        **{end: sum(outcome.outcome == end for outcome in outcomes) for end in ("ready", "failed", "other")},
        "pages_per_s": _rate(sum(ours.pages or 0 for ours, _ in both), sum(ours.cpu_seconds for ours, _ in both)),
        "pypdf_pages_per_s": _rate(sum(theirs.pages for _, theirs in both), sum(theirs.cpu_seconds for _, theirs in both)),
        "pdfs_compared": len(both),
        "wall_pages_per_s": _rate(sum(outcome.pages or 0 for outcome in pdfs), sum(outcome.seconds for outcome in pdfs)),
    }


def measure_storing(paths: Sequence[Path], count: int, *, peers: bool, cache: Path | None) -> Numbers:
    """Index the files' chunks, repeated until there are so many; return the rates."""
    chunks = chunks_in(paths)
    if not chunks:
        return {}
    with own_server() as server:
        numbers = measure_indexing(server, chunks, count)
        if not peers:
            return numbers
        return {**numbers, "peers": measure_peers(server, batches_of(chunks, min(count, MOST_CHUNKS)), cache)}


def _row(outcome: Outcome) -> dict[str, object]:
    return {name: value for name, value in asdict(outcome).items() if name != "cpu_seconds"}


def _rate(pages: int, seconds: float) -> float:
    return round(pages / seconds, 1) if seconds else 0.0


def _readable(numbers: dict[str, Any]) -> Numbers:
    """Return the numbers with a line for each file, and for each peer."""
    files = {file["file"]: "  ".join(str(value) for value in list(file.values())[1:]) for file in numbers["files"]}
    peers = {name: f"{peer['chunks_per_s']} chunks/s ({peer['version']})" for name, peer in numbers.get("peers", {}).items()}
    return {**files, **{name: value for name, value in numbers.items() if name not in ("files", "peers")}, **peers}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--docs", type=Path, required=True, metavar="DIR", help="a folder of documents")
    arguments.add_argument("--chunks", type=int, default=CHUNKS, help="how many are stored, at least")
    arguments.add_argument("--peers", action="store_true", help="also measure other libraries, which pip fetches")
    arguments.add_argument("--cache", type=Path, metavar="DIR", help="a folder that keeps these libraries between runs")
    given = arguments.parse_args()
    with product_silenced():
        paths = documents_in(given.docs)
        numbers = {**measure_reading(paths), **measure_storing(paths, given.chunks, peers=given.peers, cache=given.cache)}
    show(numbers if given.json else _readable(numbers), given.json)


if __name__ == "__main__":
    main()
