"""`pai run`: one machine's server, from an empty folder to a chatbot that answers, and back to nothing left running."""

import errno
import importlib
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
from chalice.app import Chalice

from chalicelib.errors import ModelError
from chalicelib.settings import Settings, read_settings
from chalicelib.wiring import Parts, parts
from pai.home import Home, announce, find_home, locked, open_home, tell_once
from pai.local import ollama
from pai.local.catalogue import find, models_folder
from pai.local.fetch import fetch
from pai.local.gateway import Gateway
from pai.local.minilm import MODEL as MINILM
from pai.local.server import HttpServer
from pai.progress import progress_bar
from pai.ring import ensure_first_key
from pai.stage import LOCAL, enter_stage, explained, project_folder, stage_config

EMBEDDED = "pai.local.llamacpp"
EMBEDDED_EMBEDDER = "pai.local.minilm"
GRACE_S = 1.0
"""How long requests, and turns in the background, may go on after we were told to stop."""
LAST_WORDS_S = 0.7
"""How long they may then take to say that the model stopped."""
LOOKS_UP_S = 0.5
LAST_PORT = 65535
EXIT_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 0, signal.SIGHUP: 0}
"""Signals that stop us, each with the exit status that is customary for it."""


def serve(host: str, port: int, model: str | None) -> None:
    """Make everything ready, serve, and raise SystemExit when a signal says that it is enough.

    `host` and `port` are what to listen on (port 0: any that is free); `model` a catalogue name, or the path of a GGUF file.
    """
    with _ended_by_signals():
        settings = _enter(model)
        home = find_home(settings.home)
        with locked(home), _reserved(host, port) as server, explained():
            open_home(home)
            url = _url(host, server.port)
            os.environ["PAI_PUBLIC_URL"] = os.environ.get("PAI_PUBLIC_URL") or url
            ours = parts(read_settings())
            ours.runs.begin_alone()
            _touch(ours)
            ensure_first_key(home, ours.platform.keys)
            _prepare_model(ours)
            _prepare_library(ours)
            _listen(server, host)
            try:
                announce(home, url)
                _go_on_reading(ours)
                _tell_ready(settings, home, host, url)
                while True:
                    # A signal may be taken by a thread of the engine, which does not wake this one: so it looks up at times.
                    time.sleep(LOOKS_UP_S)
            except SystemExit as end:
                _stop(server, ours, int(end.code or 0))
                raise


def _enter(model: str | None) -> Settings:
    """Take on the stage's environment, with this model in it."""
    if model:
        os.environ["PAI_MODEL"] = model
    return enter_stage(LOCAL)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Leave this block by SystemExit at the first signal. The end takes a moment, in which more of them change nothing:
    `timeout`, or make with its whole process group, may send the same one twice."""

    def end(number: int, frame: FrameType | None) -> None:
        for name in EXIT_STATUS:
            signal.signal(name, signal.SIG_IGN)
        raise SystemExit(EXIT_STATUS[signal.Signals(number)])

    for name in EXIT_STATUS:
        # A hang-up that was to be ignored (nohup) stays ignored. Background jobs of a script ignore SIGINT too, but whoever
        # sends it by number means it.
        if name is not signal.SIGHUP or signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, end)
    yield


@contextmanager
def _reserved(host: str, port: int) -> Iterator[HttpServer]:
    """Yield a server that has the address but does not listen yet: what would fail then fails before anything is fetched."""
    try:
        server = HttpServer(host, port)
    except socket.gaierror:
        raise click.BadParameter(f"{host!r} is no address of this machine. Try 127.0.0.1.", param_hint="HOST") from None
    except OSError as error:
        raise _not_available(host, port, error) from error
    with server:
        yield server


def _not_available(host: str, port: int, error: OSError) -> click.ClickException:
    if isinstance(error, PermissionError):
        return click.ClickException(f"Port {port} is for the system's own services. Choose one above 1023: PORT=8000.")
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < LAST_PORT else port - 1
        return click.ClickException(
            f"Port {port} is in use. Stop the program that listens there, or choose another port: "
            f"`make run PORT={other}` or `pai run --port {other}`."
        )
    return click.ClickException(f"PAI can't listen on {host}, port {port}: {error.strerror}.")


def _listen(server: HttpServer, host: str) -> None:
    try:
        server.open(Gateway(_load_app(), stage_config(LOCAL)))
    except OSError as error:
        raise _not_available(host, server.port, error) from error


def _prepare_model(ours: Parts) -> None:
    """Have the model in memory, fetched first if need be. A model elsewhere that does not answer is only warned of."""
    if ours.settings.llm == EMBEDDED:
        _offer_ollama()
        model = find(ours.settings.model)
        with progress_bar(model.name) as report:
            fetch(model, models_folder(ours.settings), report)
        click.echo(f"Loading {model.title}")
    if load := getattr(ours.llm, "load", None):
        load()
    try:
        ours.llm.models()
    except ModelError as error:
        _warn(error.message)


def _prepare_library(ours: Parts) -> None:
    """Have what documents are searched with, fetched first if need be. The database starts when it is first asked."""
    if ours.settings.retriever == "none":
        return
    if ours.settings.embedder == EMBEDDED_EMBEDDER:
        for file in find(MINILM).files:
            with progress_bar(file.name) as report:
                fetch(file, models_folder(ours.settings), report)
    if load := getattr(ours.embedder, "load", None):
        load()


def _go_on_reading(ours: Parts) -> None:
    """Take up the documents that an earlier run did not finish, and those that come."""
    if ours.settings.retriever != "none" and (work := getattr(ours.platform.queue, "work", None)):
        work()


def _offer_ollama() -> None:
    if models := ollama.find():
        click.echo(f"An Ollama runs on this machine, with {', '.join(models)}. To use it instead of PAI's own model:")
        click.echo(f"  PAI_LLM=openai PAI_MODEL={shlex.quote(models[0])} make run")


def _touch(ours: Parts) -> None:
    """Open what every request needs, so that what is wrong with it is said now. Makes the master key on the first start."""
    ours.store.get("health", "~")
    ours.platform.cipher.wrap(bytes(32), {"purpose": "start"})
    ours.platform.keys.load()


def _load_app() -> Chalice:
    """Import app.py, as Chalice does; the stage's environment must be there by now."""
    folder = str(project_folder())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    app: Chalice = importlib.import_module("app").app
    return app


