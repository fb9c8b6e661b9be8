"""What `pai chat` does with a line: a slash command, or a message to PAI."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from pai.client import Client
from pai.client.turns import Asked, Question, Regeneration
from pai.config import Config, ConfigError, Preset
from pai.documents.looking import find_document
from pai.terminal.export import FORMATS, format_of, save_export
from pai.terminal.library import print_documents
from pai.terminal.replies import about, unsure
from pai.terminal.screen import (
    for_people,
    local_time,
    print_citations,
    print_conversation,
    print_note,
    print_table,
    print_text,
    waiting,
)
from pai.terminal.spending import print_usage
from pai.terminal.watching import Stopped, watch

LISTED = 20
SHOWN_ON_OPEN = 6
FROM_NOW_ON = "It holds from the next message on."


class Left(Exception):
    """The person wants to leave."""


class Session:
    """A person's way through their conversations. Methods raise `ClientError` and `ConfigError`, after which it goes on.

    `confirm` asks a yes-or-no question.
    """

    def __init__(self, client: Client, config: Config, preset: Preset, confirm: Callable[[str], bool]) -> None:
        self._client = client
        self._config = config
        self._preset = preset
        self._confirm = confirm
        self._listed: list[str] = []
        self._retrieval: Mapping[str, Any] | None = None
        self._begin_new()

    def _begin_new(self) -> None:
        self._conversation_id: str | None = None
        self._unanswered: Asked | None = None
        self._system, self._system_unsent = self._preset.system, True

    def handle(self, line: str) -> None:
        """Do what a line says. A line that begins with a space is always a message."""
        word, _, rest = line.partition(" ")
        if word in SLASHES:
            SLASHES[word].run(self, rest.strip())
        elif word.startswith("/") and "\n" not in line:
            close = get_close_matches(word, SLASHES, n=1)
            meant = f" Did you mean {close[0]}?" if close else ""
            print_note(f"There is no {word}.{meant} /help lists the commands; a space before the slash makes it a message.")
        elif line.strip():
            self.say(line.strip())

    def say(self, text: str) -> None:
        """Send a message and print the answer."""
        if self._conversation_id is None:  # made before it is needed: an interrupted first question can then be found again
            self._conversation_id = self._client.create_conversation()["conversation_id"]
        self._ask(
            Question(
                message=text,
                conversation_id=self._conversation_id,
                system_prompt=(self._system or None) if self._system_unsent else None,
                model=self._preset.model,
                max_tokens=self._preset.max_tokens,
                temperature=self._preset.temperature,
                retrieval=self._retrieval,
            )
        )

    def _ask(self, asked: Asked) -> None:
        self._unanswered = asked
        space = "\n" if for_people() else ""
        click.echo(space, nl=False)
        answer = watch(self._client, asked, shown=True)
        self._unanswered = None
        self._system_unsent = self._system_unsent and not isinstance(asked, Question)
        print_citations(answer.reply.get("citations", ()))
        if doubt := unsure(answer.reply):
            print_note(doubt)
        print_note(about(answer.reply, answer.took_s, answer.first_word_s) + space)

    def stopped(self, how: KeyboardInterrupt) -> None:
        """Say what Ctrl-C has come to."""
        if isinstance(how, Stopped) and how.told and how.said:
            self._unanswered = None
            print_note("Stopped. /regenerate answers the question again.")
        elif isinstance(how, Stopped) and how.told:
            print_note("Stopped. The question is kept; /retry asks it again.")
        elif self._unanswered:
            print_note("Stopped waiting. The question is kept; /retry fetches its answer.")
        else:
            print_note("Stopped.")

    def retry(self, rest: str) -> None:
        if self._unanswered is None:
            raise ConfigError("There is no question without an answer here.")
        self._ask(self._unanswered)

    def regenerate(self, rest: str) -> None:
        """Have the last question answered again, as the session would ask it now."""
        self._ask(
            Regeneration(
                conversation_id=self._current(),
                model=self._preset.model,
                max_tokens=self._preset.max_tokens,
                temperature=self._preset.temperature,
                retrieval=self._retrieval,
            )
        )

    def new(self, rest: str) -> None:
        self._begin_new()
        print_note("The next message begins a new conversation.")

    def list(self, rest: str) -> None:
        with waiting():
            page = self._client.conversations(q=rest or None, limit=LISTED)
        self._listed = [item["conversation_id"] for item in page["items"]]
        rows = [
            (str(number), local_time(item["updated_at"]), item["title"] or "(no title)")
            for number, item in enumerate(page["items"], start=1)
        ]
        print_table(("", "last message", "title"), rows)
        if page["next_cursor"] is not None:
            print_note("There are more: /list WORDS finds those with these words.")

    def open(self, rest: str) -> None:
        """Go on with a conversation: one of the last list by its number, or any by its id."""
        listed = self._listed[int(rest) - 1 : int(rest)] if rest.isdecimal() and len(rest) < 4 else []
        conversation_id = listed[0] if listed else self._client.full_id(rest)
        conversation = self._client.conversation(conversation_id, newest=SHOWN_ON_OPEN)
        self._conversation_id, self._unanswered = conversation_id, None
        self._system, self._system_unsent = conversation.get("system_prompt") or "", False
        print_conversation(conversation)

    def title(self, rest: str) -> None:
        """Show the title, or give the conversation another one."""
        if rest:
            self._client.change_conversation(self._current(), title=rest)
            print_note("Renamed.")
        else:
            print_text(self._client.conversation(self._current(), newest=1).get("title") or "(no title)")

    def delete(self, rest: str) -> None:
        conversation_id = self._current()
        if self._confirm("Delete this conversation for good?"):
            self._client.delete_conversation(conversation_id)
            self.new("")

    def export(self, rest: str) -> None:
        """Print the conversation, or save it in a file."""
        word, _, name = rest.partition(" ") if rest.split(" ")[0] in FORMATS else (None, "", rest)
        path = Path(name.strip()).expanduser() if name.strip() else None
        content = self._client.export_conversation(self._current(), format_of(word, path))
        if path:
            save_export(path, content)
            print_note(f"Saved in {path}.")
        else:
            print_text(content.rstrip("\n"))

    def system(self, rest: str) -> None:
        """Show this conversation's system prompt, or give it another one with the next message."""
        if rest:
            self._system, self._system_unsent = rest, True
            print_note(FROM_NOW_ON)
        else:
            print_text(self._system or "(the deployment's own)")

    def preset(self, rest: str) -> None:
        """List the presets, or go on with this one."""
        if rest:
            self._preset = self._config.preset(rest)
            self._system, self._system_unsent = self._preset.system or self._system, True
            print_note(FROM_NOW_ON)
        else:
            print_table(("preset", "system prompt"), [(name, preset.system) for name, preset in self._config.presets.items()])

    def model(self, rest: str) -> None:
        """List the models, or go on with this one."""
        if rest:
            self._preset = replace(self._preset, model=rest)
            print_note(FROM_NOW_ON)
        else:
            print_table(("model", "name"), [(model["id"], model["name"]) for model in self._client.models()])

    def docs(self, rest: str) -> None:
        """List the newest documents, or say which of them the answers are to come from."""
        if not rest:
            with waiting():
                page = self._client.documents(limit=LISTED)
            print_documents(page["items"])
            return
        if rest in ("all", "off"):
            self._retrieval = {"off": True} if rest == "off" else None
        else:
            self._retrieval = {"documents": [find_document(self._client, rest)["document_id"]]}
        print_note(FROM_NOW_ON)

    def usage(self, rest: str) -> None:
        """Show what this month has used, or another."""
        with waiting():
            report = self._client.usage(rest or None)
        print_usage(report, by="model")

    def help(self, rest: str) -> None:
        print_table(("", ""), [(slash.usage, slash.purpose) for slash in SLASHES.values()])

    def quit(self, rest: str) -> None:
        raise Left

    def _current(self) -> str:
        if self._conversation_id is None:
            raise ConfigError("There is no conversation yet: say something, or /open one.")
        return self._conversation_id


