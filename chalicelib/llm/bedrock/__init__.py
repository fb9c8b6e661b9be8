"""Amazon Bedrock, by ConverseStream.

traits      what each model takes            request    PAI's request → what Bedrock wants
families    which model a family means       events     what Bedrock answers → PAI's events
directory   asks Bedrock what it offers      failures   what goes wrong → PAI's errors, by meanings
tools       tools and JSON answers, in requests
"""

import math
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing
from typing import Any

from botocore.compat import set_socket_timeout

from chalicelib.errors import BadRequest, Misconfigured, UnknownModel
from chalicelib.llm import LLM, Event, Request
from chalicelib.llm.bedrock.directory import Directory
from chalicelib.llm.bedrock.events import Answer
from chalicelib.llm.bedrock.failures import AWS_FAILURES, Failed, failed, failed_midway, interrupted, refused_field, silent
from chalicelib.llm.bedrock.families import Choice
from chalicelib.llm.bedrock.request import converse_request, guardrail_config
from chalicelib.llm.bedrock.tools import speaks_json_by_tool
from chalicelib.llm.bedrock.traits import Traits, learn, traits_of
from chalicelib.platform.aws.clients import client
from chalicelib.records import ModelInfo
from chalicelib.settings import Settings

RETRY_PAUSE_S = 0.5
LEAST_READ_S = 0.05
REARM_S = 0.1
LEAST_PATIENCE_S = 1.0
"""What an attempt is given to answer, however little the ones before it left of the caller's patience."""


def build(settings: Settings) -> LLM:
    return BedrockLLM(settings, runtime_client(), control_client)


def control_client() -> Any:
    """Return a client for looking families up: two tries, because somebody waits for an answer meanwhile."""
    return client("bedrock", retries={"mode": "standard", "total_max_attempts": 2})


def runtime_client() -> Any:
    """Return a client that asks once: what is worth a second time is decided here, and a timeout never is.

    botocore would ask again after a read timeout, and so wait twice as long as the caller does. How long that is goes with
    each request; the client's own timeout is only for requests without one.
    """
    return client("bedrock-runtime", read_timeout=60, retries={"mode": "standard", "total_max_attempts": 1})


class BedrockLLM:
    """Answers from the models that the settings name."""

    def __init__(
        self, settings: Settings, runtime: Any, control: Callable[[], Any], retry_pause_s: float = RETRY_PAUSE_S
    ) -> None:
        """`runtime` is a client of bedrock-runtime, `control` makes one of bedrock."""
        if not settings.model.strip():
            raise Misconfigured(
                "PAI_MODEL is empty. Set it to a family, such as claude-sonnet or nova-lite, or to a model's id."
            )
        self._names = _names(f"{settings.model},{settings.models}")
        self._fallbacks = _names(settings.fallback_models)
        self._context_tokens = settings.context_tokens
        self._guardrail = guardrail_config(settings.guardrail)
        self._runtime = runtime
        self._directory = Directory(control)
        self._retry_pause_s = retry_pause_s
        self._learnt: dict[str, Traits] = {}
        event = "before-parameter-build.bedrock-runtime.ConverseStream"
        runtime.meta.events.register(event, _wait_as_asked, unique_id=_wait_as_asked.__name__)

    def models(self) -> Sequence[ModelInfo]:
        choices = {name: self._directory.resolve(name) for name in self._names}
        return [self._info(id, choices) for id in dict.fromkeys(choice.id for choice in choices.values())]

    def stream(self, request: Request) -> Generator[Event]:
        try:
            yield from self._stream(request)
        except Failed as failure:
            raise failure.error from None  # AWS's own words may repeat the question: no traceback may show them

    def _stream(self, request: Request) -> Iterator[Event]:
        """Ask until somebody begins to answer: from then on it is that model's answer, however it ends."""
        plan = _Plan([self._asked(request.model), *self._fallbacks], request.timeout_s, self._retry_pause_s)
        while True:
            model = self._directory.resolve(plan.name).id
            with closing(self._attempt(model, request, plan.patience_s())) as events:
                try:
                    first = next(events)
                except Failed as failure:
                    if not self._learn(model, failure.refusal):
                        if field := refused_field(request, failure.refusal):
                            raise BadRequest(field, failure.error.message) from None
                        plan.go_on(failure)
                    continue
                yield first
                yield from events
                return

    def _attempt(self, model: str, request: Request, patience_s: float) -> Generator[Event]:
        """Ask one model once. Raises Failed."""
        members = converse_request(model, request, self._traits(model), self._guardrail)
        region = self._runtime.meta.region_name
        answer, until = Answer(model, json_by_tool=speaks_json_by_tool(members)), time.monotonic() + patience_s
        try:
            stream = self._runtime.converse_stream(**members, ReadTimeout=patience_s)["stream"]
            with closing(stream):
                yield from _read(stream, answer, model, until)
        except AWS_FAILURES as error:
            if answer.said and not answer.complete:
                raise failed_midway(error, model, region) from error
            if not answer.complete:
                raise failed(error, model, region, request.texts) from error
        yield answer.finish()

    def _info(self, id: str, choices: Mapping[str, Choice]) -> ModelInfo:
        """Describe a model by what the names that mean it resolved to."""
        meant = {name: choice for name, choice in choices.items() if choice.id == id}
        display = next((choice.name for choice in meant.values() if choice.name != id), id)
        aliases = tuple(name for name in meant if name != id)
        return ModelInfo(id, display, traits_of(id).context_tokens or self._context_tokens, aliases)

    def _asked(self, name: str | None) -> str:
        """Return the name in the settings that a request means, which may also give the id behind it."""
        if name is None:
            return self._names[0]
        if name in self._names:
            return name
        for known in self._names:
            if name == self._directory.resolve(known).id:
                return known
        raise UnknownModel(f"{name[:80]!r} is not one of this deployment's models: {', '.join(self._names)}.")

    def _traits(self, model: str) -> Traits:
        return self._learnt.get(model) or traits_of(model)

    def _learn(self, model: str, refusal: str) -> bool:
        """Remember, as long as this process lives, what a refusal teaches of a model; False when that is nothing new."""
        learnt = learn(self._traits(model), refusal)
        if learnt:
            self._learnt[model] = learnt
        return learnt is not None


