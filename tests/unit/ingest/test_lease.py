"""Who works on a document: nobody twice, and somebody after a process was killed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ulid import ULID

from chalicelib.documents import Documents
from chalicelib.ingest.lease import LEASE_S
from chalicelib.records import Document
from chalicelib.settings import Settings
from chalicelib.store import When
from tests.unit.ingest_world import BOOK, PAGES, Killed, Library, kill


def test_news_that_comes_again_while_it_is_read_is_left_to_who_reads_it(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.reading.meanwhile[2] = lambda: library.ingestion.arrived(news)

    library.ingestion.arrived(news)

    assert library.embedder.script.calls == 1
    assert library.now(document).state == "ready"
    library.deliver()  # the look at it when the lease would have been over
    assert library.embedder.script.calls == 1


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_killed_process_is_taken_over_where_it_stopped(slow: Library, page: int) -> None:
    document, news = slow.upload(BOOK)
    slow.reading.before[page] = Killed()
    with pytest.raises(Killed):
        slow.finish(news)
    generation = slow.now(document).generation
    assert slow.now(document).parts_done == page - 1

    slow.ingestion.arrived(news)  # its message, delivered again
    slow.deliver()

    assert slow.texts(document) == PAGES
    assert slow.now(document).state == "ready"
    assert slow.now(document).generation == generation
    assert sorted(slow.embedder.texts) == [f"notes\n{text}" for text in PAGES]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_process_killed_after_it_stored_a_stretch_repeats_only_that(slow: Library, call: int) -> None:
    document, news = slow.upload(BOOK)
    slow.retriever.script.after[call] = Killed()
    with pytest.raises(Killed):
        slow.finish(news)

    slow.ingestion.arrived(news)
    slow.deliver()

    assert slow.texts(document) == PAGES
    assert (slow.now(document).state, slow.now(document).chunks, slow.now(document).parts_done) == ("ready", 3, 3)
    assert slow.embedder.script.calls == 4


def test_a_lease_that_lives_keeps_others_away_until_it_is_over(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.reading.before[1] = Killed()
    kill(library, news)

    library.ingestion.arrived(news)
    assert library.reading.calls == 1
    [(_, delay_s)] = library.queue.sent
    assert 0 < delay_s <= LEASE_S + 1
    library.deliver()

    assert library.now(document).state == "ready"


def test_a_document_that_kills_whoever_reads_it_is_given_up_at_its_page(slow: Library) -> None:
    document, news = slow.upload(BOOK)
    slow.reading.before = {call: Killed() for call in range(2, 99)}
    slow.ingestion.arrived(news)
    for _ in range(3):
        slow.clock.forward(LEASE_S + 1)
        kill(slow, news)

    slow.clock.forward(LEASE_S + 1)
    slow.ingestion.arrived(news)

    now = slow.now(document)
    assert (now.state, now.failure_code, now.failure_page) == ("failed", "DocumentGivenUp", 2)
    assert not list(slow.retriever.inventory())


def test_who_lost_the_lease_writes_nothing_more(library: Library) -> None:
    document, news = library.upload(BOOK)

    def sleep_too_long() -> None:
        library.reading.meanwhile.clear()
        library.clock.forward(LEASE_S + 1)
        library.ingestion.arrived(news)  # somebody else takes it over and finishes

    library.reading.meanwhile[2] = sleep_too_long
    library.ingestion.arrived(news)

    assert library.texts(document) == PAGES
    assert (library.now(document).state, library.now(document).chunks) == ("ready", 3)


def test_a_lease_is_renewed_while_pages_are_read() -> None:
    library = Library(Settings(read_s=10_000))
    document, news = library.upload("\f".join(PAGES * 4))
    for page in range(1, 13):
        library.reading.meanwhile[page] = lambda: library.clock.forward(LEASE_S * 0.6)
    library.reading.meanwhile[12] = lambda: library.ingestion.arrived(news)

    library.ingestion.arrived(news)

    assert library.reading.calls == 12
    assert library.now(document).state == "ready"


def test_a_lost_race_for_a_lease_is_no_failure(library: Library) -> None:
    """Another process takes the document between our look at its row and our change of it."""

    class Racing(Documents):
        raced = False

        def change(self, document: Document, when: Sequence[When] = (), **changes: Any) -> Document | None:
            if not self.raced and changes.get("state") == "reading":
                self.raced = True
                super().change(document, generation=str(ULID()), lease_until_ms=1, sequencer="01", state="waiting")
            return super().change(document, when, **changes)

    document, news = library.upload(BOOK)
    documents = Racing(library.store, library.vault, library.settings, library.clock)
    library.with_documents(documents).arrived(replace(news, sequencer="02"))
    assert (library.now(document).state, library.now(document).sequencer) == ("ready", "02")
