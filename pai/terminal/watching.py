"""Somebody waits for an answer, sees it come, and may stop it."""

import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pai.client import Client
from pai.client.errors import ClientError
from pai.client.turns import Asked, Begun, Done, Event, Restart, State, Text
from pai.client.wire import ChatReply
from pai.terminal.replies import retrying
from pai.terminal.screen import can_redraw, console, for_people, keys_unseen, print_answer, printable, rendered, waiting

if TYPE_CHECKING:
    from pai.terminal.window import Window

WAKING = "· The documents' database wakes up, which may take a minute."
AGAIN = "· The answer begins again."


@dataclass(frozen=True)
class Answer:
    """What came, and after how many seconds: all of it, and its first word if one came before the end."""

    reply: ChatReply
    took_s: float
    first_word_s: float | None


class Stopped(KeyboardInterrupt):
    """Ctrl-C ended an answer: `said` when words of it had come, `told` when the server knows."""

    def __init__(self, *, said: bool, told: bool) -> None:
        super().__init__()
        self.said = said
        self.told = told


def watch(client: Client, asked: Asked, *, shown: bool) -> Answer:
    """Ask, and follow the answer to its end; print it, and while it grows show it on the screen, unless it is not to be shown.

    Raises ClientError, and Stopped on Ctrl-C, after which what had come stays on the screen.
    """
    with keys_unseen():
        return _followed(client, asked, View(shown=shown))


def _followed(client: Client, asked: Asked, view: "View") -> Answer:
    began = time.monotonic()
    begun: Begun | None = None
    first_word_s = None
    try:
        with view, closing(client.stream(asked, view.wait)) as events:
            for event in events:
                if isinstance(event, Begun):
                    begun = event
                if isinstance(event, Text) and first_word_s is None:
                    first_word_s = time.monotonic() - began
                view.see(event)
                if isinstance(event, Done):
                    return Answer(event.reply, time.monotonic() - began, first_word_s)
    except KeyboardInterrupt:
        raise Stopped(said=bool(view.text), told=begun is not None and _stop(client, begun)) from None
    raise AssertionError("a stream ends with Done")


class View:
    """What is to be seen of an answer: a spinner until its first word, then the words, with what is to be said under them.

    Use it in a `with` statement. What has come when the block is left by an exception stays on the screen.
    """

    def __init__(self, *, shown: bool) -> None:
        self.text = ""
        self._shown = shown
        self._window: Window | None = None
        self._spinner = ExitStack()

    def __enter__(self) -> Self:
        self._say = self._spinner.enter_context(waiting())
        return self

    def __exit__(self, *error: object) -> None:
        with self._spinner:
            if any(error) and (self._window or (self.text and for_people())):
                self._settle(self.text)

    def see(self, event: Event) -> None:
        match event:
            case State(state):
                self._note(WAKING if state == "waking" else "")
            case Text(text):
                self.text += text
                self._note("")
            case Restart() if self.text:
                self.text = ""
                self._note(AGAIN)
            case Done(reply):
                self._settle(reply["message"])

    def wait(self, pause_s: float, error: ClientError) -> None:
        """Say why it takes longer."""
        self._note(retrying(pause_s, error))

    def _note(self, words: str) -> None:
        if self._window is None and self.text.strip() and self._shown and can_redraw():
            from pai.terminal.window import Window

            self._spinner.close()
            self._window = Window(console(), rendered)
        if self._window:
            self._window.draw(self.text, printable(words))
        else:
            self._say(words)

    def _settle(self, text: str) -> None:
        """Print the whole answer, in place of what is there of it."""
        self._spinner.close()
        if self._window:
            self._window.end(text)
            self._window = None
        elif self._shown:
            print_answer(text)


def _stop(client: Client, begun: Begun) -> bool:
    """Tell the server to stop, and say whether it knows."""
    with suppress(ClientError):
        client.stop_turn(begun)
        return True
    return False
