"""The document that a word of the command line means: one that is there, or a file that is brought there first."""

import os
from pathlib import Path

import click

from pai.client import Client
from pai.client.errors import ClientError
from pai.client.wire import Document
from pai.config import config_folder
from pai.documents.adding import Adding, Outcome
from pai.documents.finding import File, find_files
from pai.documents.looking import document_name, find_document, standing
from pai.documents.remembered import remembered
from pai.terminal.screen import Say


class SayingBoard:
    """Says beside a spinner how far one file is."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def expect(self, files: int) -> None: ...
    def ended(self, outcome: Outcome) -> None: ...

    def sending(self, file: File, done_bytes: int) -> None:
        self._say(f"sending {document_name(file.path)}, {done_bytes / file.size_bytes:.0%}")

    def following(self, file: File, document: Document) -> None:
        self._say(f"{document_name(file.path)}: {standing(document)}")


def bring_document(client: Client, word: str, say: Say) -> str:
    """Return the id of the document that a path, an id or a name means; a file is added first and waited for.

    Raises `ClientError` for what is not there, and `click.ClickException` for a file that can't become a document.
    """
    path = Path(word).expanduser()
    if not os.path.isfile(path):
        return find_document(client, word)["document_id"]
    with remembered(config_folder(), client.address) as known:
        [outcome] = Adding(client, known, SayingBoard(say)).add(_only(find_files([path]).files, path))
    if outcome.bad:
        raise click.ClickException(f"{document_name(path)}: {outcome.detail}")
    return outcome.document_id


def _only(files: list[File], path: Path) -> list[File]:
    if len(files) != 1:
        raise ClientError("NotAFile", f"{str(path)!r} can't be read.", status=400)
    return files
