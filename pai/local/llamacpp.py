"""A language model in this process, by llama.cpp. Nothing leaves the machine.

The model is loaded on the first request, or by `load`. What two turns of a conversation have in common is read once: the
engine keeps it, and `Usage.cache_read_tokens` says how much that was.

A model that may call a tool and calls one that there is not, or the same again that it has the result of, is asked once more
without tools: small models do that, and would never come to an end.
"""

import queue
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chalicelib.errors import (
    BadRequest,
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
from chalicelib.llm import LLM, Event, Finish, Request, StopReason, Text, ToolCall
from chalicelib.llm.calls import Calls, is_json_object
from chalicelib.llm.openai.answer import add_delta
from chalicelib.llm.openai.shapes import messages_of, tools_of
from chalicelib.records import ModelInfo, Usage
from chalicelib.settings import Settings
from pai.local.catalogue import Model, find, installed, models_folder
from pai.local.engine import SLOTS, Answer, Busy, Chunk, Engine, LoadFailed, close_engines, engine_for, knows_tools
from pai.local.tools import calls_in, forced, is_new, may_be_calls, response_format, usable

NOTHING = Usage()
SIGN_S = 0.5
"""How often a caller hears that the engine is busy or still reading, and can leave: a long prompt takes a minute."""
STOP_REASONS: Mapping[str, StopReason] = {"stop": "end", "length": "max_tokens"}


def build(settings: Settings) -> LLM:
    return LlamaCpp(settings)


class Reading:
    """One answer of a model, taken in chunk by chunk; where it may be calls of tools, its text is held back until it isn't.

    `usage` is what was spent on another answer before this one.
    """

    def __init__(self, request: Request, model: Model, usage: Usage = NOTHING) -> None:
        self.request = request
        self.model = model
        self.usage = usage
        self.calls: list[ToolCall] = []
        self.is_in_vain = False
        self._counted: Mapping[str, Any] | None = None
        self._finish_reason = ""
        self._native = Calls()
        self._holds = bool(usable(request))
        self._held = ""

    def take(self, chunk: Chunk) -> Iterator[Text]:
        if "error" in chunk:
            raise _refused(chunk["error"], self.model)
        self._counted = chunk.get("usage") or self._counted
        for choice in chunk["choices"]:
            self._finish_reason = choice["finish_reason"] or self._finish_reason
            for call in choice["delta"].get("tool_calls") or ():
                add_delta(self._native, call)
            yield from self._text(choice["delta"].get("content") or "")

    def _text(self, text: str) -> Iterator[Text]:
        if self._holds:
            self._held += text
            self._holds = may_be_calls(self._held)
            text, self._held = ("", self._held) if self._holds else (self._held, "")
        if text:
            yield Text(text)

    def end(self) -> Iterator[Text]:
        """Yield what was held back and is no call. If it is one that nobody can make, the answer is in vain, and nothing."""
        if self._counted is None:
            raise ModelInterrupted("The engine stopped in the middle of the answer. Ask again.")
        self.usage = _sum(self.usage, _usage(self._counted))
        calls = [*self._parsed(), *calls_in(self._held)]
        must = bool(forced(self.request))
        self.calls = [call for call in calls if must or is_new(call, self.request)]
        self.is_in_vain = bool(calls) and not self.calls
        # Half a call that must be made is of no use to anybody; an answer that may be in words can begin with a brace.
        if self._held and not calls and not must:
            yield Text(self._held)

    def _parsed(self) -> list[ToolCall]:
        """Return the calls that the engine itself found."""
        try:
            return self._native.whole(cut=self._finish_reason == "length")
        except ValueError as error:
            raise ModelInterrupted("The model called a tool in a form that can't be read. Ask again.") from error

    def finish(self) -> Finish:
        reason = "tool_use" if self.calls else STOP_REASONS.get(self._finish_reason, "end")
        return Finish(self.usage, reason, self.model.name)


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
        _check(request, model, self._path(model))
        engine = self._engine(model)
        reading = Reading(request, model)
        yield from self._read(engine, reading, until)
        if reading.is_in_vain:
            reading = Reading(replace(request, tools=()), model, reading.usage)
            yield from self._read(engine, reading, until)
        yield from reading.calls
        yield reading.finish()

    def _read(self, engine: Engine, reading: Reading, until: float) -> Generator[Event]:
        """Yield the texts of one answer, `until` the caller waits no longer."""
        body = self._body(reading.request, reading.model)
        while (answer := _begun(engine, body, until)) is None:
            yield Text("")
        try:
            while (chunk := _next(answer, until, reading.request)) is not None:
                yield from reading.take(chunk) if chunk else [Text("")]
            yield from reading.end()
        finally:
            answer.stop()

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
        body: dict[str, Any] = {
            "messages": messages_of(request),
            "max_tokens": min(request.max_tokens, self._context_tokens(model)),
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if tools := usable(request):
            body["tools"] = tools_of(tools)
        return body | response_format(request)

    def _info(self, model: Model) -> ModelInfo:
        details = {"licence": model.licence} if model.licence else {}
        return ModelInfo(model.name, model.title, self._context_tokens(model), model.aliases, details)


def _configured(name: str) -> Model:
    try:
        return find(name)
    except UnknownModel as error:
        raise Misconfigured(f"PAI_MODEL or PAI_MODELS: {error.message}") from error


def _check(request: Request, model: Model, path: Path) -> None:
    """Refuse what the engine would leave out without a word, or not read. Raises BadRequest."""
    calls = [call for said in request.messages for call in said.tool_calls]
    if "tools" in request.wants and not knows_tools(path):
        raise BadRequest("tools", f"{model.name} was not made for tools. Leave them out, or name another model.")
    if request.tools and request.tool_choice not in ("auto", "none") and not forced(request):
        raise BadRequest("tool_choice", "there is no tool of this name among `tools`.")
    if not all(is_json_object(call.arguments or "{}") for call in calls):
        raise BadRequest("messages", "the arguments of a tool call are no JSON object. Send them as the model gave them.")


def _begun(engine: Engine, body: dict[str, Any], until: float) -> Answer | None:
    """Begin an answer; None when all places are taken for the moment."""
    try:
        return engine.answer(body, min(until - time.monotonic(), SIGN_S))
    except Busy:
        if time.monotonic() < until:
            return None
        raise ModelThrottled(
            f"The model on this machine answers {SLOTS} requests at a time, and none of them ended in time. Try again soon."
        ) from None


def _next(answer: Answer, until: float, request: Request) -> Chunk | None:
    """Return the next chunk, None after the last; an empty one while the engine is still reading."""
    try:
        return answer.next(min(until - time.monotonic(), SIGN_S))
    except queue.Empty:
        if time.monotonic() < until:
            return {}
        raise ModelTimeout(
            "The model on this machine took too long. A shorter conversation or a smaller model (PAI_MODEL) is quicker."
        ) from None
    except (RuntimeError, ValueError, TypeError) as error:
        # The engine's own words may quote the messages, so they are not passed on.
        if "JSON schema" in str(error):
            field = "response_format" if request.json_form and not forced(request) else "tools"
            raise BadRequest(field, "the engine can't keep an answer to this JSON schema. Make it a simpler one.") from None
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


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(
        first.input_tokens + second.input_tokens,
        first.output_tokens + second.output_tokens,
        cache_read_tokens=first.cache_read_tokens + second.cache_read_tokens,
    )
