"""`pai ask`: one question, one answer; made for pipes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pai.commands import asking_options, chosen_conversation, connected, json_option, url_option
from pai.config import Preset
from pai.terminal.pipe import piped_text
from pai.terminal.screen import Say, print_citations, print_json, print_note, waiting

if TYPE_CHECKING:
    from pai.client import Client
    from pai.client.turns import Question
    from pai.client.wire import ChatReply


@click.command()
@click.argument("words", nargs=-1, metavar="[QUESTION]...")
@click.option(
    "--doc", "docs", metavar="FILE|ID|NAME", multiple=True, help="Answer from this document. May be given several times."
)
@click.option("--no-docs", is_flag=True, help="Answer without looking into the documents.")
@asking_options
@url_option
@json_option
def ask(
    words: tuple[str, ...],
    docs: tuple[str, ...],
    no_docs: bool,
    preset: Preset,
    conversation: str | None,
    latest: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Ask one question; print the answer and nothing else.

    An answer that rests on documents is followed by their words that bear it out. A FILE that PAI does not have yet is
    added first, and stays.

    What is piped in follows the question. The answer goes to stdout, everything else to stderr, and the exit status tells
    whether there is an answer (`pai --help` lists them). A question that meets a busy server is asked again for half a
    minute, and answered once; a connection that breaks off is taken up again. Ctrl-C stops the answer on the server too.

    On a screen the words appear as they are made; a file or another program gets the answer when it is there.

    \b
    Examples:
      pai ask "What is a leap second?"
      git diff | pai ask "Write a commit message for this change."
      pai ask --json --max-tokens 50 "Name a colour." | jq -r .message
      pai ask -c "And another one?"
      pai ask --doc lease.pdf "What does it say about pets?"
    """
    from pai.terminal.watching import watch

    text = _text(words)
    if docs and no_docs:
        raise click.UsageError("--doc and --no-docs are two answers to one question.")
    with connected(url, as_json=as_json) as client:
        with waiting() as show:
            place = chosen_conversation(client, conversation, latest=latest)
            question = _question(text, place, preset, _retrieval(client, docs, no_docs=no_docs, say=show))
        reply = watch(client, question, shown=not as_json).reply
    _print(reply, as_json=as_json)


def _text(words: tuple[str, ...]) -> str:
    """Return what is asked: the words of the command line, and what is piped in."""
    text = "\n\n".join(filter(None, (" ".join(words), piped_text())))
    if not text.strip():
        raise click.UsageError("There is no question: give one, or pipe one in.")
    return text


def _question(text: str, conversation_id: str | None, preset: Preset, retrieval: Mapping[str, Any] | None) -> "Question":
    from pai.client.turns import Question

    return Question(
        message=text,
        conversation_id=conversation_id,
        system_prompt=preset.system or None,
        model=preset.model,
        max_tokens=preset.max_tokens,
        temperature=preset.temperature,
        retrieval=retrieval,
    )


def _retrieval(client: "Client", docs: tuple[str, ...], *, no_docs: bool, say: Say) -> Mapping[str, Any] | None:
    """Return what the request says of documents; nothing where the person did not speak of them."""
    if no_docs:
        return {"off": True}
    if not docs:
        return None
    from pai.documents.bringing import bring_document

    return {"documents": [bring_document(client, word, say) for word in docs]}


def _print(reply: "ChatReply", *, as_json: bool) -> None:
    """Print what goes with an answer, which is on the screen already; for programs all of it."""
    from pai.terminal.replies import cut_off, unsure

    if as_json:
        print_json(reply)
    else:
        print_citations(reply.get("citations", ()))
    if doubt := unsure(reply):
        print_note(doubt)
    if cut := cut_off(reply):
        print_note(f"The answer is {cut}; `pai ask -c 'Go on.'` continues it.")
