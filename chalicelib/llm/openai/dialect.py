"""What a model takes of OpenAI's protocol, learnt from what it refuses. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.llm import JsonForm, Request
from chalicelib.llm.openai.failures import Refusal
from chalicelib.llm.openai.shapes import Json, json_schema, messages_of, tools_of

_ASK_FOR_JSON = "Answer with a JSON object."
_FIELDS = (
    ("response_format", r"response_?format|json_schema|json_object|json mode|structured output|schema|grammar"),
    ("messages", r"tool_call_id|'tool_calls'|role 'tool'|tool_use_id|tool_result"),
    ("tool_choice", r"tool_choice\W"),
    ("tools", r"\btools?\b|\bfunctions?\b|function calling"),
    ("stop", r"\bstop\b|stop_?sequences?"),
)
"""What a refusal calls the members that mean something and so can't be left out."""


@dataclass(frozen=True)
class Dialect:
    """Everything, until a refusal says otherwise."""

    max_tokens: str = "max_tokens"
    """Name of the longest answer: OpenAI's reasoning models call it `max_completion_tokens`."""
    temperature: bool = True
    stream_options: bool = True
    top_p: bool = True
    strict: bool = True
    """Whether a schema that allows it is kept to strictly: https://platform.openai.com/docs/guides/structured-outputs."""


def body(request: Request, model: str, dialect: Dialect) -> Json:
    """Return the request as a body for `/chat/completions`."""
    members: Json = {
        "model": model,
        "messages": messages_of(request),
        "stream": True,
        dialect.max_tokens: request.max_tokens,
    }
    if dialect.stream_options:
        members["stream_options"] = {"include_usage": True}
    if dialect.temperature and request.temperature is not None:
        members["temperature"] = request.temperature
    if dialect.top_p and request.top_p is not None:
        members["top_p"] = request.top_p
    return members | _meaning(request, dialect)


def _meaning(request: Request, dialect: Dialect) -> Json:
    """Return the members that no server may ignore."""
    members: Json = {}
    if request.tools:
        members["tools"] = tools_of(request.tools)
    if request.tools and request.tool_choice != "auto":
        members["tool_choice"] = _choice(request.tool_choice)
    if request.stop:
        members["stop"] = list(request.stop)
    if request.json_form:
        members["response_format"] = _response_format(request.json_form, dialect)
    if request.json_form and not request.json_form.schema and not any("json" in text.lower() for text in request.texts):
        # OpenAI refuses to write JSON without a schema where nobody asks for it in words.
        asked = replace(request, system="\n\n".join(filter(None, (request.system, _ASK_FOR_JSON))))
        members["messages"] = messages_of(asked)
    return members


def _choice(name: str) -> str | Json:
    return name if name in ("none", "required") else {"type": "function", "function": {"name": name}}


def _response_format(form: JsonForm, dialect: Dialect) -> Json:
    if form.schema is None:
        return {"type": "json_object"}
    strict = {"strict": True} if dialect.strict and _is_closed(form.schema) else {}
    return json_schema(form.name, form.schema, **strict)


def _is_closed(schema: Any) -> bool:
    """Whether each object in a schema has all members that it lists and no others, which OpenAI wants for strictness."""
    if isinstance(schema, list):
        return all(map(_is_closed, schema))
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required") or ()) != set(schema.get("properties") or ())
    ):
        return False
    return all(map(_is_closed, schema.values()))


def learn(dialect: Dialect, refusal: Refusal) -> Dialect | None:
    """Return a dialect that avoids what was refused; None when it is nothing that can be left out."""
    if refusal.status not in (400, 422):
        return None
    if dialect.max_tokens == "max_tokens" and "max_completion_tokens" in refusal.words:
        return replace(dialect, max_tokens="max_completion_tokens")
    if dialect.temperature and "temperature" in refusal.words:
        return replace(dialect, temperature=False)
    if dialect.stream_options and "stream_options" in refusal.words:
        return replace(dialect, stream_options=False)
    if dialect.top_p and "top_p" in refusal.words:
        return replace(dialect, top_p=False)
    if dialect.strict and re.search(r"\bstrict\b|response_format.*schema|schema.*response_format", refusal.words):
        return replace(dialect, strict=False)
    return None


def refused_field(request: Request, refusal: Refusal) -> str:
    """Return the field of the request that a refusal is about, empty for none that means something."""
    if refusal.status not in (400, 404, 422, 501):
        return ""
    asked = _asked(request)
    named = (name for name, phrase in _FIELDS if name in asked and re.search(phrase, refusal.words))
    return refusal.param if refusal.param in asked else next(named, "")


def _asked(request: Request) -> set[str]:
    wanted = {
        "response_format": request.json_form,
        "messages": any(said.tool_calls or said.tool_results for said in request.messages),
        "tool_choice": request.tools and request.tool_choice != "auto",
        "tools": request.tools,
        "stop": request.stop,
    }
    return {name for name, value in wanted.items() if value}
