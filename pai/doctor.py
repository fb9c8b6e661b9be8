"""What can be wrong with an installation, one check each: what was found, and what to do about it. Changes nothing."""

import os
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import httpx

from chalicelib.errors import PaiError
from chalicelib.health import check_parts
from chalicelib.llm import LLM, Finish, Request, Said
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.home import Home, check_format, running_server
from pai.local import catalogue, ollama
from pai.ring import first_digest, state

NEEDED_BYTES = 500 * 1024 * 1024
OTHER_VARIABLES = {"PAI_API_KEY", "PAI_CONFIG_HOME", "PAI_URL"}
"""Variables of the command line, which are no settings of a deployment."""


class Wrong(Exception):
    """A check found something wrong: what, and what to do."""

    def __init__(self, detail: str, fix: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


@dataclass(frozen=True)
class Finding:
    """The result of one check. `fix` says what to do where `ok` is False."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


Check = Callable[[], str]
"""Returns what was found, or raises `Wrong`, or whatever error already carries a sentence."""


def examine(checks: Iterable[tuple[str, Check]]) -> Iterator[Finding]:
    """Yield each check's finding as soon as it is there."""
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except Wrong as wrong:
            yield Finding(name, False, wrong.detail, wrong.fix)
        except PaiError as error:
            yield Finding(name, False, error.message)
        except click.ClickException as error:
            yield Finding(name, False, error.message)
        except OSError as error:
            yield Finding(name, False, f"{error.strerror} ({error.filename}).")


def local_checks(ours: Parts, home: Home, port: int) -> Iterator[tuple[str, Check]]:
    """Yield the checks of one machine; those of a server only while there is one."""
    yield "python", check_python
    yield "packages", check_packages
    yield "settings", lambda: check_settings(os.environ)
    yield "home", lambda: check_home(home)
    yield "disk", lambda: check_disk(home)
    yield "master key", lambda: check_master_key(ours, home)
    yield "store", lambda: check_store(home)
    yield "api key", lambda: check_first_key(ours, home)
    yield "model", lambda: check_model(ours.llm)
    if ours.settings.retriever != "none":
        yield "embedder", lambda: check_embedder(ours)
        yield "documents", lambda: check_library(ours) if any(home.files.rglob("*")) else "none yet"
    yield "ollama", check_ollama
    yield "server", lambda: check_server(home, port)


def cloud_checks(ours: Parts) -> Iterator[tuple[str, Check]]:
    """Yield the checks of a stage on AWS, each over the parts' own clients."""
    yield "python", check_python
    yield "packages", check_packages
    yield "settings", lambda: check_settings(os.environ)
    yield "credentials", check_credentials
    results: Mapping[str, Any] = check_parts(ours)["parts"]  # type: ignore[assignment]
    for name, result in results.items():
        yield name, partial(check_part, result)
    yield "api keys", lambda: check_api_keys(ours, ours.settings.stage)
    yield "model access", lambda: check_model_access(ours.llm)
    if ours.settings.retriever != "none":
        yield "embedder access", lambda: check_embedder_access(ours)
        yield "documents", lambda: check_library(ours)


def check_python() -> str:
    """Say which Python this is. One that is too old can't even import this file."""
    return f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}"


def check_packages() -> str:
    """Compare what is installed with what this version of PAI was tested with."""
    try:
        pins = [line.split("==") for line in metadata.requires("pai") or () if ";" not in line]
    except metadata.PackageNotFoundError:
        return "not compared: PAI runs from its folder without being installed"
    wrong = [f"{name} {_installed(name)} (not {version})" for name, version in pins if _installed(name) != version]
    if wrong:
        raise Wrong(f"{', '.join(wrong)}.", "Install what PAI was tested with: pip install -r requirements-local.txt")
    return f"{len(pins)} as they should be"


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def check_settings(environment: Mapping[str, str]) -> str:
    """Look for variables that look like ours and are not: a typing error there is otherwise never noticed."""
    known = {f"PAI_{field.name.upper()}" for field in fields(Settings)} | OTHER_VARIABLES
    strangers = sorted(name for name in environment if name.startswith("PAI_") and name not in known)
    if strangers:
        raise Wrong(f"Nothing reads {', '.join(strangers)}.", "Correct the name, or unset it.")
    return "no unknown PAI_ variables"


def check_home(home: Home) -> str:
    if not home.path.exists():
        return f"{home.path} is not there yet; the first `pai run` makes it"
    check_format(home)
    _private(home.path, 0o700)
    for path in (*home.single_files, *home.store_files()):
        _private(path, 0o600)
    for copy in (home.migration_copy, home.backup_copy):
        if copy.exists() and not running_server(home):
            raise Wrong(f"{copy} was left by something that was killed.", "`pai run` or `pai backup` clears it away.")
    return str(home.path)


