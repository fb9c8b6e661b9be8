"""What comes through a pipe: UTF-8 text, or a usage error."""

import sys
from collections.abc import Iterator

import click

STDIN_BYTES = 1_000_000
"""What is read of stdin as one question. The server takes less, and says how much; this only bounds our memory."""


def piped_text() -> str:
    """Return what is piped in, without the line ends at its end; nothing when stdin is a keyboard."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read(STDIN_BYTES + 1)
    if len(data) > STDIN_BYTES:
        raise click.UsageError(f"stdin is more than {STDIN_BYTES:,} bytes, which no question may be.")
    return _decoded(data).rstrip("\r\n")


def piped_lines() -> Iterator[str]:
    """Yield the lines of stdin, of which each may be as long as a question."""
    if sys.stdin is None:
        return
    while line := sys.stdin.buffer.readline(STDIN_BYTES + 1):
        if len(line) > STDIN_BYTES:
            raise click.UsageError(f"A line of stdin is more than {STDIN_BYTES:,} bytes, which no question may be.")
        yield _decoded(line).rstrip("\r\n")


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError("stdin is not UTF-8 text.") from None
