"""`pai models`: the language models that this machine can run by itself."""

from typing import TYPE_CHECKING

import click

from pai.commands import json_option
from pai.stage import LOCAL, enter_stage, explained
from pai.terminal.screen import print_json, print_table

if TYPE_CHECKING:
    from pai.local.catalogue import Model


@click.group(short_help="List and fetch the language models of this machine.")
def models() -> None:
    """List and fetch the language models that this machine can run by itself."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models by name, with what each takes and whether it is here."""
    from pai.local.catalogue import catalogue, installed, models_folder

    folder = models_folder(enter_stage(LOCAL))
    rows = [(model, installed(model, folder)) for model in catalogue()]
    if as_json:
        print_json([{**_public(model), "path": str(path) if path else None} for model, path in rows])
        return
    header = ("name", "size", "", "licence", "what it is")
    print_table(
        header,
        [
            (model.name, f"{model.size_bytes / 1e6:,.0f} MB", "here" if path else "to fetch", model.licence, model.title)
            for model, path in rows
        ],
    )


@models.command()
@click.argument("name", default="")
@json_option
def fetch(name: str, as_json: bool) -> None:
    """Fetch a model, or go on where an earlier try stopped, and print its path. Without NAME, the default one."""
    from pai.local.catalogue import find, models_folder
    from pai.local.fetch import fetch as bring
    from pai.progress import progress_bar

    with explained():
        folder, paths = models_folder(enter_stage(LOCAL)), []
        for model in find(name).files:
            with progress_bar(model.name) as report:
                paths.append(bring(model, folder, report))
    if as_json:
        print_json({"path": str(paths[0])})
    else:
        click.echo(paths[0])


def _public(model: "Model") -> dict[str, object]:
    return {name: getattr(model, name) for name in ("name", "title", "size_bytes", "licence", "context_tokens")}
