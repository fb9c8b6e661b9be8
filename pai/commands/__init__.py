"""The subcommands of `pai`, one file each, and what those that talk with a server share."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TextIO

import click

from pai.config import Preset, find_key, load_config, resolve_address
from pai.terminal.screen import Say, print_error, print_json

if TYPE_CHECKING:
    from pai.client import Client
    from pai.client.errors import ClientError
    from pai.client.patience import OnWait

Command = Callable[..., Any]

url_option = click.option(
    "--url", envvar="PAI_URL", show_envvar=True, metavar="URL", help="Talk with the PAI at this address."
)
json_option = click.option("--json", "as_json", is_flag=True, help="For programs: print one JSON value and nothing else.")
conversation_argument = click.argument("conversation", metavar="ID")


class Failed(click.ClickException):
    """A request's failure as the command's: a sentence on stderr, with --json its JSON on stdout, and the exit status."""

    def __init__(self, error: "ClientError", *, as_json: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.as_json = as_json

    def show(self, file: Any = None) -> None:
        print_error(f"Error: {self.format_message()}")
        if self.as_json:
            shown = {"Code": self.error.code, "Message": self.error.message, "RequestId": self.error.request_id}
            print_json({**self.error.details, **shown, "Status": self.error.status})


class Refused(Failed):
    """The server does not take what was asked."""

    exit_code = 2


class NotAuthorised(Failed):
    exit_code = 3

    def format_message(self) -> str:
        return f"{self.message} `pai use URL --key-file FILE` saves a key for an address."


class NotThere(Failed):
    exit_code = 4


FAILURES = {400: Refused, 401: NotAuthorised, 403: NotAuthorised, 404: NotThere, 413: Refused, 422: Refused}
"""What a failure means to the command, by HTTP status; `Failed` is every other one."""


def failure(error: "ClientError", *, as_json: bool = False) -> Failed:
    return FAILURES.get(error.status or 0, Failed)(error, as_json=as_json)


@contextmanager
def connected(url: str | None, *, as_json: bool = False) -> Iterator["Client"]:
    """Yield a client for the address and key that hold here; what it raises ends the command as `Failed`."""
    from pai.client import Client
    from pai.client.errors import ClientError

    address = resolve_address(url)
    key = find_key(address)
    try:
        if key is None:
            raise ClientError("NoApiKey", f"There is no API key for {address}.", status=401)
        with Client(address, key.text) as client:
            yield client
    except ClientError as error:
        raise failure(error, as_json=as_json) from error


def preset_options(command: Command) -> Command:
    """Give a command the options that make up a preset."""
    for option in (
        click.option("--temperature", type=click.FloatRange(0, 1), help="How freely to answer: 0 is the most predictable."),
        click.option("--max-tokens", type=click.IntRange(1), help="The longest answer, in tokens."),
        click.option("--model", metavar="NAME", help="The model to answer; `/model` in `pai chat` lists them."),
        click.option("--system", metavar="TEXT", help="The system prompt: who the model is and how it answers."),
    ):
        command = option(command)
    return command


def asking_options(command: Command) -> Command:
    """Give a command the options that say how to ask and where; it receives `preset`, `conversation` and `latest`."""

    @click.option("--conversation", metavar="ID", help="Go on with this conversation; the beginning of its id is enough.")
    @click.option("--continue", "-c", "latest", is_flag=True, help="Go on with the latest conversation.")
    @click.option("--preset", "preset_name", metavar="NAME", help='Ask with this preset; "none" for no preset at all.')
    @preset_options
    @wraps(command)
    def asking(
        *,
        preset_name: str | None,
        system: str | None,
        model: str | None,
        max_tokens: int | None,
        temperature: float | None,
        **rest: Any,
    ) -> Any:
        saved = load_config().preset(preset_name)
        preset = Preset(
            system=saved.system if system is None else system,
            model=model or saved.model,
            max_tokens=max_tokens or saved.max_tokens,
            temperature=saved.temperature if temperature is None else temperature,
        )
        return command(preset=preset, **rest)

    return asking


def chosen_conversation(client: "Client", conversation: str | None, *, latest: bool) -> str | None:
    """Return the id of the conversation that the options name; None when they name none."""
    if conversation is not None and latest:
        raise click.UsageError("--conversation and --continue are two answers to one question.")
    if conversation is not None:
        return client.full_id(conversation)
    newest = client.conversations(limit=1)["items"] if latest else []
    if latest and not newest:
        raise click.UsageError("There is no conversation to continue.")
    return newest[0]["conversation_id"] if newest else None


def read_text(file: TextIO) -> str:
    """Return what a file that an option named says."""
    try:
        return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file.name} can't be read as UTF-8 text: {error}.") from error


def make_sure(question: str, otherwise: str = "Nothing was deleted.") -> None:
    """Ask whether something is meant that can't be undone; end the command unless it is."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask whether this is meant; add --yes.")
    if not click.confirm(question, err=True):
        raise click.ClickException(otherwise)


def on_wait(say: Say) -> "OnWait":
    """Return what tells a person, beside the spinner, why a request is made again."""
    from pai.terminal.replies import retrying

    return lambda pause_s, error: say(retrying(pause_s, error))
