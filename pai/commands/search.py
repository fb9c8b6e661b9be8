"""`pai search`: what stands in the documents, in their own words."""

import click

from pai.commands import connected, json_option, on_wait, url_option
from pai.terminal.screen import print_json, print_note, waiting


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="QUESTION...")
@click.option("--top-k", type=click.IntRange(1, 20), help="How many passages, at most.")
@click.option("--doc", "docs", metavar="ID|NAME", multiple=True, help="Only in this document. May be given several times.")
@url_option
@json_option
def search(words: tuple[str, ...], top_k: int | None, docs: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Print the passages of the documents that fit a question.

    The best come first. No language model is asked. A whole question finds more than single words: it is also understood by
    its meaning. Exit status 0 also when nothing was found.
    """
    from pai.documents.looking import find_document
    from pai.terminal.library import print_passages

    question = " ".join(words)
    with connected(url, as_json=as_json) as client, waiting() as say:
        documents = [find_document(client, word)["document_id"] for word in docs]
        found = client.search(question, top_k=top_k, documents=documents, on_wait=on_wait(say))
        is_empty = not found["passages"] and not client.documents(limit=1)["items"]
    if as_json:
        print_json(found)
    elif found["passages"]:
        print_passages(found["passages"], question)
    elif is_empty:
        print_note("There are no documents yet: add some with `pai docs add`.")
    else:
        print_note("Nothing in the documents fits.")
