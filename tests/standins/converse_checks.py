"""What Bedrock says to a request it does not take: botocore's own service model, and the rules that stand beside it."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from botocore.model import ListShape, Shape, StructureShape
from botocore.validate import ParamValidator

MAX_CACHE_POINTS = 4


def problem(members: Mapping[str, Any], shape: Shape | None) -> str | None:
    """Return the sentence of the ValidationException that these members of Converse or ConverseStream deserve."""
    assert isinstance(shape, StructureShape)
    report = ParamValidator().validate(_with_bytes(members, shape), shape)
    if report.has_errors():
        return f"Malformed input request: {report.generate_report()}, please reformat your input and try again."
    rules = (_constraints(members, shape, ""), _conversation_rules(members), _tool_rules(members), _form_rules(members))
    return next((broken for rule in rules for broken in rule), None)


def _with_bytes(value: Any, shape: Shape) -> Any:
    """Return the value with its blobs decoded, as a client gives them; what is not base64 stays, and fails as a blob."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        known = shape.members
        return {name: _with_bytes(member, known[name]) if name in known else member for name, member in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_with_bytes(member, shape.member) for member in value]
    if shape.type_name == "blob":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError):
            return object()
    return value


def _constraints(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """Yield what botocore does not check before it sends: enums, patterns and upper bounds."""
    if isinstance(shape, StructureShape) and not shape.is_document_type:
        for name, member in value.items():
            yield from _constraints(member, shape.members[name], f"{path}.{name}".lstrip("."))
    elif isinstance(shape, ListShape):
        for position, member in enumerate(value, 1):
            yield from _constraints(member, shape.member, f"{path}.{position}.member")
    broken = _broken_constraint(value, shape)
    if broken:
        yield f"1 validation error detected: Value at '{path}' failed to satisfy constraint: Member must {broken}"


def _broken_constraint(value: Any, shape: Shape) -> str | None:
    limits = shape.metadata
    size = value if shape.type_name in ("integer", "long", "float", "double") else _length(value)
    if "enum" in limits and value not in limits["enum"]:
        return f"satisfy enum value set: {limits['enum']}"
    if shape.type_name == "string" and "pattern" in limits and not re.fullmatch(limits["pattern"], value):
        return f"satisfy regular expression pattern: {limits['pattern']}"
    if size is not None and size > limits.get("max", size):
        return f"have value or length less than or equal to {limits['max']}"
    return None


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, (str, Sequence)) else None


def _conversation_rules(members: Mapping[str, Any]) -> Iterator[str]:
    messages = members.get("messages", [])
    roles = [message["role"] for message in messages]
    if roles[:1] != ["user"]:
        yield "A conversation must start with a user message. Try again with a conversation that starts with a user message."
    if any(first == second for first, second in pairwise(roles)):
        yield (
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between "
            "user and assistant roles and try again."
        )
    yield from _content_rules(messages)
    if _cache_points(members) > MAX_CACHE_POINTS:
        yield f"The model returned the following errors: at most {MAX_CACHE_POINTS} blocks with cache_control may be given."


def _content_rules(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for i, message in enumerate(messages):
        if not message["content"]:
            yield f"The content field in the Message object at messages.{i} is empty. Add a ContentBlock object and try again."
        if "cachePoint" in next(iter(message["content"]), {}):
            yield f"The cachePoint at messages.{i}.content.0 has nothing in front of it to cache."
        for j, block in enumerate(message["content"]):
            if not block.get("text", "text").strip():
                yield f"The text field in the ContentBlock object at messages.{i}.content.{j} is blank. Add text, try again."


def _tool_rules(members: Mapping[str, Any]) -> Iterator[str]:
    messages = members.get("messages", [])
    config = members.get("toolConfig")
    specs = [tool["toolSpec"] for tool in config["tools"]] if config else []
    if config is None and any(_of(message, kind) for message in messages for kind in ("toolUse", "toolResult")):
        yield "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    for number, spec in enumerate(specs):
        if spec["inputSchema"]["json"].get("type") != "object":
            where = f"toolConfig.tools.{number}.toolSpec.inputSchema.json.type"
            yield f"The value at {where} must be one of the following: object."
    names = [spec["name"] for spec in specs]
    if len(set(names)) < len(names):
        yield "The model returned the following errors: tools: Tool names must be unique."
    wanted = (config or {}).get("toolChoice", {}).get("tool", {}).get("name")
    if wanted and wanted not in names:
        yield f"The model returned the following errors: tool_choice: Tool '{wanted}' not found in provided tools"
    yield from _exchange_rules(messages)


def _exchange_rules(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what is wrong between the calls in an answer and the results in the message after it."""
    before: list[str] = []
    for i, message in enumerate(messages):
        uses, results = _of(message, "toolUse"), _of(message, "toolResult")
        if (uses and message["role"] == "user") or (results and message["role"] == "assistant"):
            yield f"messages.{i}: `tool_use` blocks can only be in `assistant` messages, `tool_result` blocks in `user` ones."
        if not all(isinstance(use["input"], dict) for use in uses):
            yield f"The format of the value at messages.{i}.content.toolUse.input is invalid. Provide a json object."
        if len(results) > len(before):
            where = f"messages.{i}.content"
            yield f"The number of toolResult blocks at {where} exceeds the number of toolUse blocks of previous turn."
        if missing := set(before) - {result["toolUseId"] for result in results}:
            yield f"Expected toolResult blocks at messages.{i}.content for the following Ids: {', '.join(sorted(missing))}"
        if not all("toolResult" in block for block in message["content"][: len(results)]):
            yield f"messages.{i}: `tool_result` blocks must stand at the beginning of this message."
        if not all(block.get("text", "text").strip() for result in results for block in result["content"]):
            yield f"The text field in the ContentBlock object at messages.{i}.content.toolResult is blank. Add text."
        before = [use["toolUseId"] for use in uses]


def _of(message: Mapping[str, Any], kind: str) -> list[Any]:
    return [block[kind] for block in message["content"] if kind in block]


def _form_rules(members: Mapping[str, Any]) -> Iterator[str]:
    if not all(stop.strip() for stop in members.get("inferenceConfig", {}).get("stopSequences", ())):
        yield "The model returned the following errors: stop_sequences: each stop sequence must contain non-whitespace"
    form = members.get("outputConfig", {}).get("textFormat")
    if form and json.loads(form["structure"]["jsonSchema"]["schema"]).get("additionalProperties") is not False:
        yield (
            "The model returned the following errors: output_config.format.schema: For 'object' type, "
            "'additionalProperties' must be explicitly set to false"
        )


def _cache_points(members: Mapping[str, Any]) -> int:
    tools = members.get("toolConfig", {}).get("tools", [])
    blocks = [*tools, *members.get("system", []), *(block for message in members["messages"] for block in message["content"])]
    return sum("cachePoint" in block for block in blocks)
