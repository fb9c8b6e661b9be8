"""`pai run` with a real model in it: the small one, where it has been fetched."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from chalicelib.settings import Settings
from pai.local.catalogue import find, installed, models_folder
from tests.e2e.test_run import Running, surroundings

pytestmark = pytest.mark.skipif(
    not installed(find("smollm2"), models_folder(Settings())), reason="needs `pai models fetch smollm2`"
)

OLLAMA = ("127.0.0.1", 11434)

Start = Callable[[], Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the server with the small model; one that still runs at the end is killed."""
    environment = {**surroundings(tmp_path), "PAI_LLM": "", "PAI_THREADS": "1"}
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(["--model", "smollm2"], environment))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()
        running.process.stdout.close()  # type: ignore[union-attr]


@contextmanager
def ollama(*models: str) -> Iterator[None]:
    """Stand where an Ollama would, with these models."""

    class Tags(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"models": [{"name": name} for name in models]}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        server = HTTPServer(OLLAMA, Tags)
    except OSError:
        pytest.skip("Something else listens where an Ollama would.")
    with server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield
        server.shutdown()


def test_small_model_answers_as_soon_as_it_says_so(start: Start) -> None:
    answer = start().chat("Say hello.")

    assert answer["model"] == "smollm2"
    assert answer["message"]
    assert answer["usage"]["output_tokens"] > 0


def test_stopping_in_the_middle_of_an_answer_leaves_nothing(start: Start) -> None:
    running = start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.chat, "Tell me a very long story about a ship.")
        running.wait_for_messages(1)

        assert running.stop(signal.SIGINT) == 130
        failure = answer.exception()
    assert isinstance(failure, httpx.HTTPError | None)
    assert "Traceback" not in running.rest()


def test_an_ollama_on_this_machine_is_offered_with_the_command_that_uses_it(start: Start) -> None:
    with ollama("llama3.2:3b", "qwen3"):
        running = start()

    assert "llama3.2:3b, qwen3" in running.said
    assert "PAI_LLM=openai PAI_MODEL=llama3.2:3b make run" in running.said


def test_no_ollama_is_not_spoken_of(start: Start) -> None:
    with ollama():
        running = start()

    assert "Ollama" not in running.said
