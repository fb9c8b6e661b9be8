"""PAI's request → the members of ConverseStream. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.errors import BadRequest, Misconfigured, ModelRejected
from chalicelib.llm import Request, Said
from chalicelib.llm.bedrock.tools import blocks, tool_members, without_tools
from chalicelib.llm.bedrock.traits import Traits

Members = dict[str, Any]

_CACHE_POINT = {"cachePoint": {"type": "default"}}


def converse_request(model_id: str, request: Request, traits: Traits, guardrail: Mapping[str, str] | None) -> Members:
    """Return what to send, in the form that this model takes. Raises BadRequest for what this model has no form of."""
    tools = tool_members(model_id, request, traits)
    said = conversation(request.messages if "toolConfig" in tools else [*map(without_tools, request.messages)])
    if request.stop and not traits.stop:
        raise BadRequest("stop", f"{model_id} has no stop sequences. Leave them out, or name another model.")
    if request.system.strip() and not traits.system:
        said[0] = replace(said[0], text=f"{request.system}\n\n{said[0].text}")
    members: Members = {
        "modelId": model_id,
        "messages": _messages(said, traits.cache_points),
        "inferenceConfig": _inference_config(request, traits),
    }
    if request.system.strip() and traits.system:
        members["system"] = [{"text": request.system}, *([_CACHE_POINT] if traits.cache_points else [])]
    if guardrail:
        members["guardrailConfig"] = dict(guardrail)
    return members | tools


def conversation(messages: Sequence[Said]) -> list[Said]:
    """Return the messages as Converse wants them: none blank, from the user's first one on, never two of a role in a row."""
    kept: list[Said] = []
    for message in messages:
        is_blank = not (message.text.strip() or message.tool_calls or message.tool_results)
        if is_blank or (not kept and message.role == "assistant"):
            continue
        if kept and kept[-1].role == message.role:
            kept[-1] = _merged(kept[-1], message)
        else:
            kept.append(message)
    if not kept:
        raise ModelRejected("There is no question to ask: every message is blank. Write one and send it again.")
    return kept


def _merged(first: Said, second: Said) -> Said:
    return replace(
        first,
        text="\n\n".join(said.text for said in (first, second) if said.text.strip()),
        tool_calls=first.tool_calls + second.tool_calls,
        tool_results=first.tool_results + second.tool_results,
    )


def guardrail_config(setting: str) -> Mapping[str, str] | None:
    """Return ConverseStream's guardrailConfig for `id:version` (the id may be an ARN), None for an empty setting."""
    if not setting:
        return None
    identifier, _, version = setting.rpartition(":")
    if not identifier or not (version == "DRAFT" or version.isdecimal()):
        raise Misconfigured(
            f"PAI_GUARDRAIL is {setting!r}; it must be id:version, as in gr1a2b3c4d5e:1 or gr1a2b3c4d5e:DRAFT."
        )
    # sync: text is checked before it is sent, so that nothing has to be taken back.
    return {"guardrailIdentifier": identifier, "guardrailVersion": version, "streamProcessingMode": "sync"}


def _messages(said: Sequence[Said], cache_points: bool) -> list[Members]:
    """Return the messages, with a cache point after the last answer and after the one before it.

    All but the last message stays as it is in the next turn. That turn reads the cache up to the earlier point, which was
    this turn's later one, and writes on from there. With the system prompt's point that makes 3; Bedrock allows 4.
    """
    points = {len(said) - 2, len(said) - 4} if cache_points else set()
    return [
        {"role": message.role, "content": [*blocks(message), *([_CACHE_POINT] if index in points else [])]}
        for index, message in enumerate(said)
    ]


def _inference_config(request: Request, traits: Traits) -> Members:
    config: Members = {"maxTokens": min(request.max_tokens, traits.max_tokens or request.max_tokens)}
    if request.temperature is not None and traits.temperature:
        config["temperature"] = request.temperature
    if request.top_p is not None and traits.top_p and (traits.top_p_and_temperature or "temperature" not in config):
        config["topP"] = request.top_p
    if request.stop:
        config["stopSequences"] = list(request.stop)
    return config
