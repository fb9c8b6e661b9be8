"""PAI's API as its users meet it: over HTTP, on parts in memory, on one machine's parts and on AWS's."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from chalice.config import Config

import app as product
from chalicelib import keyring, wiring
from chalicelib.clock import iso
from chalicelib.llm import LLM
from chalicelib.wiring import Parts
from pai.local.gateway import Gateway
from pai.local.server import HttpServer
from pai.operate import by_chalice
from tests.contract.aws_standin import lambda_jobs, serving
from tests.standins.processes import ROOT
from tests.standins.scripted import ScriptedLLM

SCRIPTED = {"PAI_LLM": "tests.standins.scripted", "PAI_KEY_CACHE_S": "0", "PAI_TITLES": "0"}
LIBRARY = {**SCRIPTED, "PAI_RETRIEVER": "memory", "PAI_EMBEDDER": "hashed"}
DEPLOYMENTS = {
    "memory": SCRIPTED,
    "one machine": {**SCRIPTED, "PAI_STORE": "sqlite", "PAI_PLATFORM": "local"},
    "aws": {
        **SCRIPTED,
        "PAI_STAGE": "dev",
        "PAI_STORE": "dynamodb",
        "PAI_PLATFORM": "aws",
        "PAI_TABLE": "PAI-Conversations-dev",
        "PAI_KMS_KEY": "alias/pai-dev",
        "PAI_KEYS_SECRET": "pai/dev/keys",
        "PAI_BUCKET": "pai-dev-documents-123456789012",
        "PAI_JOB_FUNCTION": "pai-dev",
        "PAI_BACKUP_DAYS": "35",
    },
}


@dataclass
class Api:
    """A running deployment, and a client of it for each owner."""

    url: str
    parts: Parts

    @property
    def llm(self) -> ScriptedLLM:
        llm: LLM = self.parts.llm
        assert isinstance(llm, ScriptedLLM)
        return llm

    def key(self, owner: str, expires_at: str | None = None) -> tuple[str, str]:
        """Make an API key; return its id and token."""
        keys = self.parts.platform.keys
        key, token = keyring.new_key("test", owner, iso(time.time()), expires_at)
        keys.save(keyring.add(keys.load(), key))
        return key.id, token

    def disable(self, key_id: str) -> None:
        keys = self.parts.platform.keys
        keys.save(keyring.disable(keys.load(), key_id))

    def let_expire(self, key_id: str) -> None:
        """Give the key an end that is past: nobody can make such a key."""
        ring = self.parts.platform.keys.load()
        past = iso(time.time() - 1)
        ended = tuple(replace(key, expires_at=past) if key.id == key_id else key for key in ring.keys)
        self.parts.platform.keys.save(replace(ring, keys=ended))

    def client(self, owner: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key(owner)[1]}"}, timeout=30)


@pytest.fixture(scope="session")
def gateway() -> Gateway:
    """The product's one app behind its local gateway."""
    return Gateway(product.app, Config(chalice_stage="local"))


@contextmanager
def served(gateway: Gateway, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Serve the product with these settings until the block ends."""
    for name in [name for name in os.environ if name.startswith("PAI_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wiring.parts.cache_clear()
    server = HttpServer("127.0.0.1", 0)
    server.open(gateway)
    try:
        yield Api(f"http://127.0.0.1:{server.port}", wiring.here())
    finally:
        server.stop(grace_s=5)
        wiring.parts.cache_clear()


@pytest.fixture
def functions() -> Iterator[str]:
    """Address of a Lambda whose functions are the jobs of this process."""
    with serving(lambda_jobs("pai-dev")) as url:
        yield url


@pytest.fixture(params=DEPLOYMENTS)
def api(request: pytest.FixtureRequest, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """The product on each kind of parts."""
    if request.param == "aws":
        request.getfixturevalue("aws")
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", request.getfixturevalue("functions"))
    with served(gateway, {**DEPLOYMENTS[request.param], "PAI_HOME": str(tmp_path / "home")}, monkeypatch) as api:
        yield api


@pytest.fixture
def memory_api(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The product in memory, for what does not depend on the parts."""
    with served(gateway, DEPLOYMENTS["memory"], monkeypatch) as api:
        yield api


@pytest.fixture
def library_api(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The product in memory, with documents."""
    with served(gateway, LIBRARY, monkeypatch) as api:
        yield api


@pytest.fixture
def me(api: Api) -> Iterator[httpx.Client]:
    """A client with a key of the owner `me`."""
    with api.client("me") as client:
        yield client


# ---- Deploying ----


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, which fetches no wheels."""
    folder = tmp_path_factory.mktemp("clone") / "pai"
    for name in ("chalicelib", "infrastructure", "pai"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy2(ROOT / "app.py", folder)
    (folder / "requirements.txt").write_text("")
    return folder


@pytest.fixture
def clone(copied: Path) -> Path:
    """A clone of the project in which nobody has deployed anything."""
    shutil.rmtree(copied / ".chalice", ignore_errors=True)
    ignored = shutil.ignore_patterns("deployments", "dev", "prod")
    shutil.copytree(ROOT / ".chalice", copied / ".chalice", ignore=ignored)
    for stage in ("dev", "prod"):
        by_chalice.clear(copied, stage)
    return copied
