"""Amazon Bedrock's embedding models, by InvokeModel: Titan Text Embeddings V2, and Cohere Embed v3 and v4.

Request and response bodies:
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

import json
import math
import random
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from chalicelib.embedder import Embedder, Purpose, Space, Vector
from chalicelib.errors import (
    ContextTooLong,
    EmbedderUnavailable,
    Misconfigured,
    ModelAccessDenied,
    ModelEndOfLife,
    ModelNeedsProfile,
    ModelQuotaSpent,
    ModelRejected,
    ModelThrottled,
    PaiError,
)
from chalicelib.llm.bedrock.failures import AWS_FAILURES, Failed, failed
from chalicelib.patience import patience_left
from chalicelib.platform.aws.clients import client
from chalicelib.settings import Settings

DEFAULT_MODEL = "amazon.titan-embed-text-v2:0"
AT_ONCE = 8
"""Calls at a time."""
PATIENCE_S = 60.0
"""How long one `embed` goes on asking while Bedrock is too busy, if its caller has so much patience."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0


@dataclass(frozen=True)
class Traits:
    """What a family of models takes. `longest_chars` of a text are sent; `choices` of dimensions, the default first."""

    family: str
    choices: tuple[int, ...]
    longest_tokens: int
    longest_chars: int
    texts: int
    """Texts in one call."""


FAMILIES = (
    Traits("amazon.titan-embed-text-v2", (1024, 512, 256), 8192, 50_000, 1),
    Traits("cohere.embed-v4", (1536, 1024, 512, 256), 8192, 50_000, 96),
    Traits("cohere.embed-english-v3", (1024,), 512, 2048, 96),
    Traits("cohere.embed-multilingual-v3", (1024,), 512, 2048, 96),
)


def build(settings: Settings) -> Embedder:
    # What is worth a second try is decided here, for all calls together.
    runtime = client(
        "bedrock-runtime", read_timeout=20, max_pool_connections=AT_ONCE, retries={"mode": "standard", "total_max_attempts": 1}
    )
    return BedrockEmbedder(settings, runtime)


class BedrockEmbedder:
    def __init__(
        self, settings: Settings, runtime: Any, patience_s: float = PATIENCE_S, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        """`runtime` is a client of bedrock-runtime that asks once. Raises `Misconfigured`."""
        self._model = settings.embedding_model or DEFAULT_MODEL
        self._traits = _traits_of(self._model)
        dimensions = settings.embedding_dimensions or self._traits.choices[0]
        if dimensions not in self._traits.choices:
            choices = ", ".join(map(str, self._traits.choices))
            raise Misconfigured(f"PAI_EMBEDDING_DIMENSIONS is {dimensions}; {self._model} makes vectors of {choices}.")
        # The same model by another profile makes the same vectors.
        self.space = Space(self._model[self._model.index(self._traits.family) :], dimensions)
        self.longest_tokens = self._traits.longest_tokens
        self._runtime, self._patience_s, self._first_pause_s = runtime, patience_s, first_pause_s

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        vectors = [_nothing(self.space.dimensions)] * len(texts)
        said = [number for number, text in enumerate(texts) if text.strip()]  # the models refuse an empty text
        batches = [said[start : start + self._traits.texts] for start in range(0, len(said), self._traits.texts)]
        patience = _Patience(min(self._patience_s, patience_left()), self._first_pause_s)

        def ask(batch: Sequence[int]) -> "Sequence[Vector[float]]":
            try:
                return self._batch([texts[number] for number in batch], purpose, patience)
            except BaseException:
                patience.end()  # the others need not go on: nothing of this will be used
                raise

        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(batches)))) as threads:
            for batch, made in zip(batches, threads.map(ask, batches), strict=True):
                for number, vector in zip(batch, made, strict=True):
                    vectors[number] = vector
        return vectors

    def _batch(self, texts: Sequence[str], purpose: Purpose, patience: "_Patience") -> "Sequence[Vector[float]]":
        longest, tries = self._traits.longest_chars, 0
        while True:
            try:
                answer = self._call(self._body([text[:longest] for text in texts], purpose))
                return _vectors(answer, len(texts), self.space.dimensions)
            except Failed as failure:
                # Only the service counts tokens: of a text in a script with more of them, less is sent.
                if isinstance(failure.error, ContextTooLong) and longest > 1:
                    longest = min(longest, max(map(len, texts))) // 2
                elif not (failure.again and patience.pause(tries)):
                    raise _explained(failure.error, self._model) from None  # AWS's own words may repeat the text
                else:
                    tries += 1

    def _call(self, body: Mapping[str, object]) -> Any:
        """Ask once. Raises Failed."""
        try:
            answer = self._runtime.invoke_model(
                modelId=self._model, body=json.dumps(body), contentType="application/json", accept="application/json"
            )
            return json.loads(answer["body"].read())
        except AWS_FAILURES as error:
            raise failed(error, self._model, self._runtime.meta.region_name) from error
        except ValueError as error:
            raise Failed(_unreadable(), again=True) from error

    def _body(self, texts: Sequence[str], purpose: Purpose) -> Mapping[str, object]:
        if self._traits.texts == 1:
            return {"inputText": texts[0], "dimensions": self.space.dimensions, "normalize": True}
        kind = "search_query" if purpose == "query" else "search_document"
        body = {"texts": texts, "input_type": kind, "embedding_types": ["float"]}
        if len(self._traits.choices) > 1:
            return {**body, "truncate": "RIGHT", "output_dimension": self.space.dimensions}
        return {**body, "truncate": "END"}


