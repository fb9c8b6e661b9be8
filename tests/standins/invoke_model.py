"""What the embedding models behind InvokeModel take and answer. Vectors are those of the product's `hashed`."""

from collections.abc import Sequence
from typing import Any

from chalicelib.embedder.hashed import HashedEmbedder
from tests.standins.bedrock_models import Json

TITAN = {"inputText", "dimensions", "normalize", "embeddingTypes"}
COHERE = {"texts", "input_type", "truncate", "embedding_types"}
COHERE_V4 = {*COHERE, "output_dimension", "max_tokens"}
TRUNCATE = {"v3": ("NONE", "START", "END"), "v4": ("NONE", "LEFT", "RIGHT")}
TITAN_TOKENS, TITAN_CHARS = 8192, 50_000


def refusal(model: str, body: Json) -> str:
    """Return the message of the ValidationException that this body gets, "" for none."""
    if "titan-embed-text-v2" in model:
        return _titan_refusal(body)
    return _cohere_refusal("v4" if "embed-v4" in model else "v3", body)


def _titan_refusal(body: Json) -> str:
    text = body.get("inputText")
    if extra := body.keys() - TITAN:
        return f"Malformed input request: extraneous key [{min(extra)}] is not permitted, please reformat your input."
    if not isinstance(text, str) or not text.strip():
        return "Malformed input request: expected minLength: 1, actual: 0, please reformat your input and try again."
    if len(text) > TITAN_CHARS:
        return f"Malformed input request: expected maxLength: {TITAN_CHARS}, actual: {len(text)}."
    if (tokens := tokens_of(text)) > TITAN_TOKENS:
        return f"400 Bad Request: Too many input tokens. Max input tokens: {TITAN_TOKENS}, request input token count: {tokens}"
    if body.get("dimensions", 1024) not in (256, 512, 1024):
        return "Malformed input request: #/dimensions: not a valid enum value, please reformat your input and try again."
    return ""


def _cohere_refusal(version: str, body: Json) -> str:
    texts = body.get("texts")
    if extra := body.keys() - (COHERE_V4 if version == "v4" else COHERE):
        return f"Malformed input request: extraneous key [{min(extra)}] is not permitted, please reformat your input."
    if not isinstance(texts, list) or not 1 <= len(texts) <= 96:
        return "Malformed input request: #/texts: expected maximum item count: 96, please reformat your input and try again."
    if not all(texts) or (version == "v3" and max(map(len, texts)) > 2048):
        return "Malformed input request: #/texts/0: expected maxLength: 2048, please reformat your input and try again."
    if body.get("input_type") not in ("search_document", "search_query", "classification", "clustering"):
        return "Malformed input request: #/input_type: not a valid enum value, please reformat your input and try again."
    if body.get("truncate", "NONE") not in TRUNCATE[version]:
        return "Malformed input request: #/truncate: not a valid enum value, please reformat your input and try again."
    if body.get("output_dimension", 1536) not in (256, 512, 1024, 1536):
        return "Malformed input request: #/output_dimension: not a valid enum value, please reformat your input and try again."
    return ""


def answer(model: str, body: Json) -> Json:
    """Return the response body for a good request."""
    if "titan" in model:
        [vector] = _vectors([body["inputText"]], body.get("dimensions", 1024))
        return {
            "embedding": vector,
            "inputTextTokenCount": tokens_of(body["inputText"]),
            "embeddingsByType": {"float": vector},
        }
    vectors = _vectors(body["texts"], body.get("output_dimension", 1536 if "embed-v4" in model else 1024))
    # The service does not answer at unit length.
    floats = [[value * 3 for value in vector] for vector in vectors]
    by_type: Any = {"float": floats} if "embedding_types" in body else floats
    return {"id": "1", "embeddings": by_type, "response_type": "embeddings_by_type", "texts": body["texts"]}


def tokens_of(text: str) -> int:
    """Four Latin letters make a token, and so does one of any other script."""
    latin = sum(character.isascii() for character in text)
    return latin // 4 + len(text) - latin


def _vectors(texts: Sequence[str], dimensions: int) -> list[list[float]]:
    return [list(vector) for vector in HashedEmbedder(dimensions).embed(texts, "passage")]