@dataclass(frozen=True)
class Slash:
    """One slash command: how it is written, what it is for, what it does with the rest of the line."""

    usage: str
    purpose: str
    run: Callable[[Session, str], None]


SLASHES: Mapping[str, Slash] = {
    "/new": Slash("/new", "begin a new conversation", Session.new),
    "/list": Slash("/list [WORDS]", "list the latest conversations, or those with these words", Session.list),
    "/open": Slash("/open NUMBER|ID", "go on with a conversation of the list", Session.open),
    "/title": Slash("/title [TITLE]", "show or change this conversation's title", Session.title),
    "/export": Slash("/export [json|markdown] [FILE]", "print this conversation, or save it in a file", Session.export),
    "/delete": Slash("/delete", "delete this conversation for good", Session.delete),
    "/system": Slash("/system [TEXT]", "show or change this conversation's system prompt", Session.system),
    "/docs": Slash("/docs [NAME|all|off]", "list the documents; answer from one, all or none of them", Session.docs),
    "/preset": Slash("/preset [NAME]", "list the presets, or go on with one", Session.preset),
    "/model": Slash("/model [NAME]", "list the models, or go on with one", Session.model),
    "/retry": Slash("/retry", "ask the last question again, if it has no answer yet", Session.retry),
    "/regenerate": Slash("/regenerate", "have the last question answered again", Session.regenerate),
    "/usage": Slash("/usage [MONTH]", "show what this month has used and cost, or one such as 2026-01", Session.usage),
    "/help": Slash("/help", "show this list", Session.help),
    "/quit": Slash("/quit", "leave; so does Ctrl-D", Session.quit),
    "/exit": Slash("/exit", "the same", Session.quit),
}
