"""The same model in a real `pai run` and bare in its engine, to be asked the same by turns."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from benchmarks.support.engine import bare_engine, model_file
from benchmarks.support.processes import environment
from tests.standins.processes import server

STORYTELLER = "You are a storyteller. Tell long stories with many details, and never stop early."
"""The system prompt of both."""


@dataclass(frozen=True)
class Sides:
    """`model` is the name of the file, `pai` a client of the server, `engine` what xllamacpp gives."""

    model: str
    pai: httpx.Client
    engine: Any


@contextmanager
def side_by_side(model: str) -> Iterator[Sides]:
    """Run a model on both sides. Conversations are not named by it, which would be work of one side only."""
    path = model_file(model)
    with TemporaryDirectory() as folder, environment({"PAI_HOME": f"{folder}/home", "PAI_TITLES": "0"}):
        program = ("-m", "pai", "run", "--port", "0", "--model", str(path))
        with server(Path(folder, "log"), *program) as url, bare_engine(path) as (engine, _):
            key = Path(folder, "home", "api-key").read_text().strip()
            with client_of(url, key) as pai:
                yield Sides(path.name, pai, engine)


def client_of(url: str, key: str) -> httpx.Client:
    """Return a client of a PAI that may take its time."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=300)


def to_engine(question: str, max_tokens: int) -> dict[str, Any]:
    """Return the engine's request for what `to_pai` asks."""
    messages = [{"role": "system", "content": STORYTELLER}, {"role": "user", "content": question}]
    return {"messages": messages, "max_tokens": max_tokens, "temperature": 0}


def to_pai(question: str, max_tokens: int) -> dict[str, Any]:
    """Return the body of POST /chat."""
    return {"message": question, "system_prompt": STORYTELLER, "max_tokens": max_tokens, "temperature": 0}
