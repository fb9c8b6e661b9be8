"""Runs the benchmarks, keeps what they gave in benchmarks/results.json, and writes the tables of docs/benchmarks.md."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.support.processes import ROOT
from chalicelib.clock import iso

PROGRAMS = ("turn", "coldstart", "local", "tokens")
RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench writes -->"

Numbers = Mapping[str, Any]
Results = Mapping[str, Numbers]
"""By program: its numbers, and under `machine` where they come from."""


@dataclass(frozen=True)
class Target:
    """A number of one program, and what it should be: at most `limit`, or at least, if `least`."""

    program: str
    what: str
    value: Callable[[Numbers], float]
    limit: float
    least: bool = False

    def row(self, results: Results) -> list[str]:
        value = self.value(results[self.program])
        reached = value >= self.limit if self.least else value <= self.limit
        return [self.what, f"{'≥' if self.least else '≤'} {self.limit:g}", f"{value:.4g}", "yes" if reached else "**no**"]


def _most(name: str) -> Callable[[Numbers], float]:
    return lambda numbers: float(max(numbers[name]))


def _growth(*names: str) -> Callable[[Numbers], float]:
    """How much more these are together at the longest length than at the one before it."""
    return lambda numbers: float(sum(numbers[name][-1] for name in names) / sum(numbers[name][-2] for name in names))


def _further_writes(numbers: Numbers) -> float:
    pairs = zip(numbers["writes_with_idempotency_key"], numbers["writes"], strict=True)
    return float(max(keyed - plain for keyed, plain in pairs))


TARGETS = (
    Target("turn", "DynamoDB reads in a turn", _most("reads"), 1),
    Target("turn", "DynamoDB writes in a turn", _most("writes"), 4),
    Target("turn", "Bedrock calls in a turn", _most("bedrock_calls"), 1),
    Target("turn", "DynamoDB write units of a turn, index included", _most("write_units"), 9),
    Target("turn", "KMS calls in a turn, warm", lambda numbers: numbers["kms_warm"], 0),
    Target("turn", "KMS calls in a turn, cold", lambda numbers: numbers["kms_cold"], 1),
    Target("turn", "Further writes with an `Idempotency-Key`", _further_writes, 2),
    Target("turn", "Write units at 1000 turns ÷ at 100", _growth("write_units"), 1.25),
    Target("turn", "Read units at 1000 turns ÷ at 100", _growth("read_units"), 1.25),
    Target("turn", "Bytes at 1000 turns ÷ at 100", _growth("bytes_sent", "bytes_received"), 1.25),
    Target("turn", "CPU time at 1000 turns ÷ at 100, the SDK's included", _growth("cpu_ms"), 1.25),
    Target("turn", "PAI's own CPU time of a turn, ms, at the worst length", _most("own_cpu_ms"), 3),
    Target("coldstart", "`import app` ÷ a bare Chalice app with boto3", lambda numbers: numbers["import_ratio"], 1.3),
    Target("coldstart", "Memory after the first `/chat`, MB", lambda numbers: numbers["rss_mb"], 110),
    Target("coldstart", "Modules in it that a chat has no use for", lambda numbers: len(numbers["unwanted_modules"]), 0),
    Target("local", "Tokens a second through `/chat` ÷ bare engine", lambda numbers: numbers["throughput_ratio"], 0.9, True),
    Target("local", "… for a short question", lambda numbers: numbers["short_question"]["throughput_ratio"], 0.9, True),
)
TURN_ROWS = {
    "reads": "DynamoDB reads",
    "read_units": "read units",
    "writes": "DynamoDB writes",
    "write_units": "write units, index included",
    "bedrock_calls": "Bedrock calls",
    "kms_calls": "KMS calls",
    "bytes_sent": "bytes sent",
    "bytes_received": "bytes received",
    "sdk_cpu_ms": "CPU of bare boto3, ms",
    "own_cpu_ms": "CPU of PAI, ms",
}


def run(program: str) -> Numbers:
    """Run a program in a process of its own, for nothing may be imported or warm that it measures."""
    load_before = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", "--json"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return {**json.loads(done.stdout), "machine": machine() | {"load_before": load_before, "load_after": os.getloadavg()[0]}}


def machine() -> dict[str, Any]:
    """Return what a number's reader wants to know of where it was measured."""
    return {
        "measured_at": iso(time.time()),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("boto3", "chalice", "cryptography", "xllamacpp")},
    }


def _cpu_model() -> str:
    """Return the processor's name; Linux alone keeps it in a file."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def tables(results: Results) -> str:
    """Return the Markdown of what was measured; of programs without results, nothing."""
    parts = [_targets(results)]
    if "turn" in results:
        parts.append(_turns(results["turn"]))
    if "tokens" in results:
        parts.append(_estimates(results["tokens"]))
    parts.append(_origins(results))
    return "\n\n".join(parts)


def _targets(results: Results) -> str:
    rows = [target.row(results) for target in TARGETS if target.program in results]
    return "## Targets\n\n" + _table(["what", "target", "measured", "reached"], rows)


def _turns(numbers: Numbers) -> str:
    header = ["turns before it", "0 (begins a conversation)", *map(str, numbers["lengths"])]
    rows = [[what, str(numbers["first_turn"][name]), *map(str, numbers[name])] for name, what in TURN_ROWS.items()]
    return "## One turn of 2.7 KB\n\n" + _table(header, rows)


def _estimates(numbers: Numbers) -> str:
    columns = (numbers[name] for name in ("kinds", "bytes", "tokens", "ratio"))
    rows = [list(map(str, row)) for row in zip(*columns, strict=True)]
    title = f"## The estimate of tokens, against {numbers['model']}"
    return f"{title}\n\n" + _table(["text", "bytes", "tokens", "estimate ÷ tokens"], rows)


def _origins(results: Results) -> str:
    return "## Where this was measured\n\n" + "\n".join(_origin(name, results[name]["machine"]) for name in results)


def _origin(program: str, machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "boto3", "chalice", "cryptography", "xllamacpp"))
    return (
        f"- `{program}`: {machine['measured_at'][:10]}, {machine['cores']} cores of {machine['cpu']}, {machine['system']}, "
        f"{versions}; load average {machine['load_before']:.1f} before and {machine['load_after']:.1f} after"
    )


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---", *(["---:"] * (len(header) - 1))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def with_tables(document: str, results: Results) -> str:
    """Return the document with the tables of these results in place of those it had."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}"


def stored() -> Results:
    """Return the results of earlier runs."""
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return results


def measured(programs: Iterable[str]) -> Iterator[tuple[str, Numbers]]:
    for program in programs:
        print(f"benchmarks.{program} …", flush=True)
        yield program, run(program)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"which to run; all if none: {', '.join(PROGRAMS)}")
    arguments.add_argument("--tables-only", action="store_true", help="run nothing, write the tables of the stored results")
    given = arguments.parse_args()
    if unknown := set(given.programs) - set(PROGRAMS):
        arguments.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    results = dict(stored())
    for program, numbers in measured(() if given.tables_only else given.programs or PROGRAMS):
        results[program] = numbers
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), results))
    print(tables(results))


if __name__ == "__main__":
    main()
