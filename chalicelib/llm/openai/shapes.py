"""Conversations and tools in the shapes of OpenAI's protocol, as a server or an engine in this process takes them. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.llm import Request, Said, Tool, ToolCall

Json = dict[str, Any]


def messages_of(request: Request) -> list[Json]:
    """Return the system prompt and the messages; each tool's result is a message of its own, before the user's text."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    return [*system, *(message for said in request.messages for message in _messages(said))]


def _messages(said: Said) -> Iterator[Json]:
    for result in said.tool_results:
        yield {"role": "tool", "tool_call_id": result.id, "content": result.text}
    if said.tool_calls:
        yield {"role": said.role, "content": said.text or None, "tool_calls": [*map(_call, said.tool_calls)]}
    elif said.text or not said.tool_results:
        yield {"role": said.role, "content": said.text}


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def tools_of(tools: Sequence[Tool]) -> list[Json]:
    return [{"type": "function", "function": _function(tool)} for tool in tools]


def _function(tool: Tool) -> Json:
    description = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **description, "parameters": tool.parameters}


def json_schema(name: str, schema: object, **members: bool) -> Json:
    """Return the `response_format` that asks for JSON of this schema."""
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **members}}
