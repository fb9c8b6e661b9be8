"""What Bedrock says to a request it does not take: botocore's own service model, and the rules that stand beside it."""

import base64
import binascii
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
    return next(_constraints(members, shape, ""), None) or next(_conversation_rules(members), None)


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


def _cache_points(members: Mapping[str, Any]) -> int:
    blocks = [*members.get("system", []), *(block for message in members["messages"] for block in message["content"])]
    return sum("cachePoint" in block for block in blocks)
