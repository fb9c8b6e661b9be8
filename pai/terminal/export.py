"""Saving an exported conversation."""

from pathlib import Path

import click

from pai.client.conversations import ExportFormat
from pai.config import write_private

FORMATS: dict[str, ExportFormat] = {"json": "json", "markdown": "markdown"}


def format_of(word: str | None, path: Path | None) -> ExportFormat:
    """Return the format that was asked for: by its word, else by the file's ending; Markdown when neither says."""
    if word:
        return FORMATS[word]
    return "json" if path and path.suffix == ".json" else "markdown"


def save_export(path: Path, content: str, *, replace: bool = False) -> None:
    """Write the file whole or not at all, readable by its owner only. One that is there stays, unless `replace`."""
    if path.exists() and not replace:
        raise click.ClickException(f"{path} is there already; name another file.")
    try:
        write_private(path, content.encode())
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}.") from error