class _Plan:
    """Whom to ask next: the fallbacks in their order, and whoever is last once more, while the caller's patience lasts."""

    def __init__(self, names: Iterable[str], patience_s: float, pause_s: float) -> None:
        self._names = deque(dict.fromkeys(names))
        self._deadline = time.monotonic() + patience_s
        self._least_s = min(LEAST_PATIENCE_S, patience_s)
        self._pause_s = pause_s
        self._asked_again = False

    @property
    def name(self) -> str:
        return self._names[0]

    def patience_s(self) -> float:
        return max(self._deadline - time.monotonic(), self._least_s)

    def go_on(self, failure: Failed) -> None:
        """Turn to the next model, or wait a moment to ask again. Raises the failure when neither can help."""
        pause_s = self._pause_s * random.uniform(0.5, 1.5)
        in_time = time.monotonic() + pause_s + self._least_s < self._deadline
        if failure.elsewhere and len(self._names) > 1:
            self._names.popleft()
        elif failure.again and in_time and not self._asked_again:
            self._asked_again = True
            time.sleep(pause_s)
        else:
            raise failure


def _read(stream: Any, answer: Answer, model: str, until: float) -> Iterator[Event]:
    """Yield what is for the caller, until their time is over. A model that only reasons times out like one that hangs.

    `stream` is a botocore EventStream.
    """
    wires, armed_s = iter(stream), math.inf
    while True:
        left_s = until - time.monotonic()
        if left_s <= 0 and not answer.complete:
            raise interrupted("the model took too long") if answer.said else silent(model)
        # A socket's timeout is for one read, and what is left is less each time. Setting it for each word would cost more
        # than all else that is done with a word.
        if left_s < armed_s - REARM_S:
            armed_s = max(left_s, LEAST_READ_S)
            set_socket_timeout(stream._raw_stream, armed_s)
        wire = next(wires, None)
        if wire is None:
            return
        yield from answer.read(wire)


def _wait_as_asked(params: MutableMapping[str, Any], context: MutableMapping[str, Any], **_: Any) -> None:
    """Move our parameter to where botocore looks for one request's own timeout: https://github.com/boto/botocore/pull/3770."""
    context["read_timeout"] = params.pop("ReadTimeout", None)


def _names(setting: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in setting.split(",") if name.strip()))
