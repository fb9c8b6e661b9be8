"""OpenAI's messages → what a model is shown. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from chalicelib.errors import BadRequest
from chalicelib.llm import Said, ToolCall, ToolResult
from chalicelib.v1.given import Given

MOST_MESSAGES = 2048
MOST_PARTS = 2048
MOST_CALLS = 128
OPENING = "(You begin.)"
"""Stands before an answer that nothing came before, such as a greeting: models take conversations that the user begins."""
_SYSTEM = ("system", "developer")


def said(body: Given) -> tuple[str, tuple[Said, ...]]:
    """Return the system prompt and what was said, alternating.

    The system prompt is all such messages together, wherever they stand; where there is nothing else, it is the question.
    """
    messages = [
        (message, message.choice("role", *_SYSTEM, "user", "assistant", "tool"))
        for message in body.objects("messages", MOST_MESSAGES)
    ]
    system = "\n\n".join(text for message, role in messages if role in _SYSTEM and (text := _content(message)).strip())
    turns = [(message.at, _turn(message, role)) for message, role in messages if role not in _SYSTEM]
    _check_results(turns)
    shown = alternating(turn for _, turn in turns)
    if not shown and system:
        return "", (Said("user", system),)
    if not shown:
        raise BadRequest("messages", "must hold something to answer")
    if shown[-1].role == "assistant":
        raise BadRequest("messages", "must end with what the user or a tool says, not with an answer")
    return system, shown if shown[0].role == "user" else (Said("user", OPENING), *shown)


def _turn(message: Given, role: str) -> Said:
    if role == "user":
        return Said("user", _content(message))
    if role == "tool":
        return Said("user", "", tool_results=(ToolResult(message.text("tool_call_id"), _content(message)),))
    if message.has("function_call"):
        raise BadRequest(message.place("function_call"), "is not taken here: send tool_calls")
    calls = tuple(_call(call) for call in message.objects("tool_calls", MOST_CALLS))
    # What a model refused is said in a member of its own.
    text = _content(message) if message.has("content") else message.text("refusal", default="")
    return Said("assistant", text, tool_calls=calls)


def _call(call: Given) -> ToolCall:
    call.choice("type", "function")
    function = call.object("function")
    return ToolCall(call.text("id"), function.name("name"), function.text("arguments", default=""))


def _content(message: Given) -> str:
    """Return a message's text: it is a string, or comes in parts, each of which begins a line."""
    if not isinstance(message.members.get("content"), list):
        return message.text("content")
    return "\n".join(_part(part) for part in message.objects("content", MOST_PARTS))


def _part(part: Given) -> str:
    kind = part.text("type")
    if kind == "refusal":
        return part.text("refusal")
    if kind != "text":
        called = f"type {kind}" if kind in ("image_url", "input_audio", "file") else "this type"
        raise BadRequest(part.at, f"parts of {called} are not taken: the models here read text")
    return part.text("text")


def _check_results(turns: Iterable[tuple[str, Said]]) -> None:
    """See that each tool call is followed by its result, and each result comes after its call: models refuse all else."""
    waiting: set[str] = set()
    for at, turn in turns:
        for result in turn.tool_results:
            if result.id not in waiting:
                raise BadRequest(f"{at}.tool_call_id", "is not the id of a call in the assistant's message before it")
            waiting.discard(result.id)
        if waiting and not turn.tool_results:
            raise BadRequest(at, "must be a tool's message: calls of the assistant's message before it have no results yet")
        waiting |= {call.id for call in turn.tool_calls}
    if waiting:
        raise BadRequest("messages", "must have a tool's message for each of the assistant's tool_calls")


def alternating(turns: Iterable[Said]) -> tuple[Said, ...]:
    """Merge neighbours of one role, leave blank ones out: what every model's chat template accepts."""
    merged: list[Said] = []
    for turn in turns:
        if not (turn.text.strip() or turn.tool_calls or turn.tool_results):
            continue
        if merged and merged[-1].role == turn.role:
            merged[-1] = _both(merged[-1], turn)
        else:
            merged.append(turn)
    return tuple(merged)


def _both(first: Said, second: Said) -> Said:
    texts: Sequence[str] = [turn.text for turn in (first, second) if turn.text.strip()]
    return replace(
        first,
        text="\n\n".join(texts),
        tool_calls=first.tool_calls + second.tool_calls,
        tool_results=first.tool_results + second.tool_results,
    )
