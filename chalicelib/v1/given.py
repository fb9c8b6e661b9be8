"""Objects in a request's body, read with their types checked. BadRequest names the place: `messages[2].content[0].type`."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import BadRequest
from chalicelib.http import BODY_BYTES, Fields, Request

_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Given:
    """One object; `at` is where it stands, empty for the body itself. null is absent."""

    at: str
    members: Mapping[str, Any]

    def place(self, name: str) -> str:
        return f"{self.at}.{name}" if self.at else name

    @property
    def fields(self) -> Fields:
        """The members under the names of their places."""
        return Fields({self.place(name): value for name, value in self.members.items()})

    def has(self, name: str) -> bool:
        return self.members.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        return self.fields.text(self.place(name), longest=BODY_BYTES, default=default)

    def name(self, name: str) -> str:
        """Return what OpenAI takes for the name of a tool or a schema."""
        value = self.text(name)
        if not _NAME.fullmatch(value):
            raise BadRequest(self.place(name), "must be 1 to 64 letters, digits, _ or -")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.members.get(name)
        if value is not None and not isinstance(value, bool):
            raise BadRequest(self.place(name), "must be true or false")
        return default if value is None else value

    def choice(self, name: str, *choices: str) -> str:
        value = self.text(name)
        if value not in choices:
            raise BadRequest(self.place(name), f"must be one of {', '.join(choices)}")
        return value

    def object(self, name: str) -> "Given":
        """Return an object within; an empty one when it is absent."""
        value = self.members.get(name)
        return given(self.place(name), {} if value is None else value)

    def objects(self, name: str, most: int) -> Iterator["Given"]:
        """Yield the objects of a list within; none when it is absent."""
        values = self.members.get(name)
        if values is not None and not isinstance(values, list):
            raise BadRequest(self.place(name), "must be a list")
        if len(values or ()) > most:
            raise BadRequest(self.place(name), f"must have {most} items at most")
        for number, value in enumerate(values or ()):
            yield given(f"{self.place(name)}[{number}]", value)


def given(at: str, value: object) -> Given:
    if not isinstance(value, dict):
        raise BadRequest(at, "must be an object")
    return Given(at, value)


def body(request: Request) -> Given:
    """Return a request's body. Whatever is in it can be sent on as JSON: neither NaN nor half a surrogate pair is."""
    members = request.fields.members
    try:
        json.dumps(members, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise BadRequest("body", "is not JSON in UTF-8: NaN, Infinity and half a surrogate pair are not") from None
    return Given("", members)
