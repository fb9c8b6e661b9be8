"""Logs as JSON lines on standard output: ids, numbers and class names; never content, keys or tokens."""

import logging
import sys
import traceback
from collections.abc import Mapping

from pythonjsonlogger.json import JsonFormatter

from chalicelib.errors import PaiError

log = logging.getLogger("chalicelib")  # "pai" is the logger of Chalice's app of that name, which it sets to ERROR


def configure() -> None:
    """Send PAI's log to standard output, one JSON object a line. Harmless when called again."""
    if log.handlers:
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter("%(levelname)s %(message)s", rename_fields={"levelname": "level"}, timestamp=True))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def request_done(fields: Mapping[str, object]) -> None:
    """Log one answered request."""
    log.info("request", extra=dict(fields))


def turn_done(fields: Mapping[str, object]) -> None:
    """Log a turn that a worker answered."""
    log.info("turn", extra=dict(fields))


def refused(error: PaiError) -> None:
    """Log why an API key was not let in; the sentence never holds the key."""
    log.info("refused", extra={"error": error.code, "reason": error.message})


def defect(error: BaseException, request_id: str) -> None:
    """Log where a mistake of ours happened: class and lines of code, never the error's text, which may hold content."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("defect", extra={"request_id": request_id, "error": type(error).__name__, "frames": frames})