def _stop(server: HttpServer, ours: Parts, status: int) -> None:
    """Let requests under way end, for a moment; then stop the model, which ends them; then end, whatever is still going on."""
    ours.runs.stop()  # turns in the background end with what they have, as their followers are told
    all_answered = server.drain(GRACE_S) and ours.runs.have_ended(GRACE_S)
    if not all_answered:
        # On a busy machine a model may take long to notice. There is no need to wait for it: its memory goes with us.
        threading.Thread(target=_close, args=(ours.llm,), daemon=True).start()
        all_answered = server.stop(LAST_WORDS_S)
    # A document that is being read goes on, in the next run, where its row says.
    idle = ours.settings.retriever == "none" or _stop_queue(ours.platform.queue)
    naming = getattr(ours.platform.jobs, "busy", False)  # a turn has ended, but its conversation may be getting a title
    _close(ours.store)
    if naming or not (all_answered and idle):
        # A thread that comes back from the model while the interpreter takes itself apart would crash it, or hold it up.
        sys.stdout.flush()
        os._exit(status)


def _stop_queue(queue: object) -> bool:
    """Take no more messages; return whether none is in hand. Queues of other places go on without us."""
    stop = getattr(queue, "stop", None)
    return stop is None or bool(stop(GRACE_S))


def _close(part: object) -> None:
    """Close a part of a kind that has something to close."""
    if close := getattr(part, "close", None):
        close()


def _tell_ready(settings: Settings, home: Home, host: str, url: str) -> None:
    pai = shlex.quote(sys.argv[0]) if os.access(sys.argv[0], os.X_OK) else "pai"
    click.secho(f"\nPAI answers at {url}", bold=True)
    click.echo(f"Its first API key is in {home.api_key}. In another terminal:\n")
    documents = "" if settings.retriever == "none" else f"  {pai} docs add FILE-OR-FOLDER   # to have it answer from them\n"
    click.echo(f"  {pai} chat\n{documents}  {curl_line(url, home)}\n")
    if host not in {"127.0.0.1", "localhost", "::1"}:
        _warn("It is reachable from other machines, by plain HTTP: whoever listens on the network reads keys and messages.")
    if tell_once(home, "back up"):
        _warn(f"Whoever loses {home.master_key} loses every conversation. `{pai} backup` saves it, with all the rest.")
    click.echo("Ctrl-C stops it.")


def curl_line(url: str, home: Home) -> str:
    """Return a command that asks a question, ready to paste."""
    return (
        f'curl -s {url}/chat -H "Authorization: Bearer $(cat {shlex.quote(str(home.api_key))})" '
        """-H 'Content-Type: application/json' -d '{"message": "Hello! Who are you?"}'"""
    )


def _warn(text: str) -> None:
    click.secho(text, fg="yellow")


def _url(host: str, port: int) -> str:
    """Return the address to reach the server from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
