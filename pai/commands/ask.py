"""`pai ask`: one question, one answer; made for pipes."""

import click

from pai.commands import asking_options, chosen_conversation, connected, json_option, url_option
from pai.config import Preset
from pai.terminal.pipe import piped_text
from pai.terminal.screen import print_answer, print_json, print_note, waiting


@click.command()
@click.argument("words", nargs=-1, metavar="[QUESTION]...")
@asking_options
@url_option
@json_option
def ask(
    words: tuple[str, ...], preset: Preset, conversation: str | None, latest: bool, url: str | None, as_json: bool
) -> None:
    """Ask one question; print the answer and nothing else.

    What is piped in follows the question. The answer goes to stdout, everything else to stderr, and the exit status tells
    whether there is an answer (`pai --help` lists them). A question that meets a busy server is asked again for half a
    minute, and answered once.

    \b
    Examples:
      pai ask "What is a leap second?"
      git diff | pai ask "Write a commit message for this change."
      pai ask --json --max-tokens 50 "Name a colour." | jq -r .message
      pai ask -c "And another one?"
    """
    from pai.client import Question
    from pai.terminal.replies import cut_off, retrying

    text = "\n\n".join(filter(None, (" ".join(words), piped_text())))
    if not text.strip():
        raise click.UsageError("There is no question: give one, or pipe one in.")
    with connected(url, as_json=as_json) as client, waiting() as show:
        question = Question(
            message=text,
            conversation_id=chosen_conversation(client, conversation, latest=latest),
            system_prompt=preset.system or None,
            model=preset.model,
            max_tokens=preset.max_tokens,
            temperature=preset.temperature,
        )
        reply = client.chat(question, lambda pause_s, error: show(retrying(pause_s, error)))
    if as_json:
        print_json(reply)
    else:
        print_answer(reply["message"])
    if cut := cut_off(reply):
        print_note(f"The answer is {cut}; `pai ask -c 'Go on.'` continues it.")
