"""The benchmarks on AWS parts, as programs: tiny runs, of which all that is no matter of time must come out as promised."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.standins.processes import ROOT


def numbers_of(program: str, *arguments: str) -> dict[str, Any]:
    """Run a benchmark and return the one JSON object that it prints."""
    command = [sys.executable, "-m", f"benchmarks.{program}", "--json", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    numbers: dict[str, Any] = json.loads(run.stdout)
    return numbers


@pytest.fixture(scope="module")
def turn() -> dict[str, Any]:
    return numbers_of("turn", "--lengths", "1", "25", "50", "--rounds", "1")


def test_turn_costs_the_same_calls_and_units_however_long_the_conversation_is(turn: dict[str, Any]) -> None:
    assert turn["lengths"] == [1, 25, 50]
    asked, answered = ["Query", "PutItem", "UpdateItem", "ConverseStream"], ["UpdateItem", "PutItem", "UpdateItem"]
    assert turn["calls"] == [[*asked, *answered]] * 3
    assert (turn["reads"], turn["writes"], turn["bedrock_calls"]) == ([1] * 3, [5] * 3, [1] * 3)
    assert turn["budget_writes"] == [2] * 3
    assert turn["writes_with_idempotency_key"] == [6] * 3
    assert turn["write_units"] == [9] * 3
    assert turn["read_units"][1] == turn["read_units"][2]
    assert (turn["kms_warm"], turn["kms_cold"]) == (0, 1)
    assert len(turn["own_cpu_ms"]) == len(turn["sdk_cpu_ms"]) == 3


def test_turn_that_begins_a_conversation_reads_nothing_and_costs_no_more(turn: dict[str, Any]) -> None:
    first = turn["first_turn"]

    assert (first["reads"], first["writes"], first["write_units"]) == (0, 6, 9)


def test_cold_start_loads_nothing_that_a_chat_has_no_use_for() -> None:
    numbers = numbers_of("coldstart", "--rounds", "1")

    assert numbers["unwanted_modules"] == []
    assert "botocore" in numbers["modules"]
    assert {"import_ratio", "rss_mb"} <= numbers.keys()
