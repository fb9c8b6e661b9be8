"""The environment that a benchmark, and what it starts, runs in."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MODELS_HOME = "PAI_MODELS_HOME"
"""The one setting of the person's that benchmarks keep: where the models already are."""


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables, and no others of AWS or PAI, until the block ends."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "PAI_")) and name != MODELS_HOME:
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
