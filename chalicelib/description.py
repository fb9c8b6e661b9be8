"""The API's description, as programs read it: openapi.json beside this file. docs/api.md is made of it, for people."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from chalicelib.http import Reply, Request

FILE = Path(__file__).with_name("openapi.json")


def show(request: Request) -> Reply:
    """Show what there is to ask."""
    return Reply(description())


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """Return the description; the file is read when somebody first asks for it."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))
