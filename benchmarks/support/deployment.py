"""PAI's parts in this process, in a home of their own, for as long as a benchmark runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from benchmarks.support.printing import product_silenced
from benchmarks.support.processes import environment
from chalicelib.wiring import Parts, here


@contextmanager
def deployment(settings: Mapping[str, str]) -> Iterator[Parts]:
    """Yield the parts of these settings, whose log lines are kept from standard output."""
    with product_silenced(), TemporaryDirectory() as home, environment({**settings, "PAI_HOME": home}):
        yield here()


def library(retriever: str, embedder: str) -> dict[str, str]:
    """Return the settings of a library that is searched by these."""
    return {"PAI_RETRIEVER": retriever, "PAI_EMBEDDER": embedder, "PAI_DATABASE": "pai.local.postgres"}
