"""What a cold start costs on stage dev: importing app.py, against a bare Chalice app of one route that also imports boto3;
and what the process has in memory after its first /chat.

Every measurement is a new process; the two apps take turns. moto and the Bedrock stand-in run in processes of their own.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.support.account import dev_account
from benchmarks.support.options import number, run
from benchmarks.support.printing import Numbers
from tests.standins.processes import ROOT

ROUNDS = 21
FIRST_CHATS = 5
UNWANTED = {"pypdf", "psycopg", "xllamacpp", "llama_cpp", "onnxruntime", "numpy", "pai"}
"""What a chat without documents has no use for: none of it may be in a function's memory."""

BARE_APP = """
import boto3
from chalice import Chalice

app = Chalice(app_name="bare")


@app.route("/")
def index():
    return {"boto3": boto3.__version__}
"""
TIMED_IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
wall, cpu = time.perf_counter(), time.process_time()
import app
print([time.perf_counter() - wall, time.process_time() - cpu])
"""


def measure(rounds: int = ROUNDS, first_chats: int = FIRST_CHATS) -> Numbers:
    """Return the imports' ratio, in time and in CPU time, and what the first /chat leaves behind. MB are 10^6 bytes."""
    with dev_account("Hello.", deltas=4), tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(BARE_APP)
        timed = [(_import_s(str(ROOT)), _import_s(folder)) for _ in range(1 + rounds)][1:]
        chats = [_python("-m", "benchmarks.support.first_chat") for _ in range(first_chats)]
    [ours_s, ours_cpu_s], [bare_s, bare_cpu_s] = (map(median, zip(*times, strict=True)) for times in zip(*timed, strict=True))
    return {
        "import_ratio": round(ours_s / bare_s, 3),
        "import_cpu_ratio": round(ours_cpu_s / bare_cpu_s, 3),
        "import_ms": round(ours_s * 1000),
        "bare_import_ms": round(bare_s * 1000),
        "first_chat_ms": median(chat["first_chat_ms"] for chat in chats),
        "rss_mb": median(chat["rss_mb"] for chat in chats),
        "modules": chats[0]["modules"],
        "unwanted_modules": sorted(UNWANTED.intersection(chats[0]["modules"])),
    }


def _import_s(folder: str) -> tuple[float, float]:
    """Return the seconds and CPU seconds that `import app` takes in a new process."""
    wall_s, cpu_s = _python("-c", TIMED_IMPORT, folder)
    return wall_s, cpu_s


def _python(*arguments: str) -> Any:
    """Run Python in a process of its own; return the JSON that it prints."""
    run = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


if __name__ == "__main__":
    run(__doc__, measure, number("rounds", ROUNDS, "timed imports of each app"))
