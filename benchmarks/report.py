"""Runs the benchmarks, writes what they gave to benchmarks/results.json, and the tables of docs/benchmarks.md from that."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.support.account import ROOT
from chalicelib.clock import iso

PROGRAMS = ("turn", "coldstart", "local", "tokens")
RESULTS = ROOT / "benchmarks" / "results.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by make bench: begin -->", "<!-- written by make bench: end -->"

Results = Mapping[str, Any]
"""By program: its numbers, and under `machine` where they come from."""


@dataclass(frozen=True)
class Target:
    """What a program's numbers should be. `value` finds the one number in them, which is to be `at_most` or `at_least` this."""

    program: str
    what: str
    value: Callable[[Results], float]
    at_most: float | None = None
    at_least: float | None = None

    def reached(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    @property
    def wanted(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}"


def _worst(name: str) -> Callable[[Results], float]:
    return lambda numbers: max(numbers[name])


def _growth(name: str) -> Callable[[Results], float]:
    """How much more a turn costs at the longest length than at the one before it."""
    return lambda numbers: float(numbers[name][-1] / numbers[name][-2])


TARGETS = (
    Target("turn", "DynamoDB reads in a turn", _worst("reads"), at_most=1),
    Target("turn", "DynamoDB writes in a turn", _worst("writes"), at_most=4),
    Target("turn", "Bedrock calls in a turn", _worst("bedrock_calls"), at_most=1),
    Target("turn", "DynamoDB write units of a turn, index included", _worst("write_units"), at_most=9),
    Target("turn", "KMS calls, warm", lambda numbers: numbers["kms_warm"], at_most=0),
    Target("turn", "KMS calls, cold", lambda numbers: numbers["kms_cold"], at_most=1),
    Target(
        "turn",
        "Further writes with an Idempotency-Key",
        lambda numbers: max(
            more - plain for more, plain in zip(numbers["writes_with_idempotency_key"], numbers["writes"], strict=True)
        ),
        at_most=2,
    ),
    Target("turn", "Write units at 1000 turns ÷ at 100", _growth("write_units"), at_most=1.25),
    Target("turn", "Read units at 1000 turns ÷ at 100", _growth("read_units"), at_most=1.25),
    Target("turn", "Bytes at 1000 turns ÷ at 100", _growth("bytes"), at_most=1.25),
    Target("turn", "CPU time at 1000 turns ÷ at 100, AWS's client included", _growth("cpu_ms"), at_most=1.25),
    Target("turn", "PAI's own CPU time of a turn, ms", _worst("own_cpu_ms"), at_most=3),
    Target("coldstart", "`import app` ÷ a bare Chalice app with boto3", lambda numbers: numbers["import_ratio"], at_most=1.3),
    Target("coldstart", "Memory after the first /chat, MB", lambda numbers: numbers["rss_mb"], at_most=110),
    Target(
        "coldstart",
        "Modules for documents or local models in it",
        lambda numbers: len(numbers["unwanted_modules"]),
        at_most=0,
    ),
    Target("local", "Tokens a second through /chat ÷ bare engine", lambda numbers: numbers["throughput_ratio"], at_least=0.9),
)
