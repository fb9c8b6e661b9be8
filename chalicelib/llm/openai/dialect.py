"""What a model takes of OpenAI's protocol, learnt from what it refuses. Pure."""

from dataclasses import dataclass, replace
from typing import Any

from chalicelib.llm import Request
from chalicelib.llm.openai.failures import Refusal


@dataclass(frozen=True)
class Dialect:
    """Everything, until a refusal says otherwise."""

    max_tokens: str = "max_tokens"
    """Name of the longest answer: OpenAI's reasoning models call it `max_completion_tokens`."""
    temperature: bool = True
    stream_options: bool = True


def body(request: Request, model: str, dialect: Dialect) -> dict[str, Any]:
    """Return the request as a body for `/chat/completions`."""
    system = [{"role": "system", "content": request.system}] if request.system else []
    members: dict[str, Any] = {
        "model": model,
        "messages": [*system, *({"role": said.role, "content": said.text} for said in request.messages)],
        "stream": True,
        dialect.max_tokens: request.max_tokens,
    }
    if dialect.stream_options:
        members["stream_options"] = {"include_usage": True}
    if dialect.temperature and request.temperature is not None:
        members["temperature"] = request.temperature
    return members


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
    return None
