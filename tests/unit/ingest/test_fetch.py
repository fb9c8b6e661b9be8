"""Files that can't be read: what their owner sees, and what is waited for."""

import io
from errno import ENOSPC

import pytest

from chalicelib.errors import StorageFull
from chalicelib.ingest.arrival import Arrival
from chalicelib.ingest.index import Ingestion
from chalicelib.settings import Settings
from tests.unit.ingest_world import BOOK, Library


def test_a_file_that_is_larger_than_any_may_be_fails_before_it_is_copied(library: Library) -> None:
    key = "documents/me/huge.txt"
    library.put(key, "x")
    library.ingestion.arrived(Arrival(key, 100_000_000, "01"))
    [document] = library.documents.all("me")
    assert (document.state, document.failure_code) == ("failed", "DocumentTooLarge")
    assert library.reading.calls == 0


def test_a_file_that_turns_out_larger_than_any_may_be_fails() -> None:
    library = Library(Settings(upload_bytes=100))
    key = "documents/me/large.txt"
    library.put(key, "x" * 101)
    library.ingestion.arrived(Arrival(key, 0, "01"))
    [document] = library.documents.all("me")
    assert document.failure_code == "DocumentTooLarge"


def test_a_file_larger_than_was_announced_is_refused(library: Library) -> None:
    document = library.documents.create("me", "small.txt", size_bytes=3)
    library.ingestion.arrived(library.put(document.key, "four"))
    assert library.now(document).failure_code == "DocumentRefused"


def test_a_file_that_is_not_there_is_lost(library: Library) -> None:
    document = library.documents.create("me", "notes.txt", size_bytes=3)
    library.ingestion.arrived(library.news(document.key))
    assert (library.now(document).state, library.now(document).failure_code) == ("failed", "DocumentLost")


def test_a_full_disk_is_a_reason_to_wait(library: Library) -> None:
    class FullDisk(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(ENOSPC, "no space left")

    class Files:
        def open(self, key: str) -> io.BytesIO:
            return FullDisk()

    document, news = library.upload(BOOK)
    ingestion = Ingestion(
        library.documents,
        Files(),  # type: ignore[arg-type]
        library.queue,
        library.embedder,
        library.retriever,
        library.settings,
        library.clock,
        library.read,
    )
    with pytest.raises(StorageFull):
        ingestion.arrived(news)
    assert (library.now(document).state, library.now(document).failure_code) == ("waiting", "StorageFull")
    library.ingestion.arrived(news)
    assert library.now(document).state == "ready"