def _private(path: Path, mode: int) -> None:
    """Nobody but the owner may read: not even the group."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise Wrong(f"Others on this machine can get at {path}.", f"chmod {mode:o} {path}")


def check_disk(home: Home) -> str:
    place = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < NEEDED_BYTES:
        raise Wrong(f"Only {free / 1e6:.0f} MB are free in {place}.", "Make room: a full disk takes no more conversations.")
    return f"{free / 1e9:.1f} GB free"


def check_master_key(ours: Parts, home: Home) -> str:
    """Open something with the key. Where there is none and never was, it must not be made by looking."""
    if not any(home.path.glob("master.key*")):
        return "not there yet; the first `pai run` makes it"
    cipher = ours.platform.cipher
    cipher.unwrap(cipher.wrap(bytes(32), {"purpose": "doctor"}), {"purpose": "doctor"})
    return str(home.master_key)


def check_store(home: Home) -> str:
    """Have SQLite look through its file, without writing."""
    if not home.store.exists():
        return "not there yet; the first `pai run` makes it"
    try:
        with closing(sqlite3.connect(f"{home.store.as_uri()}?mode=ro", uri=True)) as store:
            problem = store.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        problem = str(error)
    if problem != "ok":
        raise Wrong(f"{home.store} is damaged: {problem}.", "Stop PAI and bring back a backup with `pai restore`.")
    return f"{home.store} ({home.store.stat().st_size / 1e6:.1f} MB)"


def check_api_keys(ours: Parts, stage: str) -> str:
    active = [key for key in ours.platform.keys.load().keys if state(key) == "active"]
    if not active:
        raise Wrong("There is none that works.", f"pai keys create --stage {stage}")
    return f"{len(active)} that work"


def check_first_key(ours: Parts, home: Home) -> str:
    """See that the key which lies ready for `pai chat` is one of the ring."""
    if not home.api_key.exists():
        return "not there yet; the first `pai run` makes it"
    if first_digest(home) not in {key.sha256 for key in ours.platform.keys.load().keys if state(key) == "active"}:
        raise Wrong(f"The key in {home.api_key} does not work.", "The next `pai run` puts a new one there.")
    return str(home.api_key)


def check_model(llm: LLM) -> str:
    """See that the model is there: its file on this machine, or the server that has it."""
    return ", ".join(model.name for model in llm.models())


def check_embedder(ours: Parts) -> str:
    """See that what makes the vectors is there, without fetching it: the server does that when it is first needed."""
    space = ours.embedder.space
    if ours.settings.embedder == "pai.local.minilm":
        folder = catalogue.models_folder(ours.settings)
        if not all(catalogue.installed(file, folder) for file in catalogue.find("minilm").files):
            return f"{space.model} is to be fetched: the first document does it, or `pai models fetch minilm`"
    return f"{space.model}, {space.dimensions} dimensions"


def check_library(ours: Parts) -> str:
    """Count what the index has."""
    entries = list(ours.retriever.inventory())
    passages = sum(entry.chunks for entry in entries)
    return f"{len(entries):,} in the index, with {passages:,} passages"


def check_ollama() -> str:
    models = ollama.find()
    if not models:
        return "none runs on this machine; PAI needs none"
    return f"has {', '.join(models)}; PAI_LLM=openai PAI_MODEL={models[0]} make run would use it"


def check_server(home: Home, port: int) -> str:
    """Ask the server how it is; without one, see that the port is free."""
    server = running_server(home)
    if server and server.url:
        return _ask_health(home, server.url)
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise Wrong(
            f"It is not running, and port {port} can't be had: {error.strerror}.", f"make run PORT={port + 1}"
        ) from None
    return f"not running; port {port} is free"


def _ask_health(home: Home, url: str) -> str:
    try:
        token = home.api_key.read_text().strip()
        answer = httpx.get(f"{url}/health/deep", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        failing = [f"{name}: {part['Message']}" for name, part in answer.json().get("parts", {}).items() if not part["ok"]]
    except (httpx.HTTPError, ValueError, OSError) as error:
        raise Wrong(f"It holds {home.path} but does not answer at {url} ({error}).", "Stop it and start it again.") from None
    if answer.status_code != httpx.codes.OK:
        raise Wrong(" ".join(failing) or f"{url} answered {answer.status_code}: {answer.text[:200]}")
    return f"answers at {url}"


def check_credentials() -> str:
    # botocore takes a while to load, and one machine needs none of it.
    from botocore.session import Session

    from chalicelib.platform.aws.clients import client

    region = Session().get_config_variable("region")
    if not region:
        raise Wrong("No AWS region is set.", "Set AWS_REGION to the one of the deployment, or run `aws configure`.")
    try:
        identity = client("sts").get_caller_identity()
    except Exception as error:  # noqa: BLE001 - botocore has no common class for what can be wrong here
        raise Wrong(
            f"AWS does not know who you are: {error}", "Set AWS_PROFILE, or run `aws configure` or `aws sso login`."
        ) from None
    return f"{identity['Arn']} in {region}"


def check_part(result: Mapping[str, Any]) -> str:
    if not result["ok"]:
        raise Wrong(result["Message"])
    return f"answered in {result['ms']:.0f} ms"


def check_model_access(llm: LLM) -> str:
    """Have the model say one word: that it is listed does not mean that this account may use it."""
    for event in llm.stream(Request([Said("user", "Say yes.")], max_tokens=1, timeout_s=20)):
        if isinstance(event, Finish):
            return f"{event.model} answers"
    raise Wrong("The model said nothing.")


def check_embedder_access(ours: Parts) -> str:
    """Have the embedder make a vector."""
    ours.embedder.embed(["doctor"], "query")
    return f"{ours.embedder.space.model} answers"
