"""`pai keys`: the API keys of a stage, changed in its key ring itself."""

import re
import time
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import click

from chalicelib import keyring
from chalicelib.clock import iso, seconds
from chalicelib.platform import Keys
from chalicelib.records import ApiKey, KeyRing
from chalicelib.settings import Settings
from chalicelib.wiring import parts
from pai.commands import json_option
from pai.config import write_private
from pai.home import check_format, find_home
from pai.ring import change, first_digest, state
from pai.stage import enter_stage, explained, project_folder, stage_option
from pai.terminal.screen import for_people, local_time, print_json, print_note, print_table

UNITS = {"h": "hours", "d": "days", "w": "weeks"}


class Time(click.ParamType[str]):
    """`90d`, `12h`, `2w`, a date (its end, in UTC) or an ISO-8601 time; what it converts to is ISO-8601 UTC."""

    name = "when"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            if span := re.fullmatch(r"(\d+)([hdw])", value):
                return iso(time.time() + timedelta(**{UNITS[span[2]]: int(span[1])}).total_seconds())
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                return iso(datetime.fromisoformat(f"{value}T23:59:59.999+00:00").timestamp())
            return iso(seconds(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time. Write 90d, 12h, 2w, 2030-12-31 or 2030-12-31T12:00:00Z.", param, ctx)


@click.group(short_help="Create, list, rotate and disable API keys.")
def keys() -> None:
    """Create, list, rotate and disable API keys.

    Each key belongs to an owner, whose conversations it opens; keys of the same owner share them. The ring keeps no key,
    only its digest: a key is shown once, when it is made.
    """


@keys.command()
@click.option("--name", default="key", show_default=True, help="What it is for, such as `phone`.")
@click.option("--owner", default="me", show_default=True, help="Whose conversations it opens.")
@click.option("--expires", "expires_at", type=Time(), help="When it ends: 90d, 12h, 2w, a date or an ISO-8601 time.")
@stage_option
@json_option
def create(name: str, owner: str, expires_at: str | None, stage: str, as_json: bool) -> None:
    """Make a key and show it, this once.

    To a file or another program, only the key itself is printed.
    """
    ring = _key_ring(enter_stage(stage))
    with explained():
        key, token = keyring.new_key(name, owner, iso(time.time()), expires_at)
        change(ring, lambda old: (keyring.add(old, key), key))
    _show(key, token, as_json=as_json)


@keys.command("list")
@stage_option
@json_option
def list_keys(stage: str, as_json: bool) -> None:
    """List the keys: ids, names and owners, never the keys themselves."""
    with explained():
        ring = _key_ring(enter_stage(stage)).load()
    if as_json:
        print_json([_public(key) for key in ring.keys])
        return
    rows = [(key.id, key.name, key.owner, local_time(key.created_at), _end(key), state(key)) for key in ring.keys]
    print_table(("id", "name", "owner", "created", "expires", "state"), rows)
    if not ring.keys:
        print_note("There are no keys yet. `pai keys create` makes one.")


@keys.command()
@click.argument("key")
@stage_option
@json_option
def disable(key: str, stage: str, as_json: bool) -> None:
    """Disable a key for good, by its id or its name."""
    settings = enter_stage(stage)
    with explained():
        disabled = change(_key_ring(settings), lambda ring: _disabled(ring, key))
    if as_json:
        print_json(_public(disabled))
        return
    click.echo(f"{disabled.id} ({disabled.name}, {disabled.owner}) is disabled.")
    if _flushed(settings):
        print_note("API Gateway has forgotten what its authorizer had decided.")
    print_note(f"It may work for {_lag(settings)} more.")


@keys.command()
@click.argument("key")
@click.option("--grace", "until", type=Time(), default="24h", show_default=True, help="How long the old key works on.")
@stage_option
@json_option
def rotate(key: str, until: str, stage: str, as_json: bool) -> None:
    """Put a new key in the place of an old one, by its id or its name, and show it, this once."""
    settings = enter_stage(stage)
    now = time.time()

    def edit(ring: KeyRing) -> tuple[KeyRing, tuple[ApiKey, ApiKey, str]]:
        old = find_key(ring, key)
        new_ring, new, token = keyring.rotate(ring, old.id, iso(now), max(seconds(until) - now, 0))
        return new_ring, (old, new, token)

    with explained():
        old, new, token = change(_key_ring(settings), edit)
    _renew_first_key(settings, old, token)
    _show(new, token, as_json=as_json)
    print_note(f"The old key {old.id} works until {local_time(until)}, and no longer than it was made to.")


def find_key(ring: KeyRing, wanted: str) -> ApiKey:
    """Return the key with this id, or the only one with this name; those that work still come before those that ended."""
    named = [key for key in ring.keys if key.name == wanted]
    for found in ([key for key in ring.keys if key.id == wanted], [key for key in named if state(key) == "active"], named):
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(key.id for key in found)
            raise click.ClickException(f"{len(found)} keys are named {wanted!r}: {ids}. Say which by its id.")
    raise click.ClickException(f"There is no key with the id or name {wanted!r}. `pai keys list` shows them.")


def _disabled(ring: KeyRing, wanted: str) -> tuple[KeyRing, ApiKey]:
    key = find_key(ring, wanted)
    return keyring.disable(ring, key.id), replace(key, disabled=True)


def _key_ring(settings: Settings) -> Keys:
    if settings.platform == "local":
        check_format(find_home(settings.home))
    return parts(settings).platform.keys


def _renew_first_key(settings: Settings, old: ApiKey, token: str) -> None:
    """Put the new token where the old one lies ready for `pai chat`."""
    home = find_home(settings.home)
    if first_digest(home) == old.sha256:
        write_private(home.api_key, f"{token}\n".encode())


def _show(key: ApiKey, token: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**_public(key), "token": token})
        return
    click.echo(token)
    if for_people():
        print_note(f"This is the key {key.id} ({key.name}) of {key.owner}. Keep it: it is not shown again.")


def _public(key: ApiKey) -> dict[str, object]:
    """Return what may be told of a key. The digest stays inside, it is of no use to anyone else."""
    shown = asdict(key)
    del shown["sha256"]
    return {**shown, "state": state(key)}


def _end(key: ApiKey) -> str:
    return local_time(key.expires_at) if key.expires_at else "never"


def _flushed(settings: Settings) -> bool:
    """Have API Gateway forget what the authorizer has decided, where there is one; False where that can't be done."""
    if settings.platform != "aws":
        return False
    from pai.operate.gateway import flush_decisions  # one machine needs none of it

    return flush_decisions(settings.stage, project_folder())


def _lag(settings: Settings) -> str:
    """Say how long servers go on trusting what they have read: the ring, and on AWS the authorizer's decision.

    A flush makes it shorter in most cases, but not at most: a process that trusts the old ring may decide once more.
    """
    gateway_s = 60 if settings.platform == "aws" else 0
    return f"{settings.key_cache_s + gateway_s:.0f} seconds"
