"""A document's text on its way into the index: read, split, embedded and stored, range by range."""

import pytest

from chalicelib.errors import QueueUnavailable
from tests.unit.ingest_world import BOOK, PAGES, Library, ListQueue


def test_a_file_that_arrives_becomes_ready(library: Library) -> None:
    document, news = library.upload(BOOK, "animals.txt")

    library.ingestion.arrived(news)

    now = library.now(document)
    assert (now.state, now.name, now.title, now.pages, now.chunks) == ("ready", "animals.txt", "animals", 3, 3)
    assert (now.parts, now.parts_done, now.characters, now.skipped_pages) == (3, 3, len(BOOK) - 2, ())
    assert library.texts(document) == PAGES


def test_what_is_embedded_is_the_chunk_under_its_context(library: Library) -> None:
    library.ingestion.arrived(library.upload("Cats sleep.", "animals.txt")[1])
    assert library.embedder.texts == ["animals\nCats sleep."]


def test_a_document_knows_its_language(library: Library) -> None:
    german = "Der Mieter darf ohne Zustimmung des Vermieters keine Haustiere in der Wohnung halten. "
    document, news = library.upload(german * 3)
    library.ingestion.arrived(news)
    assert library.now(document).language == "de"


def test_a_long_document_is_embedded_in_batches(library: Library) -> None:
    page = "\n\n".join(f"Paragraph {number}. " + "The quick brown fox jumps over the lazy dog. " * 16 for number in range(200))
    document, news = library.upload(page)

    library.ingestion.arrived(news)

    assert library.now(document).chunks == len(library.texts(document)) > 100
    assert library.embedder.script.calls > 2


def test_pages_without_text_are_named(library: Library) -> None:
    document, news = library.upload(f"{PAGES[0]}\f\f{PAGES[2]}\f  \n")
    library.ingestion.arrived(news)
    assert (library.now(document).state, library.now(document).skipped_pages) == ("ready", (2, 4))


def test_a_document_without_any_text_fails_and_says_what_to_do(library: Library) -> None:
    document, news = library.upload("\f \f\n")
    library.ingestion.arrived(news)
    now = library.now(document)
    assert (now.state, now.failure_code) == ("failed", "DocumentWithoutText")
    assert "OCR" in now.failure
    assert not list(library.retriever.inventory())


def test_the_language_is_found_anew_with_a_new_file(library: Library) -> None:
    german = "Der Mieter darf mit Zustimmung des Vermieters einen kleinen Hund halten, und die Miete ist am dritten fällig. "
    english = "The tenant may keep a small dog with the consent of the landlord, and the rent is due on the third. "
    key = "documents/me/lease.txt"
    library.finish(library.put(key, german * 5))
    [document] = library.documents.all("me")
    before = library.now(document).language

    library.finish(library.put(key, english * 5))

    assert (before, library.now(document).language) == ("de", "en")


# Ranges


def test_a_long_document_goes_on_in_the_next_message(slow: Library) -> None:
    document, news = slow.upload(BOOK)

    slow.ingestion.arrived(news)

    now = slow.now(document)
    assert (now.state, now.parts_done, now.parts, now.chunks) == ("reading", 1, 3, 1)
    message = {"pai": "continue", "owner": "me", "document_id": document.id, "generation": now.generation}
    assert slow.queue.sent == [(message, 0)]
    assert slow.texts(document) == []
    slow.deliver()
    assert slow.texts(document) == PAGES
    assert (slow.now(document).state, slow.reading.calls) == ("ready", 3)


def test_news_again_between_two_ranges_does_no_harm(slow: Library) -> None:
    document, news = slow.upload(BOOK)
    slow.ingestion.arrived(news)
    slow.ingestion.arrived(news)
    slow.deliver()
    assert (slow.texts(document), slow.reading.calls) == (PAGES, 3)


def test_a_queue_that_is_down_between_two_ranges_loses_nothing(slow: Library) -> None:
    class Down(ListQueue):
        def send(self, body: str, *, delay_s: int = 0) -> None:
            raise QueueUnavailable("SQS does not answer.")

    document, news = slow.upload(BOOK)
    down = slow.with_queue(Down())
    with pytest.raises(QueueUnavailable):
        down.arrived(news)
    slow.ingestion.arrived(news)
    slow.deliver()
    assert (slow.texts(document), slow.reading.calls) == (PAGES, 3)


def test_the_rest_of_an_older_file_or_of_a_deleted_document_is_not_read(slow: Library) -> None:
    document, news = slow.upload(BOOK)
    slow.ingestion.arrived(news)
    slow.ingestion.resume("me", document.id, "another generation")
    slow.ingestion.resume("you", document.id, slow.now(document).generation)
    assert slow.reading.calls == 1
    slow.ingestion.delete("me", document.id)
    slow.deliver()
    assert slow.reading.calls == 1
    assert not list(slow.retriever.inventory())
