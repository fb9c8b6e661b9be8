"""One cold process: import the product, answer one /chat, say what that took. A program of its own, started for each try."""

import json
import os
import resource
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.support.asking import ask, chat_event

OURS = {"app", "benchmarks", "chalicelib"}


def main() -> None:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        started = time.perf_counter()
        from app import app

        ask(app, chat_event({"message": "Hello!"}))
        took_s = time.perf_counter() - started
    print(json.dumps({"first_chat_ms": round(took_s * 1000), "rss_mb": round(rss_mb(), 1), "modules": packages()}))


def rss_mb() -> float:
    """Return the memory that this process occupies, in MB of 10^6 bytes; its peak, where there is no /proc."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def packages() -> list[str]:
    """Return the imported top-level modules that are neither Python's nor the product's own."""
    names = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - OURS
    return sorted(name for name in names if not name.startswith("_"))


if __name__ == "__main__":
    main()
