"""News of files: twice, late, out of order, of strange keys, and of new bytes."""

import pytest

from chalicelib.ingest.arrival import Arrival
from tests.unit.ingest_world import BOOK, PAGES, Library


def test_the_same_news_again_changes_nothing(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    library.ingestion.arrived(news)
    assert library.embedder.script.calls == 1
    assert library.now(document).state == "ready"


def test_news_of_an_older_file_is_ignored(library: Library) -> None:
    document, older = library.upload("The old text.")
    newer = library.put(document.key, "The new text")

    library.ingestion.arrived(newer)
    library.ingestion.arrived(older)

    assert library.texts(document) == ["The new text"]
    assert library.embedder.script.calls == 1


@pytest.mark.parametrize(
    ("older", "newer"), [("0A", "0B"), ("0055AED6DCD90281E5", "0055AED6DCD90281E51"), ("9", "a"), ("", "01")]
)
def test_sequencers_of_different_lengths_are_compared_as_s3_says(library: Library, older: str, newer: str) -> None:
    document = library.documents.create("me", "notes.txt")
    library.put(document.key, "The text.")
    library.ingestion.arrived(Arrival(document.key, 9, newer))
    library.files.delete(document.key)
    library.ingestion.removed(Arrival(document.key, 0, older))
    assert library.now(document).state == "ready"


def test_a_file_put_there_by_hand_becomes_a_document_with_its_name(library: Library) -> None:
    news = library.put("documents/me/lease 2023.txt", BOOK)

    library.ingestion.arrived(news)
    library.ingestion.arrived(news)

    [document] = library.documents.list("me").documents
    assert (document.name, document.state, document.chunks) == ("lease 2023.txt", "ready", 3)
    assert library.ingestion.identify(news.key) == ("me", document.id)


@pytest.mark.parametrize(
    "key", ["", "documents", "documents/me", "documents/me/", "documents//x.txt", "exports/me/x", "documents/me/a/"]
)
def test_a_key_that_is_no_document_is_ignored(library: Library, key: str) -> None:
    assert library.ingestion.identify(key) is None
    library.ingestion.arrived(Arrival(key, 1, "01"))
    library.ingestion.removed(Arrival(key, 0, "02"))


def test_late_news_of_a_file_that_is_gone_makes_no_document(library: Library) -> None:
    news = library.put("documents/me/lease.txt", BOOK)
    library.files.delete(news.key)
    library.ingestion.arrived(news)
    assert list(library.documents.all("me")) == []


def test_a_file_of_another_name_under_a_documents_id_is_not_that_document(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    other = f"documents/me/{document.id}.md"
    library.ingestion.arrived(library.put(other, "other"))
    library.ingestion.removed(library.news(other))
    assert library.texts(document) == PAGES


def test_new_bytes_under_the_same_key_replace_the_text_when_they_are_ready(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    seen: list[list[str]] = []
    library.embedder.script.meanwhile[2] = lambda: seen.append(library.texts(document))

    library.ingestion.arrived(library.put(document.key, "A new edition."))

    assert seen == [PAGES]
    assert library.texts(document) == ["A new edition."]
    now = library.now(document)
    assert (now.state, now.chunks, now.parts, now.pages) == ("ready", 1, 1, 1)


def test_the_same_bytes_put_again_are_not_embedded_again(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    before = library.now(document)

    library.ingestion.arrived(library.put(document.key, BOOK))

    now = library.now(document)
    assert library.embedder.script.calls == 1
    assert (now.state, now.chunks, now.parts_done, now.characters, now.generation) == (
        "ready",
        3,
        3,
        before.characters,
        before.live_generation,
    )


def test_a_new_edition_that_can_not_be_read_leaves_no_old_text_behind(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    library.ingestion.arrived(library.put(document.key, "\f"))
    assert library.now(document).failure_code == "DocumentWithoutText"
    assert library.texts(document) == []


def test_a_new_file_while_the_old_one_is_read_wins(library: Library) -> None:
    document, news = library.upload(BOOK)

    def overwrite() -> None:
        library.ingestion.arrived(library.put(document.key, "A new edition."))

    library.reading.meanwhile[2] = overwrite
    library.ingestion.arrived(news)

    assert library.texts(document) == ["A new edition."]
    assert library.now(document).state == "ready"


def test_a_new_file_while_the_old_one_is_embedded_wins(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.embedder.script.meanwhile[1] = lambda: library.ingestion.arrived(library.put(document.key, "A new edition."))
    library.ingestion.arrived(news)
    assert library.texts(document) == ["A new edition."]
