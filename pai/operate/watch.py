"""A stage's logs, from all of its log groups in the order of time, with what to do about lines that tell of a trouble."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.platform.aws.clients import client
from pai.operate.account import is_missing, refusals
from pai.operate.troubles import Trouble, find

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
REACH_S = 60.0
"""How late CloudWatch may still show a line: each look goes back this far, and what was shown is not shown again."""


@dataclass(frozen=True)
class Line:
    """A line of a log. `at_ms` is Unix time."""

    id: str
    at_ms: int
    group: str
    text: str

    @property
    def trouble(self) -> Trouble | None:
        return find(self.text)


def seconds_of(text: str) -> float | None:
    """Return a span such as 90s, 10m, 2h or 1d in seconds; None for what is none."""
    found = re.fullmatch(r"(\d+)([smhd])", text)
    return float(int(found[1]) * UNITS_S[found[2]]) if found else None


def read(groups: Sequence[str], since_ms: int, pattern: str = "") -> list[Line]:
    """Return the lines since then, in the order of time. `pattern` is CloudWatch's filter, empty for every line."""
    logs = client("logs")
    with refusals("read the logs"):
        return sorted(
            (line for group in groups for line in _lines(logs, group, since_ms, pattern)), key=lambda line: line.at_ms
        )


def follow(groups: Sequence[str], since_ms: int, pattern: str = "", poll_s: float = 2.0) -> Iterator[Line]:
    """Yield the lines since then, and on and on those that come."""
    shown: set[str] = set()
    while True:
        for line in read(groups, since_ms, pattern):
            if line.id not in shown:
                shown.add(line.id)
                yield line
        newest = int((time.time() - REACH_S) * 1000)
        since_ms = max(since_ms, newest)
        time.sleep(poll_s)


def _lines(logs: Any, group: str, since_ms: int, pattern: str) -> Iterator[Line]:
    wanted = {"filterPattern": pattern} if pattern else {}
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since_ms, **wanted)
    try:
        for page in pages:
            for event in page["events"]:
                yield Line(event["eventId"], event["timestamp"], group, event["message"].rstrip("\n"))
    except ClientError as error:
        if not is_missing(error):  # one that was deleted meanwhile has no more lines
            raise
