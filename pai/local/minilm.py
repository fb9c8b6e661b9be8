"""An embedding model in this process: all-MiniLM-L6-v2 by ONNX Runtime. Nothing leaves the machine.

384 dimensions, the mean of what the model makes of each token. Its weights are 8-bit integers: on 200 abstracts, the
vectors' cosine with those of the 32-bit model is 0.9994 on average.
"""

import os
import threading
from array import array
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from chalicelib.embedder import Embedder, Purpose, Space, Vector
from chalicelib.errors import EmbedderUnavailable, Misconfigured, ModelMissing, StorageFull, UnknownModel
from chalicelib.settings import Settings
from pai.local.catalogue import find, models_folder
from pai.local.fetch import fetch

DIMENSIONS = 384
LONGEST_TOKENS = 256
MODEL = "minilm"


def build(settings: Settings) -> Embedder:
    if settings.embedding_model not in ("", MODEL):
        raise Misconfigured(f"PAI_EMBEDDING_MODEL is {settings.embedding_model!r}; this embedder has one model, {MODEL}.")
    if settings.embedding_dimensions not in (0, DIMENSIONS):
        raise Misconfigured(f"PAI_EMBEDDING_DIMENSIONS: this embedder's vectors have {DIMENSIONS} and no other number.")
    return MiniLM(models_folder(settings))


class MiniLM:
    """Loaded when first used, and fetched (104 MB, once) where it is not here yet."""

    space = Space("all-minilm-l6-v2-int8", DIMENSIONS)
    longest_tokens = LONGEST_TOKENS

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loading = threading.Lock()

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        # One text at a time: a batch is no faster on few cores, and whoever asks a question waits for one text of a long
        # document, not for a batch of them.
        return [self._vector(text) for text in texts]

    def load(self) -> None:
        """Fetch and load the model now, so that the first question need not wait for it."""
        self._vector("")

    def _vector(self, text: str) -> "Vector[float]":
        import numpy as np

        ids = np.array([self._encode(text)], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        [tokens] = self._loaded[1].run(["last_hidden_state"], feed)
        mean = tokens[0].mean(axis=0)
        return array("f", (mean / np.linalg.norm(mean)).astype(np.float32).tobytes())

    def _encode(self, text: str) -> Sequence[int]:
        ids: Sequence[int] = self._loaded[0].encode(text).ids
        return ids

    @property
    def _loaded(self) -> tuple[Any, Any]:
        with self._loading:
            return self._model

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        """The tokenizer and the model."""
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # or it tells its makers of every session, from the moment it is imported
        import onnxruntime
        from tokenizers import Tokenizer

        model, vocabulary = self._files()
        tokenizer = Tokenizer.from_file(str(vocabulary))
        tokenizer.enable_truncation(LONGEST_TOKENS)
        tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        # More threads spin while they wait, and take the cores from the language model.
        options.intra_op_num_threads = 1
        return tokenizer, onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def _files(self) -> tuple[Path, Path]:
        try:
            model, vocabulary = (fetch(row, self._folder) for row in find(MODEL).files)
        except (ModelMissing, StorageFull, UnknownModel) as error:
            raise EmbedderUnavailable(f"{error.message} (`pai models fetch {MODEL}`)") from error
        return model, vocabulary
