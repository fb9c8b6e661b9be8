"""/v1/models: what a request may name. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.embedder import Space
from chalicelib.errors import UnknownModel
from chalicelib.records import ModelInfo
from chalicelib.v1.ask import PAI


def listed(infos: Iterable[ModelInfo], backend: str, embedder: tuple[str, Space] | None) -> Sequence[Mapping[str, Any]]:
    """Return the models: `pai` first, then the backend's by all their names, then the embedder's."""
    owners = {PAI: PAI}
    for info in infos:
        for name in (info.id, *info.aliases):
            owners.setdefault(name, _short(backend))
    if embedder:
        owners.setdefault(embedder[1].model, _short(embedder[0]))
    # When a model was made is known of none of them; the openai package wants a number.
    return [{"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in owners.items()]


def one(models: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    for model in models:
        if model["id"] == name:
            return model
    raise UnknownModel("there is none of this name here. GET /v1/models lists those there are.")


def _short(backend: str) -> str:
    """Return the name that a part's settings give, without the path to it."""
    return backend.rpartition(".")[2]
