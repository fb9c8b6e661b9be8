"""`pai use`: which PAI to talk with."""

from typing import Any, TextIO

import click

from pai.commands import json_option, read_text
from pai.config import (
    check_key,
    config_folder,
    find_key,
    forget_address,
    is_this_machine,
    normalise_address,
    resolve_address,
    save_address,
    save_key,
    saved_addresses,
)
from pai.terminal.screen import print_json, print_note, print_table


@click.command()
@click.argument("url", required=False)
@click.option(
    "--key",
    metavar="KEY",
    help="The API key. Other users see it while this runs, and your shell keeps it: rather take --key-file.",
)
@click.option("--key-file", type=click.File(encoding="utf-8"), help="Read the API key from this file, or from stdin with -.")
@click.option("--forget", is_flag=True, help="Delete this address and its key instead.")
@json_option
def use(url: str | None, key: str | None, key_file: TextIO | None, forget: bool, as_json: bool) -> None:
    """Say which PAI to talk with, and with which key. Without URL: show what is used now.

    URL is this machine's (http://127.0.0.1:8000) or a deployment's (https://….amazonaws.com/api). Keys are kept in a file
    that only you can read, each for its own address: a key is never sent to another one.

    The key that holds is $PAI_API_KEY, else the saved one, else on this machine the one in $PAI_HOME/api-key.

    \b
    Examples:
      pai use https://abc123.execute-api.eu-central-1.amazonaws.com/api --key-file key.txt
      pai use http://127.0.0.1:8000
      pai use
    """
    if url is None:
        if key is not None or key_file or forget:
            raise click.UsageError("URL is missing.")
        _show(as_json=as_json)
        return
    if key is not None and key_file:
        raise click.UsageError("--key and --key-file are two answers to one question.")
    address = normalise_address(url)
    if forget:
        _forget(address)
    else:
        given = read_text(key_file) if key_file else key
        _save(address, None if given is None else check_key(given))
    if as_json:
        _show(as_json=True)


def _save(address: str, key: str | None) -> None:
    if key:
        save_key(address, key)
    save_address(address)
    print_note(f"pai now talks with {address}.")
    if address.startswith("http:") and not is_this_machine(address):
        print_note("http is not encrypted: everybody on the way can read the key and what you say. Use https if it has it.")
    print_note(_first_contact(address))


def _forget(address: str) -> None:
    if not forget_address(address):
        raise click.UsageError(f"{address} is not saved.")
    print_note(f"Forgot {address} and its key; pai now talks with {resolve_address(None)}.")


def _first_contact(address: str) -> str:
    """Try the address and its key, and say how it went. What is saved is saved, whether the server runs just now or not."""
    from pai.client import Client
    from pai.client.errors import ClientError

    key = find_key(address)
    if key is None:
        return f"There is no API key for it yet: `pai use {address} --key-file FILE`."
    try:
        with Client(address, key.text) as client:
            client.conversations(limit=1)
    except ClientError as error:
        return f"But: {error.message}"
    return f"It answers, and accepts the key from {key.source}."


def _show(*, as_json: bool) -> None:
    address = resolve_address(None)
    key = find_key(address)
    source = key.source if key else None
    if as_json:
        shown: dict[str, Any] = {
            "address": address,
            "key_from": source,
            "settings": str(config_folder()),
            "saved": saved_addresses(),
        }
        print_json(shown)
        return
    saved = ", ".join(saved_addresses()) or "none"
    rows = [
        ("address", address),
        ("key from", source or "nowhere"),
        ("settings in", str(config_folder())),
        ("saved keys for", saved),
    ]
    print_table(("", ""), rows)
