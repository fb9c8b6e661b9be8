"""Settings → parts: the one place that turns names into objects, and the only one that imports a backend."""

from functools import cached_property, lru_cache
from importlib import import_module
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.auth import Authenticator
from chalicelib.browse import Browser
from chalicelib.chat.idempotency import Claims
from chalicelib.chat.questions import Questions
from chalicelib.chat.runs import Runs
from chalicelib.chat.turn import TurnEngine
from chalicelib.conversations import Conversations
from chalicelib.documents import Documents
from chalicelib.embedder import Embedder
from chalicelib.errors import LibraryOff, Misconfigured
from chalicelib.following import Following
from chalicelib.library import Library
from chalicelib.llm import LLM
from chalicelib.metering import Meter
from chalicelib.platform import Platform
from chalicelib.retriever import Retriever
from chalicelib.settings import Settings, read_settings
from chalicelib.shelf import Shelf
from chalicelib.store import Store
from chalicelib.turns import Turns
from chalicelib.uploads import Uploads
from chalicelib.vault import Vault

if TYPE_CHECKING:
    from chalicelib.chat.sources import Sources
    from chalicelib.ingest.index import Ingestion


def load_part(part: str, name: str, settings: Settings) -> Any:
    """Build the backend that `PAI_<PART>` names: `chalicelib.<part>.<name>`, or a dotted name as it stands."""
    path = name if "." in name else f"chalicelib.{part}.{name}"
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"PAI_{part.upper()} is {name!r}, which needs the module {error.name!r}: it is not here. "
            "Install it, or name another backend (docs/add-a-backend.md)."
        ) from error
    if not hasattr(module, "build"):
        raise Misconfigured(
            f"PAI_{part.upper()} is {name!r}: that module has no build(settings), so it is no backend (docs/add-a-backend.md)."
        )
    return module.build(settings)


T = TypeVar("T")


class once(cached_property[T]):
    """A cached property of which two threads that ask first get the same value: Python's own has no lock from 3.12."""

    def __get__(self, parts: "Parts", owner: type["Parts"] | None = None) -> T:  # type: ignore[override]
        with parts.lock:
            return super().__get__(parts, owner)


class Parts:
    """The parts of one deployment, each built when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = RLock()

    @once
    def store(self) -> Store:
        return load_part("store", self.settings.store, self.settings)  # type: ignore[no-any-return]

    @once
    def platform(self) -> Platform:
        return load_part("platform", self.settings.platform, self.settings)  # type: ignore[no-any-return]

    @once
    def llm(self) -> LLM:
        return load_part("llm", self.settings.llm, self.settings)  # type: ignore[no-any-return]

    @once
    def authenticator(self) -> Authenticator:
        return Authenticator(self.platform.keys, self.settings.key_cache_s)

    @once
    def vault(self) -> Vault:
        return Vault(self.store, self.platform, self.settings)

    @once
    def conversations(self) -> Conversations:
        return Conversations(self.store, self.vault, self.settings)

    @once
    def claims(self) -> Claims:
        return Claims(self.store, self.vault)

    @once
    def runs(self) -> Runs:
        return Runs(self.store, self.vault)

    @once
    def questions(self) -> Questions:
        return Questions(self.conversations, self.claims, self.runs, self.settings)

    @once
    def meter(self) -> Meter:
        return Meter(self.llm, self.store, self.settings)

    @once
    def engine(self) -> TurnEngine:
        return TurnEngine(self.conversations, self.meter, self.settings, sources=self.sources)

    @once
    def turns(self) -> Turns:
        jobs, check = lambda: self.platform.jobs, self.meter.check
        return Turns(self.questions, self.engine, self.conversations, self.claims, self.runs, jobs, check)

    @once
    def following(self) -> Following:
        return Following(self.questions, self.conversations, self.runs)

    @once
    def sources(self) -> "Sources | None":
        if self.settings.retriever == "none":
            return None
        from chalicelib.chat.sources import Sources  # nothing of it is imported where there are no documents

        return Sources(self.library, self.settings)

    @once
    def embedder(self) -> Embedder:
        self._need_library()
        return load_part("embedder", self.settings.embedder, self.settings)  # type: ignore[no-any-return]

    @once
    def retriever(self) -> Retriever:
        self._need_library()
        return load_part("retriever", self.settings.retriever, self.settings)  # type: ignore[no-any-return]

    @once
    def documents(self) -> Documents:
        self._need_library()
        return Documents(self.store, self.vault, self.settings)

    @once
    def library(self) -> Library:
        return Library(self.documents, lambda: self.embedder, lambda: self.retriever)

    @once
    def uploads(self) -> Uploads:
        return Uploads(self.documents, self.platform)

    @once
    def shelf(self) -> Shelf:
        return Shelf(self.documents, self.uploads, self.library, lambda: self.retriever, self.settings)

    @once
    def ingestion(self) -> "Ingestion":
        self._need_library()
        from chalicelib.ingest.index import Ingestion  # nothing of it is imported where there are no documents

        platform = self.platform
        return Ingestion(self.documents, platform.files, platform.queue, self.embedder, self.retriever, self.settings)

    def _need_library(self) -> None:
        if self.settings.retriever == "none":
            raise LibraryOff

    @once
    def browser(self) -> Browser:
        return Browser(self.conversations)


@lru_cache(maxsize=8)
def parts(settings: Settings) -> Parts:
    """Return the parts of these settings; the same ones for as long as the process lives."""
    return Parts(settings)


_asking = Lock()


def here() -> Parts:
    """Return the parts of the environment as it is now."""
    with _asking:  # lru_cache lets two threads that ask first build two
        return parts(read_settings())