class _Patience:
    """The time that all calls of one `embed` share."""

    def __init__(self, patience_s: float, first_pause_s: float) -> None:
        self._until = time.monotonic() + patience_s
        self._first_pause_s = first_pause_s
        self._ended = threading.Event()

    def pause(self, tries: int) -> bool:
        """Wait before another try, at random so that the calls do not come back together; False when time is over."""
        pause_s = min(LONGEST_PAUSE_S, self._first_pause_s * 2**tries) * random.uniform(0.5, 1.0)
        if time.monotonic() + pause_s > self._until:
            return False
        return not self._ended.wait(pause_s)

    def end(self) -> None:
        self._ended.set()


def _traits_of(model: str) -> Traits:
    for traits in FAMILIES:
        if traits.family in model:
            return traits
    known = ", ".join(traits.family for traits in FAMILIES)
    raise Misconfigured(f"PAI_EMBEDDING_MODEL is {model!r}. Choose a model of {known}; leave it empty for {DEFAULT_MODEL}.")


def _nothing(dimensions: int) -> "Vector[float]":
    """Return the vector of a text that says nothing: any direction of unit length will do."""
    return array("f", [1.0] + [0.0] * (dimensions - 1))


def _vectors(answer: Any, count: int, dimensions: int) -> "Sequence[Vector[float]]":
    """Take the vectors out of either family's answer, at unit length. Raises Failed."""
    try:
        rows = [answer["embedding"]] if "embedding" in answer else answer["embeddings"]["float"]
        vectors = [_unit(row) for row in rows]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise Failed(_unreadable(), again=True) from error
    if [len(vector) for vector in vectors] != [dimensions] * count:
        raise Failed(_unreadable(), again=True)
    return vectors


def _unit(row: Sequence[float]) -> "Vector[float]":
    length = math.hypot(*row)
    return array("f", [value / length for value in row])


def _unreadable() -> PaiError:
    return EmbedderUnavailable("Bedrock's answer holds no vectors that fit. Try again.")


def _explained(error: PaiError, model: str) -> PaiError:
    """Return the embedder's error for what the call to a model failed with."""
    match error:
        case ModelThrottled() | ModelQuotaSpent():
            sentence = f"Bedrock takes no more texts for {model} just now. Try again later, or ask AWS for a higher quota."
            return EmbedderUnavailable(sentence, retry_after_s=error.retry_after_s)
        case ModelAccessDenied():
            return EmbedderUnavailable(
                f"Bedrock does not let this deployment use {model}. Enable that model for the account in this region, and "
                "allow bedrock:InvokeModel for it in the function's policy.",
                retry_after_s=error.retry_after_s,
            )
        case ModelEndOfLife() | ModelNeedsProfile() | ModelRejected():
            return Misconfigured(
                f"Bedrock does not take texts for {model} in this region: it has no such model, has withdrawn it, or wants it "
                "named by an inference profile. Set PAI_EMBEDDING_MODEL to another one, then reindex."
            )
        case EmbedderUnavailable():
            return error
    return EmbedderUnavailable(f"Bedrock did not answer for {model}. Check the network and the region, then try again.")
