"""/v1/embeddings ↔ the deployment's embedder: https://platform.openai.com/docs/api-reference/embeddings. Pure."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.chat.prompt import count_tokens
from chalicelib.embedder import Space
from chalicelib.errors import BadRequest, UnknownModel
from chalicelib.v1.given import Given
from chalicelib.wire import LABEL_CHARS

if TYPE_CHECKING:
    from chalicelib.embedder import Vector

MOST_TEXTS = 2048


@dataclass(frozen=True)
class Texts:
    """What is to be embedded. `tokens` is an estimate: embedders do not count. `base64`: as little-endian 32-bit floats."""

    texts: Sequence[str]
    base64: bool = False

    @property
    def tokens(self) -> int:
        return sum(map(count_tokens, self.texts))


def texts(body: Given, space: Space) -> Texts:
    """Return what is asked of this embedder; UnknownModel for another's name."""
    model = body.fields.required_text("model", longest=LABEL_CHARS)
    if model != space.model:
        raise UnknownModel(f"the embedding model of this deployment is {space.model}, and it has no other.")
    if body.fields.whole("dimensions", least=1, most=10**6) not in (None, space.dimensions):
        raise BadRequest("dimensions", f"must be {space.dimensions}, which the vectors of {space.model} have; or leave it out")
    form = body.choice("encoding_format", "float", "base64") if body.has("encoding_format") else "float"
    return Texts(_input(body), base64=form == "base64")


def _input(body: Given) -> Sequence[str]:
    given = body.members.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise BadRequest("input", "must be a text, or a list of texts")
    if any(isinstance(text, int | list) for text in texts):
        raise BadRequest("input", "must be text: tokens of another model's vocabulary mean nothing to this one")
    if not all(isinstance(text, str) and text for text in texts):
        raise BadRequest("input", "must hold texts only, none of them empty")
    if len(texts) > MOST_TEXTS:
        raise BadRequest("input", f"must have {MOST_TEXTS} texts at most")
    return texts


def embedded(asked: Texts, vectors: "Sequence[Vector[float]]", space: Space) -> dict[str, Any]:
    """Return vectors in OpenAI's form."""
    items = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector) if asked.base64 else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": asked.tokens, "total_tokens": asked.tokens}
    return {"object": "list", "data": items, "model": space.model, "usage": usage}


def _encoded(vector: "Vector[float]") -> str:
    return b64encode(vector.tobytes()).decode()
