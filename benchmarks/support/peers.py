"""Other libraries' ways into the same PostgreSQL, each in a virtual environment that pip makes: they are no part of PAI.

They get the same texts and vectors, no index beside the primary key, and what their documentation shows: the defaults. So
they make no postings; `chunks_per_s_vector_only` is what compares.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.support.indexing import Batch
from pai.local.postgres.server import Server

PROGRAM = Path(__file__).with_name("peer.py")
DATABASE = "peers"
MOST_CHUNKS = 3000
"""The slowest of them takes seconds for these."""


@dataclass(frozen=True)
class Peer:
    package: str
    version: str
    store: str

    @property
    def name(self) -> str:
        return f"{self.package} {self.store}"


PEERS = (
    Peer("langchain-postgres", "0.0.19", "PGVectorStore"),
    Peer("langchain-postgres", "0.0.19", "PGVector"),
    Peer("llama-index-vector-stores-postgres", "0.9.0", "PGVectorStore"),
)


def measure_peers(server: Server, batches: Sequence[Batch], cache: Path | None) -> Mapping[str, Any]:
    """Return name → version, and chunks a second. `cache` keeps their environments for the next run."""
    server.connect(DATABASE).close()
    with TemporaryDirectory(prefix="pai-") as folder, nullcontext(str(cache)) if cache else TemporaryDirectory() as kept:
        _write(Path(folder), batches)
        return {
            peer.name: {
                "version": peer.version,
                "chunks_per_s": _measure(peer, server.url(DATABASE), Path(folder), Path(kept)),
            }
            for peer in PEERS
        }


def _write(folder: Path, batches: Sequence[Batch]) -> None:
    import numpy as np

    pairs = [pair for batch in batches for pair in zip(batch.chunks, batch.vectors, strict=True)][:MOST_CHUNKS]
    (folder / "texts.json").write_text(json.dumps([f"{chunk.context}\n{chunk.text}" for chunk, _ in pairs]))
    np.save(folder / "vectors.npy", np.array([vector for _, vector in pairs], "f4"))


def _measure(peer: Peer, url: str, folder: Path, cache: Path) -> float:
    python = _environment(peer, cache) / "bin" / "python"
    # -P: beside the program are modules with names of the standard library's.
    command = [str(python), "-P", str(PROGRAM), peer.package, peer.store, url, str(folder)]
    rate: float = json.loads(_run(command))["chunks_per_s"]
    return rate


def _environment(peer: Peer, cache: Path) -> Path:
    """Return the virtual environment with a peer's package, made if it is not there."""
    folder = cache / f"{peer.package}-{peer.version}"
    if not (folder / "complete").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run(
            [
                str(folder / "bin" / "pip"),
                "install",
                "--quiet",
                "--disable-pip-version-check",
                f"{peer.package}=={peer.version}",
            ]
        )
        (folder / "complete").touch()
    return folder


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout
