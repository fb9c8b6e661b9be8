"""A person's terminal: a pseudo-terminal with a program on it, and the screen it would show."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pyte

PATIENCE_S = 20.0
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""What the child does first: make the terminal its own, so that Ctrl-C reaches it as a signal."""


class Screen(pyte.HistoryScreen):
    """A screen that answers what programs ask a terminal, such as where its cursor is, and keeps what scrolls off its top."""

    keyboard = -1

    def write_process_input(self, data: str) -> None:
        os.write(self.keyboard, data.encode())


class Terminal:
    """Runs `python ARGUMENTS…` on a terminal of this size. `raw` is all that it printed, with its codes."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, *, columns: int = 80, rows: int = 60
    ) -> None:
        self._keyboard, screen_side = pty.openpty()
        fcntl.ioctl(screen_side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen = Screen(columns, rows, history=10_000)
        self._screen.keyboard = self._keyboard
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        command = [sys.executable, "-c", TAKE_TERMINAL, *arguments]
        self._process = subprocess.Popen(
            command,
            stdin=screen_side,
            stdout=screen_side,
            stderr=screen_side,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        os.close(screen_side)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._keyboard)

    @property
    def text(self) -> str:
        """What the screen shows, without the blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def whole_text(self) -> str:
        """What has scrolled off the top of the screen, and what it shows."""
        gone = ["".join(line[column].data for column in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join([*(line.rstrip() for line in gone), self.text])

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size; the screen is told, as by a terminal that does not wrap anew what is there."""
        fcntl.ioctl(self._keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode())

    def say(self, line: str, *, then: str) -> None:
        """Type a line, press Enter and wait until the screen shows something in answer."""
        self.type(f"{line}\r")
        self.wait_for(then)

    def wait_for(self, words: str) -> None:
        """Wait until the screen shows these words."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.text:
            assert self._read(deadline), f"{words!r} never came:\n{self.text}"

    def wait_for_no(self, words: str) -> None:
        """Wait until the screen shows these words no more."""
        deadline = time.monotonic() + PATIENCE_S
        while words in self.text:
            assert self._read(deadline), f"{words!r} stays:\n{self.text}"

    def wait_for_spinner(self) -> None:
        """Wait until the screen ends with seconds that pass."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(r"\d s$", self.text):
            assert self._read(deadline), f"nothing is waited for:\n{self.text}"

    def wait_for_end(self) -> int:
        """Wait until the program ends, and return its exit status."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        return self._process.wait(timeout=max(deadline - time.monotonic(), 0.1))

    def _read(self, deadline: float) -> bool:
        """Show what the program prints next; False when it prints no more, or not in time."""
        ready, _, _ = select.select([self._keyboard], [], [], max(deadline - time.monotonic(), 0))
        try:
            printed = os.read(self._keyboard, 65536) if ready else b""
        except OSError:  # how Linux says that the other side of a terminal is closed
            return False
        self.raw += printed
        self._stream.feed(printed)
        return bool(printed)
