"""Server-sent events, read as the standard says: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sent:
    """One event as it was sent. `kind` is its `event` field."""

    kind: str
    data: str


@dataclass
class EventSource:
    """Reads one stream of events from the bodies of as many responses as it takes.

    `last_id` is the id of the last event that came whole: what the next request gives as Last-Event-ID. `retry_s` is the
    pause before it that the server asked for.
    """

    last_id: str = ""
    retry_s: float | None = None
    _id: str = field(default="", init=False)
    _kind: str = field(default="", init=False)
    _data: list[str] = field(default_factory=list, init=False)

    def read(self, pieces: Iterable[bytes]) -> Iterator[Sent]:
        """Yield the events of a response's body. One that is cut off before its blank line has not come."""
        self._id, self._kind, self._data = self.last_id, "", []
        for line in _lines(pieces):
            if line:
                self._take(*line.partition(":")[::2])
                continue
            self.last_id = self._id
            kind, data, self._kind, self._data = self._kind, self._data, "", []
            if data:
                yield Sent(kind or "message", "\n".join(data))

    def _take(self, name: str, value: str) -> None:
        """Take a field. A comment has no name."""
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the whole lines of UTF-8 text in pieces. LF, CR and CRLF end them, and nothing else does, such as U+2028."""
    text = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("replace"), translate=True)
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + text.decode(piece)).split("\n")
        yield from whole
    *whole, _ = (rest + text.decode(b"", final=True)).split("\n")
    yield from whole
