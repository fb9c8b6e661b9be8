"""Documents on a screen, and in a pipe: lists, facts, receipts, and what came of adding files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from pai.client.wire import Document, Passage
from pai.documents.adding import Outcome, Result
from pai.documents.finding import Found
from pai.documents.looking import age, counted, document_name, size, standing
from pai.terminal.screen import for_people, local_time, print_note, print_table, print_text, printable

SUMMED: Mapping[Result, str] = {
    "ready": "ready",
    "sent": "sent",
    "there": "already there",
    "failed": "failed",
    "refused": "not sent",
}


def print_outcomes(outcomes: Sequence[Outcome], found: Found) -> None:
    """Say what came of all files together; on a screen, those that did not make it once more, with the reasons."""
    bad = [outcome for outcome in outcomes if outcome.bad]
    if bad and for_people() and len(outcomes) > 1:
        print_text(f"\n{len(bad)} of {len(outcomes)} did not make it:")
        print_table(("file", "reason"), [(document_name(outcome.path), outcome.detail) for outcome in bad])
    numbers = Counter(outcome.result for outcome in outcomes)
    counts = ", ".join(f"{numbers[result]:,} {said}" for result, said in SUMMED.items() if numbers[result])
    print_note(" ".join(filter(None, (f"{counts}." if counts else "No files to add.", found.skipped()))))


def print_documents(documents: Sequence[Document]) -> None:
    """Print a list of documents; in a pipe with everything that a program may want, and ids."""
    if for_people():
        names = {item["document_id"]: item["name"] for item in documents}
        print_table(("state", "pages", "passages", "size", "age", "name"), [_row(item, names) for item in documents])
        return
    for item in documents:
        cells = (item["document_id"], item["state"], item.get("pages"), item.get("chunks"), item.get("bytes"))
        texts = ["" if cell is None else str(cell) for cell in cells]
        click.echo("\t".join((*texts, item.get("created_at", ""), _one_line(item["name"]))))


def _row(document: Document, names: Mapping[str, str]) -> Sequence[str]:
    return (
        standing(document),
        str(document.get("pages") or ""),
        str(document.get("chunks") or ""),
        size(document.get("bytes", 0)),
        age(document.get("created_at", "")),
        " · ".join(filter(None, (document["name"], _remark(document, names)))),
    )


def _remark(document: Document, names: Mapping[str, str]) -> str:
    """Say why a document failed, or which one it repeats."""
    if error := document.get("error"):
        return error["Message"]
    same_as = document.get("same_as")
    return f"same as {names.get(same_as, same_as)}" if same_as else ""


def print_document(document: Document) -> None:
    """Print what is known of a document, a line each."""
    print_table(("", ""), [(name, value) for name, value in _facts(document) if value])


def _facts(document: Document) -> Iterator[tuple[str, str]]:
    yield "id", document["document_id"]
    yield "name", document["name"]
    yield "title", document.get("title") or ""
    yield "state", standing(document)
    if error := document.get("error"):
        page = f" (page {error['page']})" if error.get("page") else ""
        yield "reason", f"{error['Message']}{page}"
    yield "same as", document.get("same_as") or ""
    yield "kind", document.get("content_type") or ""
    yield "size", size(document.get("bytes", 0))
    yield "language", document.get("language") or ""
    yield "pages", str(document.get("pages") or "")
    yield "without text", ", ".join(map(str, document.get("skipped_pages") or ()))
    yield "passages", f"{document.get('chunks') or 0:,}"
    yield "characters", f"{document.get('characters') or 0:,}"
    yield "added", local_time(document.get("created_at", ""))
    yield "changed", local_time(document.get("updated_at", ""))


def receipt_in_words(document: Document, receipt: Mapping[str, Any]) -> str:
    """Return a deletion's receipt as a sentence."""
    counts = {"versions": "version", "chunks": "passage", "postings": "posting"}
    parts = ", ".join(counted(receipt[name], thing) for name, thing in counts.items() if name in receipt)
    checked = " Looked for again: nothing is left." if receipt.get("verified") else ""
    return f"Deleted {document['name']} ({document['document_id']}): {parts}.{checked}"


def print_passages(passages: Sequence[Passage], words: str) -> None:
    """Print what a search found, the best first; on a screen with the words that were looked for set off."""
    for place, passage in enumerate(passages, start=1):
        page = f", p. {passage['page']}" if passage["page"] else ""
        print_text(f"{place}  {passage['name']}{page} · {passage['score']:.2f}", "cyan")
        _print_highlighted(passage["text"], words)
        if place < len(passages):
            click.echo()


def _print_highlighted(text: str, words: str) -> None:
    from pai.terminal.highlight import print_highlighted

    if for_people():
        print_highlighted(printable(text), words)
    else:
        click.echo(text)


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())
