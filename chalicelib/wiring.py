"""Settings → parts: the one place that turns names into objects, and the only one that imports a backend."""

from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any

from chalicelib.auth import Authenticator
from chalicelib.browse import Browser
from chalicelib.chat.idempotency import Claims
from chalicelib.chat.turn import TurnEngine
from chalicelib.conversations import Conversations
from chalicelib.errors import Misconfigured
from chalicelib.llm import LLM
from chalicelib.platform import Platform
from chalicelib.settings import Settings, read_settings
from chalicelib.store import Store
from chalicelib.vault import Vault


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
    return module.build(settings)


class Parts:
    """The parts of one deployment, each built when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def store(self) -> Store:
        return load_part("store", self.settings.store, self.settings)  # type: ignore[no-any-return]

    @cached_property
    def platform(self) -> Platform:
        return load_part("platform", self.settings.platform, self.settings)  # type: ignore[no-any-return]

    @cached_property
    def llm(self) -> LLM:
        return load_part("llm", self.settings.llm, self.settings)  # type: ignore[no-any-return]

    @cached_property
    def authenticator(self) -> Authenticator:
        return Authenticator(self.platform.keys, self.settings.key_cache_s)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.store, self.platform, self.settings)

    @cached_property
    def conversations(self) -> Conversations:
        return Conversations(self.store, self.vault, self.settings)

    @cached_property
    def claims(self) -> Claims:
        return Claims(self.store, self.vault)

    @cached_property
    def turns(self) -> TurnEngine:
        return TurnEngine(self.conversations, self.claims, self.llm, self.settings)

    @cached_property
    def browser(self) -> Browser:
        return Browser(self.conversations)


@lru_cache(maxsize=8)
def parts(settings: Settings) -> Parts:
    """Return the parts of these settings; the same ones for as long as the process lives."""
    return Parts(settings)


def here() -> Parts:
    """Return the parts of the environment as it is now."""
    return parts(read_settings())
