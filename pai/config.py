"""What `pai` remembers between two commands: the address it talks with, API keys, presets.

Two TOML files in one folder. config.toml is the person's own: they may edit and share it, and their comments survive our
changes. keys.toml holds the API keys, each under its address, so that no key ever travels to another server.
"""

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
NO_PRESET = "none"


class ConfigError(click.ClickException):
    """Something saved or given is not usable; the sentence says where it stands and what to do."""

    exit_code = 2


@dataclass(frozen=True)
class Preset:
    """A named way to ask. None (or an empty system prompt) leaves the choice to the deployment; `temperature` is 0 to 1."""

    system: str = ""
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Config:
    """What config.toml says. `history`: whether `pai chat` keeps what was typed, for the arrow keys."""

    address: str | None = None
    default_preset: str | None = None
    history: bool = True
    presets: Mapping[str, Preset] = field(default_factory=dict)

    def preset(self, name: str | None) -> Preset:
        """Return the preset of this name; for None the default one, which may be no preset at all."""
        name = name or self.default_preset or NO_PRESET
        if name == NO_PRESET:
            return Preset()
        if name not in self.presets:
            raise _no_preset(name)
        return self.presets[name]


@dataclass(frozen=True)
class FoundKey:
    """An API key, and in words where it came from."""

    text: str = field(repr=False)
    source: str


def config_folder() -> Path:
    """Return the folder of both files: $PAI_CONFIG_HOME, or where this system keeps such things."""
    return Path(os.environ.get("PAI_CONFIG_HOME") or click.get_app_dir("pai"))


def load_config() -> Config:
    """Read config.toml; `ConfigError` names the line or the entry that is wrong."""
    path = config_folder() / "config.toml"
    table = _read(path)
    return Config(
        address=_entry(path, table, "address", str),
        default_preset=_entry(path, table, "default_preset", str),
        history=_entry(path, table, "history", bool) is not False,
        presets={name: _preset(path, name, preset) for name, preset in (_entry(path, table, "presets", dict) or {}).items()},
    )


def resolve_address(given: str | None) -> str:
    """Return the address to talk with: the given one, else the saved one, else where `pai run` serves $PAI_HOME."""
    return normalise_address(given or load_config().address or _served_at() or DEFAULT_ADDRESS)


def normalise_address(text: str) -> str:
    """Return an address in its one form: with a scheme (https, but http on this machine), without a slash at the end."""
    if "://" not in text:
        text = f"{'http' if is_this_machine(f'//{text}') else 'https'}://{text}"
    try:
        parts = urlsplit(text.strip().rstrip("/"))
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s@?#]|[^!-~]", parts.geturl()):
        raise ConfigError(f"{text!r} is not an address such as {DEFAULT_ADDRESS} or https://….amazonaws.com/api.")
    return parts._replace(netloc=parts.netloc.lower()).geturl()


def is_this_machine(address: str) -> bool:
    """Tell whether an address leads back to this machine."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback or ip_address(host).is_unspecified
    except ValueError:
        return False


def find_key(address: str) -> FoundKey | None:
    """Return the key for an address: $PAI_API_KEY, else the saved one, else (on this machine) the one `pai run` made."""
    if key := os.environ.get("PAI_API_KEY"):
        return FoundKey(check_key(key), "PAI_API_KEY")
    path = config_folder() / "keys.toml"
    if key := _entry(path, _read(path), address, str):
        return FoundKey(check_key(key), str(path))
    path = _home() / "api-key"
    if is_this_machine(address) and (key := _text(path)):
        return FoundKey(check_key(key), str(path))
    return None


def saved_addresses() -> list[str]:
    """Return the addresses that have a key in keys.toml."""
    return list(_read(config_folder() / "keys.toml"))


def check_key(text: str) -> str:
    """Return the key without white space around it; `ConfigError` for what can't be one. The sentence never shows it."""
    key = text.strip()
    if not re.fullmatch(r"[!-~]{8,512}", key):
        raise ConfigError("That is not an API key: it must be 8 to 512 characters of plain ASCII without spaces.")
    return key


