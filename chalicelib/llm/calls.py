"""Tool calls that come in piece by piece. Pure."""

import json
from dataclasses import dataclass
from uuid import uuid4

from chalicelib.llm import ToolCall


@dataclass
class _Part:
    id: str = ""
    name: str = ""
    arguments: str = ""


class Calls:
    """The calls of one answer. A new id begins a new call: there are servers that number every call 0."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._open: dict[int, _Part] = {}

    def add(self, number: int, *, id: str = "", name: str = "", arguments: str = "") -> None:
        """Take in a piece of the call of this number."""
        part = self._open.get(number)
        if part is None or (id and part.id and id != part.id):
            part = self._open[number] = _Part()
            self._parts.append(part)
        part.id, part.name = part.id or id, part.name or name
        part.arguments += arguments

    def whole(self, *, cut: bool) -> list[ToolCall]:
        """Return the calls. Raises ValueError when one can't be read; if the answer was `cut` that one is left out."""
        calls = [_call(part) for part in self._parts]
        if None in calls and not cut:
            raise ValueError("the arguments of a tool call are no JSON object")
        return [call for call in calls if call is not None]


def _call(part: _Part) -> ToolCall | None:
    arguments = part.arguments.strip() or "{}"
    return new_call(part.name, arguments, part.id) if part.name and is_json_object(arguments) else None


def new_call(name: str, arguments: str, id: str = "") -> ToolCall:
    """Return a call, with an id of our own where the model gave none."""
    return ToolCall(id or f"call_{uuid4().hex}", name, arguments)


def is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
