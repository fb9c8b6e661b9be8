"""Runs the benchmarks, keeps what they gave in benchmarks/results.json, and writes the tables of docs/benchmarks.md."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.support.markdown import tables
from benchmarks.support.targets import Numbers, Results
from chalicelib.clock import iso
from tests.standins.processes import ROOT

PROGRAMS = ("turn", "coldstart", "local", "stream", "tokens")
ON_DATA: Mapping[str, tuple[str, ...]] = {"retrieval": ("--scale", "20000x1024"), "grounding": (), "isolation": ()}
"""Those that need a folder of judged collections, and what else they are told."""
ON_DOCUMENTS: Mapping[str, tuple[str, ...]] = {"ingest": ("--peers",), "answers": ()}
"""Those that need a folder of documents."""
PACKAGES = ("boto3", "chalice", "cryptography", "xllamacpp")
RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench writes -->"


def run(program: str, arguments: Iterable[str] = ()) -> Numbers:
    """Run a program in a process of its own, for nothing may be imported or warm that it measures."""
    load_before = os.getloadavg()[0]
    command = [sys.executable, "-m", f"benchmarks.{program}", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    load = {"load_before": load_before, "load_after": os.getloadavg()[0]}
    return {**_kept(json.loads(done.stdout)), "machine": machine() | load}


def _kept(numbers: Numbers) -> Numbers:
    """Return the numbers without a row for each file, whose names are the measurer's own: how many ended as what instead."""
    if "files" not in numbers:
        return numbers
    ends = Counter(file["code"] or file["outcome"] for file in numbers["files"])
    rest = {name: value for name, value in numbers.items() if name != "files"}
    other = sum(file["outcome"] not in ("ready", "failed") for file in numbers["files"])
    return {**rest, "files": len(numbers["files"]), "ends": dict(ends.most_common()), "other": other}


def machine() -> dict[str, Any]:
    """Return what a number's reader wants to know of where it was measured."""
    return {
        "measured_at": iso(time.time()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _cpu_model() -> str:
    """Return the processor's name; Linux alone keeps it in a file."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def with_tables(document: str, results: Results) -> str:
    """Return the document with the tables of these results in place of those it had."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}"


def stored() -> Results:
    """Return the results of earlier runs."""
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


def measured(programs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Numbers]]:
    for program, arguments in programs.items():
        print(f"benchmarks.{program} …", flush=True)
        yield program, run(program, arguments)


def _arguments(data: Path | None, docs: Path | None, cache: Path | None) -> dict[str, list[str]]:
    """Return the programs that can be run with these folders, and what each is told."""
    kept = ["--cache", str(cache)] if cache else []
    known: dict[str, list[str]] = {program: [] for program in PROGRAMS}
    if data:
        known |= {program: ["--data", str(data), *kept, *others] for program, others in ON_DATA.items()}
    if docs:
        known |= {program: ["--docs", str(docs), *others] for program, others in ON_DOCUMENTS.items()}
    return known


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"which to run; all if none: {', '.join(PROGRAMS)}")
    arguments.add_argument("--data", type=Path, metavar="DIR", help=f"judged collections, for {', '.join(ON_DATA)}")
    arguments.add_argument("--docs", type=Path, metavar="DIR", help=f"documents, for {', '.join(ON_DOCUMENTS)}")
    arguments.add_argument("--cache", type=Path, metavar="DIR", help="keeps the collections' embeddings between runs")
    arguments.add_argument("--tables-only", action="store_true", help="run nothing, write the tables of the stored results")
    given = arguments.parse_args()
    known = _arguments(given.data, given.docs, given.cache)
    if unknown := set(given.programs) - set(known):
        arguments.error(f"not to be run: {', '.join(sorted(unknown))}. Is a name wrong, or --data or --docs missing?")
    results = dict(stored())
    asked = {} if given.tables_only else {program: known[program] for program in given.programs or known}
    for program, numbers in measured(asked):
        results[program] = numbers
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), results))
    print(tables(results))


if __name__ == "__main__":
    main()
