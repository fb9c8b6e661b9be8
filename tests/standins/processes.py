"""Stand-ins in processes of their own, for as long as they are needed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 60


@contextmanager
def server(log: Path, *arguments: str) -> Iterator[str]:
    """Run a Python program that prints its address, with its output in `log`; yield the address."""
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _announced_url(process, log)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _announced_url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        for word in log.read_text().split():
            if word.startswith("http://127.0.0.1:"):
                return word
        time.sleep(0.05)
    raise RuntimeError(f"A server did not start:\n{log.read_text()}")
