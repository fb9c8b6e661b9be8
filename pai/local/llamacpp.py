"""A language model in this process, by llama.cpp. Nothing leaves the machine.

The model is loaded on the first request, or by `load`. What two turns of a conversation have in common is read once: the
engine keeps it, and `Usage.cache_read_tokens` says how much that was.
"""

import queue
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chalicelib.errors import (
    ContextTooLong,
    Misconfigured,
    ModelInterrupted,
    ModelMissing,
    ModelRejected,
    ModelThrottled,
    ModelTimeout,
    PaiError,
    UnknownModel,
)
from chalicelib.llm import LLM, Event, Finish, Request, StopReason, Text
from chalicelib.records import ModelInfo, Usage
from chalicelib.settings import Settings
from pai.local.catalogue import Model, find, installed, models_folder
from pai.local.engine import SLOTS, Answer, Busy, Chunk, Engine, LoadFailed, close_engines, engine_for

STOP_REASONS: Mapping[str, StopReason] = {"stop": "end", "length": "max_tokens", "tool_calls": "tool_use"}


def build(settings: Settings) -> LLM:
    return LlamaCpp(settings)


class LlamaCpp:
    """Answers from the catalogue's models, or GGUF files, that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = models_folder(settings)
        further = filter(None, (name.strip() for name in settings.models.split(",")))
        self._models = [_configured(name) for name in (settings.model, *further)]

    def load(self) -> None:
        """Load the default model now, so that the first request need not wait for it."""
        self._engine(self._models[0])

    def close(self) -> None:
        """Stop every answer under way and give the memory back."""
        close_engines()

    def models(self) -> Sequence[ModelInfo]:
        self._path(self._models[0])
        return [self._info(model) for model in self._models]

    def stream(self, request: Request) -> Generator[Event]:
        until = time.monotonic() + request.timeout_s
        model = self._asked(request.model)
        engine = self._engine(model)
        with _answer(engine, self._body(request, model), until) as answer:
            yield from _events(answer, model, until)

    def _asked(self, name: str | None) -> Model:
        for model in self._models:
            if name in (None, model.name, *model.aliases):
                return model
        known = ", ".join(model.name for model in self._models)
        raise UnknownModel(f"{name!r} is not a model of this deployment. There is {known}; PAI_MODELS adds others.")

    def _engine(self, model: Model) -> Engine:
        path = self._path(model)
        try:
            return engine_for(path, self._context_tokens(model), self._settings.threads)
        except LoadFailed as error:
            raise ModelRejected(
                f"The engine can't load {path}: it is damaged, no GGUF file, of a kind this engine does not know, or too big "
                "for this machine's memory. Choose another model with PAI_MODEL."
            ) from error

    def _path(self, model: Model) -> Path:
        path = installed(model, self._folder)
        if path:
            return path
        if not model.sha256:
            raise ModelMissing(f"There is no model file at {model.file}: see PAI_MODEL.")
        raise ModelMissing(
            f"{model.name} is not on this machine, or not whole. `pai models fetch {model.name}` fetches it "
            f"({model.size_bytes / 1e6:,.0f} MB), and so does `make run MODEL={model.name}`."
        )

    def _context_tokens(self, model: Model) -> int:
        return min(self._settings.context_tokens, model.context_tokens or self._settings.context_tokens)

    def _body(self, request: Request, model: Model) -> dict[str, Any]:
        system = [{"role": "system", "content": request.system}] if request.system else []
        body: dict[str, Any] = {
            "messages": [*system, *({"role": said.role, "content": said.text} for said in request.messages)],
            "max_tokens": min(request.max_tokens, self._context_tokens(model)),
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        return body

    def _info(self, model: Model) -> ModelInfo:
        details = {"licence": model.licence} if model.licence else {}
        return ModelInfo(model.name, model.title, self._context_tokens(model), model.aliases, details)


def _configured(name: str) -> Model:
    try:
        return find(name)
    except UnknownModel as error:
        raise Misconfigured(f"PAI_MODEL or PAI_MODELS: {error.message}") from error


@contextmanager
def _answer(engine: Engine, body: dict[str, Any], until: float) -> Iterator[Answer]:
    """Begin an answer, and have the engine stop working on it when this block is left, however that is."""
    try:
        answer = engine.answer(body, until - time.monotonic())
    except Busy:
        raise ModelThrottled(
            f"The model on this machine answers {SLOTS} requests at a time, and none of them ended in time. Try again soon."
        ) from None
    try:
        yield answer
    finally:
        answer.stop()


def _events(answer: Answer, model: Model, until: float) -> Generator[Event]:
    """Yield an answer's events, `until` the caller waits no longer."""
    finish_reason, usage = "", None
    while (chunk := _next(answer, until)) is not None:
        if "error" in chunk:
            raise _refused(chunk["error"], model)
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish_reason = choice["finish_reason"] or finish_reason
            if text := choice["delta"].get("content"):
                yield Text(text)
    if usage is None:
        raise ModelInterrupted("The engine stopped in the middle of the answer. Ask again.")
    yield Finish(_usage(usage), STOP_REASONS.get(finish_reason, "end"), model.name)


def _next(answer: Answer, until: float) -> Chunk | None:
    try:
        return answer.next(until - time.monotonic())
    except queue.Empty:
        raise ModelTimeout(
            "The model on this machine took too long. A shorter conversation or a smaller model (PAI_MODEL) is quicker."
        ) from None
    except (RuntimeError, ValueError) as error:
        # The engine's own words may quote the messages, so they are not passed on.
        raise ModelRejected("The model's chat template does not take this conversation. Begin a new one.") from error


def _refused(error: Mapping[str, Any], model: Model) -> PaiError:
    """Return the error that the engine's error means. Its sentence is ours, because the engine's may quote the messages."""
    if error["type"] == "exceed_context_size_error":
        return ContextTooLong(
            f"the conversation is {error['n_prompt_tokens']} tokens long and {model.name} reads at most {error['n_ctx']}. "
            "Begin a new conversation, or raise PAI_CONTEXT_TOKENS."
        )
    if error["type"] == "invalid_request_error":
        return ModelRejected(f"The engine does not take a request of this form for {model.name}.")
    return ModelInterrupted("The engine failed in the middle of the answer. Ask again.")


def _usage(usage: Mapping[str, Any]) -> Usage:
    """Count what was read anew as input, and what the engine still knew as cache reads."""
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Usage(usage["prompt_tokens"] - cached, usage["completion_tokens"], cache_read_tokens=cached)
