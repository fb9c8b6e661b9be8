"""PAI's tools and JSON answers → ConverseStream's. Pure.

Converse has no JSON mode for all models. An answer in JSON is a call of a tool whose arguments are the answer: Claude, Nova
and Mistral can be made to call one. For a model that can't be, there is `outputConfig`, which some take. It is not the first
choice because Bedrock says of it that a schema's first use can take minutes, and because the newest Claude models refuse it.
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.errors import BadRequest
from chalicelib.llm import JsonForm, Request, Said, Tool, ToolCall, ToolResult
from chalicelib.llm.bedrock.traits import Traits

Members = dict[str, Any]

JSON_TOOL = "pai_answer_in_json"
_JSON_TOOL_SAYS = "The answer itself, as a JSON object with all the members that were asked for. Answer by calling this."
_ANY_OBJECT = {"type": "object", "properties": {}, "additionalProperties": True}
_NOTHING = "(nothing)"
"""What a tool gave that gave no text: Converse takes no blank one."""


def tool_members(model_id: str, request: Request, traits: Traits) -> Members:
    """Return toolConfig or outputConfig for what a request wants, nothing for plain text. Raises BadRequest."""
    tools = _usable(request)
    if tools and not traits.tools:
        raise BadRequest("tools", f"{model_id} can't call tools. Leave them out, or name another model.")
    if request.json_form and not _is_forced(request):
        return _json_members(model_id, request.json_form, tools, traits)
    if not tools:
        return {}
    if not _is_forced(request):
        return {"toolConfig": {"tools": _specs(tools)}}
    config = _forced(tools, request.tool_choice, traits)
    if config is None:
        raise BadRequest("tool_choice", f'{model_id} can\'t be made to call a tool. Set it to "auto", or name another model.')
    return {"toolConfig": config}


def speaks_json_by_tool(members: Mapping[str, Any]) -> bool:
    """Whether this request is one for an answer in the arguments of JSON_TOOL."""
    tools = members.get("toolConfig", {}).get("tools", ())
    return any(tool["toolSpec"]["name"] == JSON_TOOL for tool in tools)


def without_tools(said: Said) -> Said:
    """Return a message with its calls and results in words: Converse takes them as such only beside tools to call."""
    calls = (f"(I called the tool {call.name} with {call.arguments})" for call in said.tool_calls)
    results = (f"(The tool gave: {result.text})" for result in said.tool_results)
    text = "\n\n".join(filter(None, (*results, said.text, *calls)))
    return replace(said, text=text, tool_calls=(), tool_results=())


def blocks(said: Said) -> list[Members]:
    """Return a message's content: what tools gave, then its text, then calls. Raises BadRequest."""
    return [*map(_result_block, said.tool_results), *_text_blocks(said), *map(_call_block, said.tool_calls)]


def _usable(request: Request) -> Sequence[Tool]:
    """Return the tools that the model may call. Converse has no choice "none" but giving none."""
    return () if request.tool_choice == "none" else request.tools


def _is_forced(request: Request) -> bool:
    return bool(request.tools) and request.tool_choice not in ("auto", "none")


def _json_members(model_id: str, form: JsonForm, tools: Sequence[Tool], traits: Traits) -> Members:
    answer = Tool(JSON_TOOL, _JSON_TOOL_SAYS, {"type": "object", **(form.schema or _ANY_OBJECT)})
    config = _forced([*tools, answer], "required" if tools else JSON_TOOL, traits) if traits.tools else None
    if config:
        return {"toolConfig": config}
    if form.schema is None or not traits.text_format:
        problem = f"{model_id} has no way to answer in JSON only. Ask for it in words, or name another model."
        raise BadRequest("response_format", problem)
    schema = {"jsonSchema": {"name": form.name, "schema": json.dumps(form.schema)}}
    output = {"outputConfig": {"textFormat": {"type": "json_schema", "structure": schema}}}
    return output | ({"toolConfig": {"tools": _specs(tools)}} if tools else {})


def _forced(tools: Sequence[Tool], choice: str, traits: Traits) -> Members | None:
    """Return a toolConfig with which one of these tools is called, the chosen one or any; None where the model has no such."""
    if choice != "required" and "tool" in traits.choices:
        return {"tools": _specs(tools), "toolChoice": {"tool": {"name": choice}}}
    if "any" not in traits.choices:
        return None
    # Any of one is that one.
    wanted = tools if choice == "required" else [tool for tool in tools if tool.name == choice]
    return {"tools": _specs(wanted), "toolChoice": {"any": {}}}


def _specs(tools: Sequence[Tool]) -> list[Members]:
    return [{"toolSpec": _spec(tool)} for tool in tools]


def _spec(tool: Tool) -> Members:
    description = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **description, "inputSchema": {"json": dict(tool.parameters)}}


def _text_blocks(said: Said) -> Iterator[Members]:
    if said.text.strip():
        yield {"text": said.text}


def _call_block(call: ToolCall) -> Members:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRequest("messages", "the arguments of a tool call are no JSON object. Send them as the model gave them.")
    return {"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments}}


def _result_block(result: ToolResult) -> Members:
    text = result.text if result.text.strip() else _NOTHING
    return {"toolResult": {"toolUseId": result.id, "content": [{"text": text}]}}
