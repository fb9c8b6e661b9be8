"""A body of /v1/chat/completions → what is asked of a model. Pure.

What clients send without a difference to the answer is taken and left aside: user, metadata, store, seed, service_tier and
whatever is not known here. What would make it another answer is refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import BadRequest
from chalicelib.llm import JsonForm, Request, Tool
from chalicelib.settings import Settings
from chalicelib.v1.given import Given
from chalicelib.v1.said import said
from chalicelib.wire import LABEL_CHARS, MOST_TOKENS

PAI = "pai"
"""The model that answers from the owner's documents: the deployment's default one, with what they say."""
MOST_TOOLS = 128
MOST_STOPS = 4
HOTTEST = 1.0
"""OpenAI's temperatures go up to 2, those of most models to 1: what is above is taken as 1, and below it means the same."""
_NO_ARGUMENTS = {"type": "object", "properties": {}}
_CHOICES = ("auto", "none", "required")

_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "must be 1: ask again for another answer"),
    "logprobs": ((False,), "probabilities are not given here; leave it out"),
    "top_logprobs": ((0,), "probabilities are not given here; leave it out"),
    "logit_bias": (({},), "is not taken here; leave it out"),
    "modalities": ((["text"],), 'must be ["text"]: answers are text'),
    "audio": ((), "answers are text; leave it out"),
    "functions": (([],), "is not taken here: send tools"),
    "function_call": (("auto", "none"), "is not taken here: send tool_choice"),
    "web_search_options": ((), "the models here do not search the web; leave it out"),
}
"""Members that make another answer, with the values that don't."""


@dataclass(frozen=True)
class Wanted:
    """What a client wants. `model` is the name it gave; `one_call`: of several tool calls it takes the first only."""

    model: str
    request: Request
    stream: bool = False
    include_usage: bool = False
    one_call: bool = False


def wanted(body: Given, settings: Settings) -> Wanted:
    _refuse_what_is_not_done(body)
    model = body.fields.required_text("model", longest=LABEL_CHARS)
    return Wanted(
        model,
        _request(body, model, settings),
        stream=body.flag("stream"),
        include_usage=body.object("stream_options").flag("include_usage"),
        one_call=not body.flag("parallel_tool_calls", default=True),
    )


def _refuse_what_is_not_done(body: Given) -> None:
    for name, (harmless, problem) in _REFUSED.items():
        value = body.members.get(name)
        if value is not None and not any(value == fine and type(value) is type(fine) for fine in harmless):
            raise BadRequest(name, problem)


def _request(body: Given, model: str, settings: Settings) -> Request:
    tools = _tools(body)
    system, messages = said(body)
    temperature = body.fields.number("temperature", least=0, most=2)
    return Request(
        messages=messages,
        system=system or (settings.system_prompt if model == PAI else ""),
        model=None if model == PAI else model,
        max_tokens=_max_tokens(body) or settings.max_tokens,
        temperature=None if temperature is None else min(temperature, HOTTEST),
        tools=tools,
        tool_choice=_tool_choice(body, [tool.name for tool in tools]),
        json_form=_json_form(body),
        stop=_stop(body),
        top_p=body.fields.number("top_p", least=0, most=1),
    )


def _max_tokens(body: Given) -> int | None:
    """Return the longest answer; the second name is the older one."""
    names = ("max_completion_tokens", "max_tokens")
    return next(filter(None, (body.fields.whole(name, least=1, most=MOST_TOKENS) for name in names)), None)


def _tools(body: Given) -> tuple[Tool, ...]:
    tools = tuple(map(_tool, body.objects("tools", MOST_TOOLS)))
    if len({tool.name for tool in tools}) < len(tools):
        raise BadRequest("tools", "must each have another name")
    return tools


def _tool(tool: Given) -> Tool:
    tool.choice("type", "function")
    function = tool.object("function")
    name = function.name("name")
    if name in _CHOICES:
        raise BadRequest(function.place("name"), "must be another: this one has a meaning as tool_choice")
    return Tool(name, function.text("description", default=""), function.object("parameters").members or _NO_ARGUMENTS)


def _tool_choice(body: Given, names: list[str]) -> str:
    if not isinstance(body.members.get("tool_choice"), dict):
        choice = body.choice("tool_choice", *_CHOICES) if body.has("tool_choice") else "auto"
    else:
        named = body.object("tool_choice")
        named.choice("type", "function")
        choice = named.object("function").name("name")
    if choice not in ("auto", "none") and not names:
        raise BadRequest("tool_choice", "needs tools to choose from")
    if choice not in (*_CHOICES, *names):
        raise BadRequest("tool_choice", "must name one of the tools")
    return choice


def _json_form(body: Given) -> JsonForm | None:
    form = body.object("response_format")
    kind = form.choice("type", "text", "json_object", "json_schema") if form.members else "text"
    if kind == "json_schema":
        schema = form.object("json_schema")
        return JsonForm(schema.object("schema").members or None, schema.name("name"))
    return JsonForm() if kind == "json_object" else None


def _stop(body: Given) -> tuple[str, ...]:
    stop = body.members.get("stop")
    texts = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(texts, list) or len(texts) > MOST_STOPS or not all(isinstance(text, str) and text for text in texts):
        raise BadRequest("stop", f"must be a text, or a list of {MOST_STOPS} at most")
    return tuple(texts)
