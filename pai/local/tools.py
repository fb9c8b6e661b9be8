"""Tools for a model that was not made for them, or forgets how it was told to call one. Pure.

The engine writes tools into the prompt where the model's chat template knows them, and finds calls in the answer where the
model keeps to its template's form. Small models often don't: Qwen2.5-Coder writes its calls as bare JSON, or in a code block.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.llm import Request, Tool, ToolCall
from chalicelib.llm.calls import new_call
from chalicelib.llm.openai.shapes import Json, json_schema

_BEGINNINGS = ("{", "```json", "```\n{", "<tool_call>", "<tools>")
_AROUND = re.compile(r"(?:\s|```(?:json)?|</?tool_call>|</?tools>)*")


def forced(request: Request) -> Sequence[Tool]:
    """Return the tools of which one must be called, none if the model may do without."""
    if not request.tools or request.tool_choice in ("auto", "none"):
        return ()
    return [tool for tool in request.tools if request.tool_choice in ("required", tool.name)]


def response_format(request: Request) -> Json:
    """Return the `response_format` that keeps the answer to what the request wants, empty for words."""
    calls = [_call_schema(tool) for tool in forced(request)]
    if calls:
        return {"response_format": json_schema("call", {"anyOf": calls})}
    if request.json_form is None:
        return {}
    if request.json_form.schema is None:
        return {"response_format": {"type": "json_object"}}
    either = [_call_schema(tool) for tool in usable(request)]
    schema = {"anyOf": [*either, request.json_form.schema]} if either else request.json_form.schema
    return {"response_format": json_schema(request.json_form.name, schema)}


def usable(request: Request) -> Sequence[Tool]:
    return () if request.tool_choice == "none" else request.tools


def _call_schema(tool: Tool) -> Json:
    properties = {"name": {"const": tool.name}, "arguments": dict(tool.parameters)}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"], "additionalProperties": False}


def may_be_calls(text: str) -> bool:
    """Whether an answer that begins like this can still turn out to be calls."""
    begun = text.lstrip()
    return any(begun.startswith(beginning) or beginning.startswith(begun) for beginning in _BEGINNINGS)


def calls_in(text: str) -> list[ToolCall]:
    """Return the calls that an answer consists of, none for anything else. There may be no such tools."""
    try:
        values = list(_values(text))
    except ValueError:
        return []
    if not values or not all(map(_is_call, values)):
        return []
    return [new_call(value["name"], json.dumps(value["arguments"], ensure_ascii=False)) for value in values]


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values that stand one after the other. Raises ValueError when something else stands there."""
    decoder, rest = json.JSONDecoder(), _AROUND.sub("", text, count=1)
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = _AROUND.sub("", rest[end:], count=1)


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("arguments"), dict)


def is_new(call: ToolCall, request: Request) -> bool:
    """Whether this tool exists and was not called like this already, since the user last said something."""
    if call.name not in {tool.name for tool in usable(request)}:
        return False
    return all((made.name, json.loads(made.arguments)) != (call.name, json.loads(call.arguments)) for made in _made(request))


def _made(request: Request) -> Iterator[ToolCall]:
    for said in reversed(request.messages):
        yield from said.tool_calls
        if said.role == "user" and said.text:
            return
