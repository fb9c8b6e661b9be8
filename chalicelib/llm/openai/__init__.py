"""Any server that speaks OpenAI's protocol: Ollama, vLLM, LM Studio, llama-server, OpenAI itself.

wire      HTTP, and the server-sent events in the answer      answer     chunks → PAI's events
dialect   PAI's request → what this model takes               failures   what goes wrong → PAI's errors
shapes    conversations and tools as the protocol has them

Beware of Ollama: it cuts a conversation that is too long (4096 tokens unless told otherwise: OLLAMA_CONTEXT_LENGTH)
instead of refusing it.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from chalicelib.errors import ModelMissing, ModelTimeout, PaiError, UnknownModel
from chalicelib.llm import LLM, Event, Request
from chalicelib.llm.openai.answer import Answer
from chalicelib.llm.openai.dialect import Dialect, body, learn, refused_field
from chalicelib.llm.openai.failures import Refusal, broken_off, no_such_model
from chalicelib.llm.openai.wire import Reply, Server
from chalicelib.records import ModelInfo
from chalicelib.settings import Settings

LIST_TIMEOUT_S = 5.0
LIST_CACHE_S = 60.0


def build(settings: Settings) -> LLM:
    return OpenAILLM(settings)


class OpenAILLM:
    """Answers from one server. Requests may name every model it has, or only those in PAI_MODELS where that is set."""

    def __init__(self, settings: Settings) -> None:
        """Raise `Misconfigured` when the server's address is none."""
        self._server = Server(settings.openai_base_url, settings.openai_api_key)
        self._default = settings.model
        self._further = [name.strip() for name in settings.models.split(",") if name.strip()]
        self._context_tokens = settings.context_tokens
        self._dialects: dict[str, Dialect] = {}
        self._listed: tuple[float, list[str]] = (0.0, [])

    def models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(name, name, self._context_tokens) for name in self._names(self._list())]

    def stream(self, request: Request) -> Generator[Event]:
        model = self._asked(request.model)
        answer, until = Answer(model, request), time.monotonic() + request.timeout_s
        with self._reply(model, request) as reply:
            yield from _read(reply, answer, until)
        yield from answer.calls()
        yield answer.finish()

    def _asked(self, name: str | None) -> str:
        if name is None and self._default:
            return self._default
        if name and name in (self._default, *self._further):
            return name
        names = self._names(self._list(LIST_CACHE_S))
        if name is None:
            return names[0]
        if name not in names:
            raise UnknownModel(f"{name[:80]!r} is not one of this deployment's models: {', '.join(names)}.")
        return name

    def _names(self, listed: Sequence[str]) -> list[str]:
        """Return the models that a request may name, the default first."""
        names = dict.fromkeys([*filter(None, [self._default]), *(self._further or listed)])
        if not names:
            raise ModelMissing(
                f"The server at {self._server.url} has no model yet. `ollama pull qwen2.5` brings one to an Ollama."
            )
        return list(names)

    def _list(self, max_age_s: float = 0.0) -> list[str]:
        at, listed = self._listed
        if time.monotonic() - at > max_age_s or not listed:
            listed = self._server.models(LIST_TIMEOUT_S)
            self._listed = (time.monotonic(), listed)
        return listed

    @contextmanager
    def _reply(self, model: str, request: Request) -> Iterator[Reply]:
        """Ask, and ask again without what the model refuses; whoever leaves this block early ends the work behind it."""
        while True:
            dialect = self._dialects.get(model, Dialect())
            try:
                reply = self._server.ask(body(request, model, dialect), request.timeout_s)
                break
            except Refusal as refusal:
                learnt = learn(dialect, refusal)
                if learnt is None:
                    raise self._error(refusal, model, request) from None
                self._dialects[model] = learnt
        with reply:
            yield reply

    def _error(self, refusal: Refusal, model: str, request: Request) -> PaiError:
        if refusal.is_of_the_model:
            return no_such_model(model, self._server.url, named_by_request=request.model is not None)
        return refusal.error(model, self._server.url, refused_field(request, refusal))


def _read(reply: Reply, answer: Answer, until: float) -> Iterator[Event]:
    """Yield the texts of an answer until it is complete, or the caller waits no longer."""
    for chunk in reply.chunks(until):
        text = answer.read(chunk) if chunk else None
        if text:
            yield text
        if time.monotonic() > until and not answer.complete:
            raise ModelTimeout(f"{answer.model} said nothing in time. Try again, or set PAI_MODEL to a quicker model.")
    if not answer.complete:
        raise broken_off("the server ended it in the middle")
