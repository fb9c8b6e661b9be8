"""Whether each part works: touched in earnest, one by one, with what is wrong."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from chalicelib.errors import FileNotFound, PaiError, Unavailable
from chalicelib.http import Reply

if TYPE_CHECKING:
    from chalicelib.wiring import Parts

VERSION = "0.1.0"


def checked(parts: "Parts") -> Reply:
    """Return the reply of /health/deep: 503 when a part fails."""
    report = check_parts(parts)
    failing = {"Retry-After": str(Unavailable.retry_after_s)}
    return Reply(report) if report["status"] == "ok" else Reply(report, 503, failing)


def check_parts(parts: "Parts") -> Mapping[str, object]:
    """Return {"status": "ok"|"failing", "version", "parts": {name: {"ok", "ms", "Code"?, "Message"?}}}."""
    checks: Mapping[str, Callable[[], object]] = {
        "store": lambda: parts.store.get("health", "~"),
        "cipher": lambda: _round_trip(parts),
        "keys": lambda: parts.platform.keys.load(),
        "llm": lambda: parts.llm.models(),
    }
    if parts.settings.retriever != "none":  # without documents there are no files, and no right to read them
        checks = {**checks, **_checks_of_documents(parts)}
    results = {name: _result(check) for name, check in checks.items()}
    failing = any(not result["ok"] for result in results.values())
    return {"status": "failing" if failing else "ok", "version": VERSION, "parts": results}


def _checks_of_documents(parts: "Parts") -> Mapping[str, Callable[[], object]]:
    return {
        "files": lambda: _touch_files(parts),
        "queue": lambda: parts.platform.queue.waiting(),
        "embedder": lambda: parts.embedder.embed(["health"], "query"),
        "retriever": lambda: parts.retriever.chunks("health", "~", 0, 0),
    }


def _result(check: Callable[[], object]) -> dict[str, object]:
    started = time.monotonic()
    try:
        check()
        problem: dict[str, object] = {}
    except PaiError as error:
        problem = {"Code": error.code, "Message": error.message}
    return {"ok": not problem, "ms": round((time.monotonic() - started) * 1000, 1), **problem}


def _round_trip(parts: "Parts") -> None:
    """Wrap and unwrap a throw-away key."""
    key, context = os.urandom(32), {"purpose": "health"}
    cipher = parts.platform.cipher
    if cipher.unwrap(cipher.wrap(key, context), context) != key:
        raise PaiError("The cipher gave back another key than it was given.")


def _touch_files(parts: "Parts") -> None:
    with suppress(FileNotFound):
        parts.platform.files.open("health").close()
