"""What becomes of a document when something is down, and when people ask for it again."""

import pytest

from chalicelib.errors import DocumentBusy, EmbedderChanged, EmbedderUnavailable, FilesUnavailable, LibraryWaking
from chalicelib.store import Item
from tests.unit.ingest_world import BOOK, PAGES, Library


@pytest.mark.parametrize(
    "error",
    [EmbedderUnavailable("The model does not answer."), EmbedderChanged("Reindex."), FilesUnavailable("S3 does not answer.")],
)
def test_a_part_that_does_not_answer_is_a_reason_to_wait(slow: Library, error: Exception) -> None:
    document, news = slow.upload(BOOK)
    slow.embedder.script.before[2] = error
    slow.ingestion.arrived(news)
    with pytest.raises(type(error)):
        slow.deliver()

    now = slow.now(document)
    assert (now.state, now.parts_done, now.failure_code, now.failure) == ("waiting", 1, type(error).__name__, str(error))
    slow.ingestion.arrived(news)
    slow.deliver()
    assert (slow.now(document).state, slow.now(document).failure) == ("ready", "")
    assert slow.texts(document) == PAGES


def test_a_database_that_wakes_up_is_waited_for_however_often(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.retriever.script.before = {call: LibraryWaking("It was asleep.") for call in range(1, 8)}
    for _ in range(7):
        with pytest.raises(LibraryWaking):
            library.ingestion.arrived(news)
    library.ingestion.arrived(news)
    assert library.now(document).state == "ready"


def test_a_defect_lets_the_next_one_try_at_once(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.embedder.script.before[1] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        library.ingestion.arrived(news)
    assert library.now(document).state == "waiting"
    library.ingestion.arrived(news)
    assert library.now(document).state == "ready"


def test_what_is_given_up_ends_as_failed_with_the_reason(slow: Library) -> None:
    document, news = slow.upload(BOOK)
    slow.ingestion.arrived(news)

    slow.ingestion.given_up("me", document.id, "It failed three times.")

    now = slow.now(document)
    assert (now.state, now.failure_code, now.failure) == ("failed", "DocumentGivenUp", "It failed three times.")
    slow.deliver()
    assert slow.now(document).state == "failed"
    assert not list(slow.retriever.inventory())


def test_what_is_ready_or_gone_is_not_given_up(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    library.ingestion.given_up("me", document.id, "It failed three times.")
    library.ingestion.given_up("me", "unknown", "It failed three times.")
    assert library.now(document).state == "ready"


def test_a_document_that_failed_can_be_tried_again(library: Library) -> None:
    document = library.documents.create("me", "notes.txt", size_bytes=1000)
    library.ingestion.arrived(library.news(document.key))
    library.put(document.key, BOOK)

    waiting = library.ingestion.retry("me", document.id)
    assert (waiting.state, waiting.failure_code, waiting.failure) == ("waiting", "", "")
    library.deliver()

    assert (library.now(document).state, library.texts(document)) == ("ready", PAGES)


def test_a_document_that_is_stuck_goes_on_where_it_was(slow: Library) -> None:
    document, news = slow.upload(BOOK)
    slow.ingestion.arrived(news)
    slow.queue.sent.clear()  # the message is lost
    slow.ingestion.retry("me", document.id)
    slow.deliver()
    assert (slow.texts(document), slow.reading.calls) == (PAGES, 3)


def test_a_document_that_is_being_read_can_not_be_tried_again(library: Library) -> None:
    document, news = library.upload(BOOK)
    refusals: list[Exception] = []

    def retry() -> None:
        with pytest.raises(DocumentBusy) as refusal:
            library.ingestion.retry("me", document.id)
        refusals.append(refusal.value)

    library.reading.meanwhile[2] = retry
    library.ingestion.arrived(news)
    assert len(refusals) == 1


def test_trying_a_ready_document_again_does_nothing(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    assert library.ingestion.retry("me", document.id).state == "ready"
    assert library.queue.sent == []


def test_reindexing_embeds_again_while_the_old_text_answers(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    before = library.now(document)

    library.ingestion.reindex(before)
    assert library.texts(document) == PAGES
    library.deliver()

    now = library.now(document)
    assert (now.state, now.chunks, library.embedder.script.calls) == ("ready", 3, 2)
    assert now.live_generation != before.live_generation


def test_a_registry_row_says_nothing_of_the_name(library: Library) -> None:
    document, news = library.upload(BOOK, "divorce papers.txt")
    library.ingestion.arrived(news)
    item: Item | None = library.store.get("D#me", document.id)
    assert item is not None
    assert "divorce" not in repr(item)
