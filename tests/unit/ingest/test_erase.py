"""A document's way out of the index, whatever is under way."""

import pytest

from chalicelib.errors import DocumentNotFound, FileNotFound
from tests.unit.ingest_world import BOOK, PAGES, Killed, Library


def test_a_file_that_vanished_takes_its_document_with_it(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    library.files.delete(document.key)
    library.ingestion.removed(library.news(document.key))
    with pytest.raises(DocumentNotFound):
        library.now(document)
    assert not list(library.retriever.inventory())


def test_a_file_that_came_after_one_vanished_stays(library: Library) -> None:
    document, _ = library.upload(BOOK)
    gone = library.news(document.key)
    library.ingestion.arrived(library.put(document.key, "A new edition."))
    library.ingestion.removed(gone)
    assert library.texts(document) == ["A new edition."]


def test_a_file_that_comes_again_after_it_vanished_is_a_document_again(library: Library) -> None:
    key = "documents/me/lease.txt"
    library.ingestion.arrived(library.put(key, BOOK))
    library.files.delete(key)
    library.ingestion.removed(library.news(key))
    library.ingestion.arrived(library.put(key, "A new lease."))
    [document] = library.documents.all("me")
    assert library.texts(document) == ["A new lease."]


def test_deleting_says_what_is_gone(library: Library) -> None:
    document, news = library.upload(BOOK, "animals.txt")
    library.ingestion.arrived(news)

    receipt = library.ingestion.delete("me", document.id)

    assert (receipt.document_id, receipt.name) == (document.id, "animals.txt")
    assert (receipt.versions, receipt.chunks, receipt.aliases, receipt.verified) == (1, 3, 0, True)
    assert receipt.postings > 3
    with pytest.raises(FileNotFound):
        library.files.open(document.key)
    assert not list(library.retriever.inventory())
    assert not library.store.query("H#me").items
    with pytest.raises(DocumentNotFound):
        library.ingestion.delete("me", document.id)


def test_another_owners_document_can_not_be_deleted_or_retried(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    with pytest.raises(DocumentNotFound):
        library.ingestion.delete("you", document.id)
    with pytest.raises(DocumentNotFound):
        library.ingestion.retry("you", document.id)
    assert library.texts(document) == PAGES


def test_a_deletion_that_was_cut_short_says_so_and_can_be_repeated(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    library.retriever.removing.before[1] = Killed()
    with pytest.raises(Killed):
        library.ingestion.delete("me", document.id)
    assert library.now(document).state == "failed"
    assert "Delete it again" in library.now(document).failure

    receipt = library.ingestion.delete("me", document.id)

    assert (receipt.versions, receipt.chunks, receipt.verified) == (0, 3, True)


@pytest.mark.parametrize("page", [1, 2, 3])
def test_deleting_while_it_is_read_leaves_nothing_behind(slow: Library, page: int) -> None:
    document, news = slow.upload(BOOK)
    slow.embedder.script.meanwhile[page] = lambda: slow.ingestion.delete("me", document.id)

    slow.ingestion.arrived(news)
    slow.deliver()

    assert not list(slow.retriever.inventory())
    assert list(slow.documents.all("me")) == []


def test_deleting_at_the_last_moment_leaves_nothing_behind(library: Library) -> None:
    document, news = library.upload(BOOK)
    library.retriever.script.meanwhile[1] = lambda: library.ingestion.delete("me", document.id)
    library.ingestion.arrived(news)
    assert not list(library.retriever.inventory())
    assert list(library.documents.all("me")) == []


def test_an_upload_that_arrives_after_its_document_was_deleted_is_deleted_too(library: Library) -> None:
    document = library.documents.create("me", "notes.txt", size_bytes=1000)
    library.ingestion.delete("me", document.id)

    library.ingestion.arrived(library.put(document.key, BOOK))

    assert list(library.documents.all("me")) == []
    with pytest.raises(FileNotFound):
        library.files.open(document.key)
