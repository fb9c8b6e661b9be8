"""How documents become searchable: what each file of a folder ends as, and how fast PDFs are read, beside pypdf.

Pages a second are pages by CPU seconds of reading inside the child process, its start not counted, over the PDFs that both
read; `wall_pages_per_s` is over all PDFs from end to end, the start of a process for each and OCR included.
"""

from dataclasses import asdict
from pathlib import Path

from benchmarks.support.documents import compare, documents_in, read
from benchmarks.support.printing import Numbers, parser, product_silenced, show


def measure_reading(folder: Path) -> Numbers:
    """Read every file of a folder; return what each ended as, and the rates."""
    paths = documents_in(folder)
    outcomes = [read(path) for path in paths]
    both = list(compare(paths, outcomes))
    pdfs = [outcome for outcome in outcomes if outcome.pages and outcome.file.lower().endswith(".pdf")]
    return {
        "files": [_row(asdict(outcome)) for outcome in outcomes],
        "ready": sum(outcome.outcome == "ready" for outcome in outcomes),
        "failed": sum(outcome.outcome == "failed" for outcome in outcomes),
        "pages_per_s": _rate(sum(ours.pages or 0 for ours, _ in both), sum(ours.cpu_seconds for ours, _ in both)),
        "pypdf_pages_per_s": _rate(sum(theirs.pages for _, theirs in both), sum(theirs.cpu_seconds for _, theirs in both)),
        "pdfs_compared": len(both),
        "wall_pages_per_s": _rate(sum(outcome.pages or 0 for outcome in pdfs), sum(outcome.seconds for outcome in pdfs)),
    }


def _row(outcome: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in outcome.items() if name != "cpu_seconds"}


def _rate(pages: int, seconds: float) -> float:
    return round(pages / seconds, 1) if seconds else 0.0


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--docs", type=Path, required=True, metavar="DIR", help="a folder of documents")
    given = arguments.parse_args()
    with product_silenced():
        numbers = measure_reading(given.docs)
    show(numbers, given.json)


if __name__ == "__main__":
    main()