def save_address(address: str) -> None:
    """Make this the address that commands talk with."""
    _change("config.toml", lambda table: table.update(address=address))


def save_key(address: str, key: str) -> None:
    """Keep a key for this address, in place of an older one."""
    _change("keys.toml", lambda table: table.update({address: key}))


def forget_address(address: str) -> bool:
    """Delete an address's key, and the address where it is the saved one; False when neither was there."""
    known = address in saved_addresses()
    if known:
        _change("keys.toml", lambda table: table.pop(address, None))
    if load_config().address == address:
        known = True
        _change("config.toml", lambda table: table.pop("address", None))
    return known


def save_preset(name: str, preset: Preset) -> None:
    """Keep a preset under this name, in place of an older one."""
    if not re.fullmatch(r"[\w.-]{1,64}", name) or name == NO_PRESET:
        raise ConfigError(f"{name!r} can't name a preset: take 1 to 64 letters, digits, dots, - or _, and not {NO_PRESET!r}.")
    given = {key: value for key, value in asdict(preset).items() if value not in {None, ""}}
    _change("config.toml", lambda table: table.setdefault("presets", {}).update({name: given}))


def remove_preset(name: str) -> None:
    """Delete a preset; it is no longer the default either."""

    def edit(table: dict[str, Any]) -> None:
        if table.get("presets", {}).pop(name, None) is None:
            raise _no_preset(name)
        if table.get("default_preset") == name:
            table.pop("default_preset")

    _change("config.toml", edit)


def save_default_preset(name: str) -> None:
    """Name the preset that holds where none is named; "none" for no such preset."""
    load_config().preset(name)
    if name == NO_PRESET:
        _change("config.toml", lambda table: table.pop("default_preset", None))
    else:
        _change("config.toml", lambda table: table.update(default_preset=name))


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only; readers, and we when killed, see the old one or the new one."""
    target = path.resolve()  # a link (dotfiles kept elsewhere) stays a link
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _home() -> Path:
    return Path(os.environ.get("PAI_HOME") or ".pai").expanduser()


def _served_at() -> str | None:
    """Return the address that a running `pai run` has left word of."""
    try:
        url = json.loads(_text(_home() / "server.json"))["url"]
        return url if isinstance(url, str) else None
    except (ConfigError, ValueError, KeyError, TypeError):
        return None


def _change(name: str, edit: Callable[[dict[str, Any]], object]) -> None:
    """Read, edit and replace one file; two commands at once wait for each other."""
    import tomlkit
    from filelock import FileLock, Timeout

    path = config_folder() / name
    _read(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{name}.lock"), timeout=10, mode=0o600):
            document = tomlkit.parse(_text(path))
            edit(document)
            write_private(path, tomlkit.dumps(document).encode())
    except Timeout:
        raise ConfigError(f"{path} is being changed by another pai command that does not end; stop it first.") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}.") from error


def _no_preset(name: str) -> ConfigError:
    return ConfigError(f"There is no preset {name!r}; `pai presets list` shows those there are.")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}. Mend that line, or move the file away.") from error


def _text(path: Path) -> str:
    """Return what a file says, nothing when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text. Mend it, or move the file away.") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from error


def _preset(path: Path, name: str, table: object) -> Preset:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: presets.{name} must be a table.")
    place = f"presets.{name}."
    return Preset(
        system=_entry(path, table, "system", str, place) or "",
        model=_entry(path, table, "model", str, place),
        max_tokens=_entry(path, table, "max_tokens", int, place),
        temperature=_entry(path, table, "temperature", (int, float), place),
    )


def _entry(path: Path, table: Mapping[str, Any], name: str, kind: type | tuple[type, ...], place: str = "") -> Any:
    """Return an entry or None; `ConfigError` when it is of another type. A bool is no number here."""
    value = table.get(name)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if value is None or (isinstance(value, kinds) and (type(value) is not bool or bool in kinds)):
        return value
    raise ConfigError(f"{path}: {place}{name} must be {_KIND_NAMES[kinds[0]]}, not {type(value).__name__}.")


_KIND_NAMES = {str: "a text in quotes", bool: "true or false", int: "a number", dict: "a table"}
