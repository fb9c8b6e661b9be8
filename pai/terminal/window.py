"""The bottom of the screen, drawn anew in place while what it shows grows."""

import threading
import time
from collections.abc import Callable
from itertools import takewhile

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

AT_ONCE, NO_WRAP = "\x1b[?2026h", "\x1b[?7l"
SHOW, WRAP = "\x1b[?2026l", "\x1b[?7h"
"""Terminals that know synchronized output show a drawing when it is whole; the others ignore the wish."""
REST_S = 0.04
"""The least time between two drawings; and drawing takes a fifth of the time at most, however long the text is."""


class Window:
    """Shows the last lines of a text that grows, as many as the screen has room for, as `render` makes them.

    What has left the screen can't be drawn anew, and the end of an answer may change its beginning (citation marks, an answer
    that begins again). So nothing of it leaves: `end` erases the window and prints the whole, once, into the scrollback.
    """

    def __init__(self, console: Console, render: Callable[[str], RenderableType]) -> None:
        self._console = console
        self._render = render
        self._lines: list[str] = []
        self._columns = console.width
        self._changed = threading.Condition()
        self._wanted: tuple[str, str] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="pai-window", daemon=True)
        self._thread.start()

    def draw(self, text: str, note: str = "") -> None:
        """Show this text with a note under it, soon."""
        with self._changed:
            self._wanted = (text, note)
            self._changed.notify()

    def end(self, text: str) -> None:
        """Print the whole text, if any, in the window's place."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        whole = [*self._rendered(self._render(text)), ""] if text else []
        self._write(self._to_line(0) + "\n".join(whole))

    def _work(self) -> None:
        """Draw what is wanted, when it is wanted, but for the moment after a drawing."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._ended)
                if self._ended or self._wanted is None:
                    return
                (text, note), self._wanted = self._wanted, None
            began = time.monotonic()
            lines = self._rendered(self._render(text))
            lines += self._rendered(Text(note, style="dim")) if note else []
            self._replace(lines[-max(self._console.height - 1, 1) :])
            with self._changed:
                self._changed.wait_for(lambda: self._ended, max(REST_S, 4 * (time.monotonic() - began)))

    def _rendered(self, content: RenderableType) -> list[str]:
        with self._console.capture() as captured:
            self._console.print(content)
        return captured.get().removesuffix("\n").split("\n")

    def _replace(self, lines: list[str]) -> None:
        """Draw what differs from the lines that are there."""
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(self._lines, lines, strict=False)))
        if same == len(self._lines) == len(lines):
            return
        kept = min(same, len(lines) - 1) if self._columns == self._console.width else 0
        start = self._to_line(kept)
        self._lines, self._columns = lines, self._console.width
        self._write(start + "\n".join(lines[kept:]))

    def _to_line(self, number: int) -> str:
        """Return the codes that go from the end of the last line to the beginning of this one, and erase from there."""
        if number == len(self._lines):
            return "\n" if number else ""
        up = min(sum(map(self._rows, self._lines[number:])), self._console.height) - 1
        return "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"

    def _rows(self, line: str) -> int:
        """Return how many rows a line takes by now: terminals wrap what is there anew when they become narrower."""
        if self._columns == self._console.width:
            return 1
        return max(-(-cell_len(Text.from_ansi(line).plain) // self._console.width), 1)

    def _write(self, codes: str) -> None:
        self._console.file.write(f"{AT_ONCE}{NO_WRAP}{codes}{WRAP}{SHOW}")
        self._console.file.flush()
