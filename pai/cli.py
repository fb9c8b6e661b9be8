"""The command `pai`: its subcommands by name, each loaded only when it is called."""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from io import TextIOWrapper

import click

from chalicelib.health import VERSION
from pai.operate import adopt_region

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Talk": {
        "chat": ("chat", "Talk with PAI, message by message."),
        "ask": ("ask", "Ask one question; print the answer and nothing else."),
        "conversations": ("conversations", "List, read, search, rename, export and delete conversations."),
        "docs": ("docs", "Add, list and remove the documents that PAI answers from."),
        "search": (
            "search",
            "Print the passages of the documents that fit a question.",
        ),
        "presets": ("presets", "Keep named system prompts, each with its model and limits."),
        "use": ("use", "Say which PAI to talk with, and with which key."),
    },
    "Run": {
        "run": ("run", "Serve PAI on this machine."),
        "models": ("models", "List and fetch the language models of this machine."),
        "keys": ("keys", "Create, list, rotate and disable API keys."),
        "usage": ("usage", "Say what was used, what it cost, and what is left."),
        "budget": ("budget", "Show and set what may be spent."),
        "doctor": ("doctor", "Say what is wrong and how to fix it."),
        "backup": ("home", "Save everything that this machine, or a stage on AWS, keeps to one file."),
        "restore": ("home", "Bring a backup back to this machine, or to a stage."),
    },
    "In your AWS account": {
        "deploy": ("deploy", "Bring a stage to your AWS account, or up to date."),
        "status": ("status", "Say how a stage on AWS is."),
        "logs": ("logs", "Show what a stage on AWS writes."),
        "open": ("open", "Print a stage's address, and open it in the browser."),
        "cost": ("cost", "Say what a stage on AWS costs."),
        "destroy": ("destroy", "Delete a stage and everything it holds."),
    },
}
"""Section of the help → command → its module in pai.commands (which has it under its own name), and what it is for."""

MEMBERS = {"open": "open_stage"}
"""Command → its name in the module, where Python means something else by the command's."""

INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that knows its commands' names and purposes without importing them: `pai --help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for commands in SECTIONS.values():
            if cmd_name in commands:
                module = import_module(f"pai.commands.{commands[cmd_name][0]}")
                command: click.Command = getattr(module, MEMBERS.get(cmd_name, cmd_name))
                return command
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, purpose) for name, (_, purpose) in commands.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, message="pai %(version)s")
def main() -> None:
    """PAI: a personal AI chatbot that you own, on this machine or in your own AWS account.

    \b
    Exit status, of every command:
      0    it worked
      1    no answer: the server or the model failed, or nothing answers
      2    wrong usage, or something saved or given that can't be
      3    no API key, or one that is not accepted
      4    there is no such conversation or document
      130  interrupted by Ctrl-C
    """
    adopt_region()
    if isinstance(sys.stdout, TextIOWrapper):  # what this terminal's encoding lacks becomes a ?, not a crash
        sys.stdout.reconfigure(errors="replace")
        if sys.stdout.isatty():  # how large it is, it knows itself, also when that changes; an exported number doesn't
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)
