"""An answer's words on their way out, as they come: whole characters, and none of the marks that a model wrote. Pure.

An answer that is sent as it comes can't get the marks that are checked (chat.citations): those are made of whole sentences.
What the model wrote itself must not stand there in their place.
"""

import codecs
import re

from chalicelib.chat.markers import anatomy

_MAY_BE_A_MARK = re.compile(
    r"""[ \t]*(?:
        !?(?:\[[^\]\n]{0,40}|【[^】\n]{0,40})       # one that is not closed yet
      | !?\[\d[\d\s,;–-]*\](?:[(\[:][^)\]\n]{0,200})?  # one that may be a link, or where a link leads
      )?$""",
    re.VERBOSE,
)


class Wording:
    """Takes an answer in piece by piece; `heard` is all of it, as the model wrote it.

    `passages` are those it was given from; without any, marks are left alone.
    """

    def __init__(self, passages: int = 0) -> None:
        self.heard = ""
        self._passages = passages
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")
        self._read = self._sent = 0

    def take(self, delta: str, *, last: bool = False) -> str:
        """Return what can be said now; with `last` all that is left. A character that came in halves is made whole."""
        said = self._decoder.decode(delta.encode("utf-16-le", "surrogatepass"), last)
        self.heard += said
        if not self._passages:
            return said
        read, self._read = self._read, len(self.heard) if last else max(self._read, _held_from(self.heard))
        fresh = self.heard[read : self._read]
        if "[" in fresh or "【" in fresh:
            fresh = anatomy(self.heard[: self._read], self._passages).text[self._sent :]
        self._sent += len(fresh)
        return fresh


def whole(text: str) -> str:
    """Return a text whose characters came in halves (surrogates), with each made whole; half a one is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _held_from(text: str) -> int:
    """Return from where on more must come before it is known what it is: a mark, a link, or code within a line."""
    line = text.rfind("\n") + 1
    end = text.rfind("`") if text.count("`", line) % 2 else len(text)
    found = _MAY_BE_A_MARK.search(text, line, end)
    return found.start() if found else end
