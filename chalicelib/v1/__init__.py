"""OpenAI's API, for the clients that speak it. What is said here is counted, and not stored (docs/openai.md).

given, said, ask    a body → what is asked of a model      answer       what it says → completions and chunks
completions         asks the model, looks things up        wording      words on their way out
stream              an answer as server-sent events        failures     PAI's errors → OpenAI's
embeddings, models  the other routes

All but failures is imported when it is needed: a plain /chat does not wait for it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalicelib.http import Reply, Request
from chalicelib.patience import REQUEST_S
from chalicelib.records import Principal
from chalicelib.v1.failures import openai_errors
from chalicelib.wiring import here

if TYPE_CHECKING:
    from chalicelib.v1.ask import Wanted


@openai_errors
def complete(request: Request) -> Reply:
    """Answer a conversation that its client keeps: whole, or as server-sent events."""
    from chalicelib.v1 import answer, ask, completions, given, stream

    started = time.monotonic()
    wanted = ask.wanted(given.body(request), here().settings)
    frame = answer.Frame(wanted.model, wanted.include_usage)
    until = started + _limit_s(request, wanted)
    steps = completions.Completions(here().meter, here().sources).answer(_who(request), wanted, until)
    if wanted.stream:
        steps = stream.begun(steps, stream.MOMENT_S if request.streams else None)
        return Reply(stream.events(steps, frame, request), content_type="text/event-stream")
    all_steps = list(steps)
    return Reply(frame.whole(all_steps), log=answer.counts(all_steps))


@openai_errors
def embed(request: Request) -> Reply:
    """Make vectors of texts, as they are made of documents."""
    from chalicelib.v1 import embeddings, given

    embedder = here().embedder
    asked = embeddings.texts(given.body(request), embedder.space)
    with here().meter.embedding(_who(request), embedder.space.model, asked.tokens):
        vectors = embedder.embed(asked.texts, "passage")
    return Reply(embeddings.embedded(asked, vectors, embedder.space), log={"input_tokens": asked.tokens})


@openai_errors
def list_models(request: Request) -> Reply:
    """List what a request may name as its model."""
    return Reply({"object": "list", "data": _models()})


@openai_errors
def show_model(request: Request, model: str) -> Reply:
    """Show one model."""
    from chalicelib.v1 import models

    return Reply(models.one(_models(), unquote(model)))  # Chalice's local gateway hands it on as it stands in the address


def _models() -> Sequence[Mapping[str, Any]]:
    from chalicelib.v1 import models

    settings = here().settings
    embedder = None if settings.retriever == "none" else (settings.embedder, here().embedder.space)
    return models.listed(here().llm.models(), settings.llm, embedder)


def _limit_s(request: Request, wanted: "Wanted") -> float:
    """Return how long an answer may take: what can't be streamed must be there before API Gateway hangs up."""
    settings = here().settings
    if not request.streams:
        return min(settings.deadline_s, REQUEST_S)
    return settings.worker_deadline_s if wanted.stream else settings.deadline_s


def _who(request: Request) -> Principal:
    return Principal(request.owner, request.key_id)
