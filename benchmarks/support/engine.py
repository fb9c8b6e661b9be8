"""The engine of local models without PAI: llama.cpp as its own package gives it, with its own defaults."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.standins.processes import ROOT

CONTEXT_TOKENS = 4096
DEFAULT_MODEL = "qwen2.5-coder-1.5b"


def model_file(name: str) -> Path:
    """Return the file of a catalogue's model (or of a path), fetched if it is not there."""
    command = [sys.executable, "-m", "pai", "models", "fetch", name, "--json"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return Path(json.loads(run.stdout)["path"])


@contextmanager
def bare_engine(model: Path) -> Iterator[tuple[Any, str]]:
    """Load a model in this process; yield the engine and the path of the socket that its own HTTP server listens on."""
    # As PAI itself sets it: on a shared machine, the default spins away the time that is to be measured.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    import xllamacpp  # type: ignore[import-untyped]

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.verbosity = -1
    with TemporaryDirectory() as folder:
        socket = f"{folder}/http.sock"
        params.hostnames = [socket]
        yield xllamacpp.Server(params), socket
