"""llama.cpp in this process: a model loaded once, answering a few requests at a time, each of which can be stopped."""

import atexit
import mmap
import os
import platform
import queue
import struct
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chalicelib.errors import Misconfigured

SLOTS = 2
"""Answers at a time, each with a whole context window. Two share the work of reading the weights; more only wait longer."""
BATCH_TOKENS = 128
"""How much of a prompt is read before anybody can stop it or another answer gets its next word."""
PROMPT_CACHE_MIB = 512
"""Memory for the prompts of conversations that gave their slot to another one (the engine's own default is 8 GB)."""
LAST_BATCH_S = 10.0
"""How long stopped answers may take to stop."""
HEAD_BYTES = 128_000_000
"""Within so many bytes of a GGUF file are its key-value pairs, the vocabulary and the chat template among them."""

# A key, the number 8 for a string, and the string's length: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_TEMPLATE = b"tokenizer.chat_template" + struct.pack("<I", 8)
_TEMPLATE_FOR_TOOLS = b"tokenizer.chat_template.tool_use"

Chunk = Mapping[str, Any]
"""One `chat.completion.chunk` of OpenAI's protocol, or `{"error": …}`."""


class LoadFailed(Exception):
    """The engine takes this file for no model, or has not enough memory for it."""


class Busy(Exception):
    """All slots are taken, and nobody finished in time."""


class Answer:
    """One request under way, in a thread of its own."""

    def __init__(self, server: Any, request: dict[str, Any], ended: Callable[["Answer"], None]) -> None:
        self._server, self._request, self._ended = server, request, ended
        self._chunks: queue.SimpleQueue[Chunk | Exception | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="answer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def next(self, timeout_s: float) -> Chunk | None:
        """Return the next chunk, None after the last. Raises `queue.Empty` when none came in time, or the engine's error."""
        chunk = self._chunks.get(timeout=max(timeout_s, 0))
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def stop(self) -> None:
        """Have the engine stop working on this, at the latest when it has read another `BATCH_TOKENS`."""
        self._stopped.set()

    def join(self) -> None:
        self._thread.join(LAST_BATCH_S)

    def _work(self) -> None:
        try:
            self._server.handle_chat_completions(self._request, self._receive)
            self._chunks.put(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the thread that waits for chunks
            self._chunks.put(error)
        finally:
            self._ended(self)

    def _receive(self, chunk: Chunk) -> bool:
        """Take a chunk from the engine; True tells it to stop."""
        self._chunks.put(chunk)
        return self._stopped.is_set()


class Engine:
    """One model in memory."""

    def __init__(self, path: Path, context_tokens: int, threads: int) -> None:
        """Load it; takes seconds, during which this process does nothing else. Raises `LoadFailed`."""
        self._server = _load(path, context_tokens, threads)
        self._slots = threading.Semaphore(SLOTS)
        self._answers: set[Answer] = set()

    def answer(self, request: dict[str, Any], timeout_s: float) -> Answer:
        """Begin a chat completion as soon as a slot is free. Raises `Busy`."""
        if not self._slots.acquire(timeout=max(timeout_s, 0)):
            raise Busy
        if self._server is None:  # closed while this request waited for its slot
            self._slots.release()
            raise Busy
        # Unless a request is made to stream, the engine can't be stopped; without progress, not while it reads the prompt.
        request = {**request, "stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
        answer = Answer(self._server, request, self._ended)
        self._answers.add(answer)
        answer.start()
        return answer

    def _ended(self, answer: Answer) -> None:
        self._answers.discard(answer)
        self._slots.release()

    def close(self) -> None:
        """Stop what is under way and give the memory back."""
        answers = list(self._answers)
        for answer in answers:
            answer.stop()
        for answer in answers:
            answer.join()
        self._server = None


_engines: dict[tuple[Path, int, int], Engine] = {}
_loading = threading.Lock()


def engine_for(path: Path, context_tokens: int, threads: int) -> Engine:
    """Return the engine that has this model in memory, loaded now if it is not there yet. Raises `LoadFailed`."""
    key = (path, context_tokens, threads or usable_cores())
    with _loading:
        if key not in _engines:
            _engines[key] = Engine(*key)
        return _engines[key]


# A thread that comes out of the engine when the interpreter is gone would take the process down with a crash.
@atexit.register
def close_engines() -> None:
    """Stop every answer and give all models' memory back; who asks again loads again."""
    with _loading:
        while _engines:
            _engines.popitem()[1].close()


@cache
def knows_tools(path: Path) -> bool:
    """Whether a model's chat template has a place for tools. Without one the engine leaves them out, and says nothing."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_TEMPLATE_FOR_TOOLS, 0, HEAD_BYTES) >= 0:
            return True
        at = content.find(_TEMPLATE, 0, HEAD_BYTES) + len(_TEMPLATE)
        if at < len(_TEMPLATE):
            return False
        (size,) = struct.unpack_from("<Q", content, at)
        return b"tools" in content[at + 8 : at + 8 + size]


def usable_cores() -> int:
    """Return how many cores this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bindings() -> Any:
    # Threads that wait for each other spin for 1000 rounds, then sleep. llama.cpp's default spins 300 times as long, which
    # a busy machine pays for dearly; never spinning (OMP_WAIT_POLICY=passive) takes 2 to 4 times as long on an idle one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import xllamacpp  # type: ignore[import-untyped]
    except ImportError as error:
        raise Misconfigured(
            f"The engine for local models is not here ({error}). `pip install -r requirements-local.txt` brings it; "
            "slim Linux images also need libgomp1 (`apt-get install libgomp1`)."
        ) from error
    return xllamacpp


def _load(path: Path, context_tokens: int, threads: int) -> Any:
    bindings = _bindings()
    params = bindings.CommonParams()
    params.model.path = str(path)
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * context_tokens
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = -1
    # Measuring free memory first takes a second and only ever shrinks what we ask for.
    params.fit_params = False
    # Repacking the weights at load costs seconds, half as much memory again and, on x86, a fifth of the speed on prompts.
    params.no_extra_bufts = platform.machine() in ("x86_64", "AMD64")
    # A model that thinks aloud first would say nothing before the turn's deadline.
    params.enable_reasoning = 0
    params.n_threads_http = 1
    # The engine insists on a server of its own. It listens in a folder that only we may enter, and that is gone at once.
    with TemporaryDirectory(prefix="pai-") as folder:
        params.hostnames = [f"{folder}/http.sock"]
        try:
            return bindings.Server(params)
        except RuntimeError as error:
            raise LoadFailed from error
