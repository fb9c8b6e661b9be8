"""Looking for an Ollama on this machine, over real HTTP."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pai.local import ollama


@contextmanager
def answering(content: str) -> Iterator[str]:
    """Serve this as the list of models; yield the server's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/tags" else 404)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output to itself."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_its_models_are_listed_by_name() -> None:
    with answering(json.dumps({"models": [{"name": "llama3.2:3b", "size": 1}, {"name": "qwen3:latest"}]})) as url:
        assert ollama.find(url) == ["llama3.2:3b", "qwen3:latest"]


@pytest.mark.parametrize("content", ["", "<html>", "[]", "{}", '{"models": null}', '{"models": [{}]}'])
def test_something_else_at_its_address_is_no_ollama(content: str) -> None:
    with answering(content) as url:
        assert ollama.find(url) == []


def test_no_ollama_is_no_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    assert ollama.find(url) == []


def test_an_address_that_never_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert ollama.find(f"http://127.0.0.1:{mute.getsockname()[1]}") == []
