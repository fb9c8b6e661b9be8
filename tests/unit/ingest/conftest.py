"""Deployments that take documents."""

import pytest

from chalicelib.settings import Settings
from tests.unit.ingest_world import Library


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def slow() -> Library:
    """A deployment where each page takes a whole range."""
    library = Library(Settings(read_s=10))
    for page in range(1, 20):
        library.reading.meanwhile[page] = lambda: library.clock.forward(11)
    return library
