"""The same bytes in several documents are read once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from chalicelib.ingest.arrival import Arrival
from chalicelib.records import Document
from tests.unit.ingest_world import BOOK, PAGES, Library


def uploaded_twice(library: Library) -> tuple[Document, Document]:
    """Upload the same bytes under two names, the second after the first is there."""
    original, news = library.upload(BOOK)
    copy, more = library.upload(BOOK, "copy.txt")
    library.ingestion.arrived(news)
    library.ingestion.arrived(more)
    return original, copy


def test_ten_uploads_of_one_file_at_once_are_one_document_with_nine_other_names(library: Library) -> None:
    uploads = [library.upload(BOOK, f"copy {number}.txt") for number in range(10)]
    start = Barrier(10)

    def arrive(news: Arrival) -> None:
        start.wait()
        library.ingestion.arrived(news)

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(arrive, [news for _, news in uploads]))
    library.deliver()

    now = [library.now(document) for document, _ in uploads]
    assert [document.state for document in now] == ["ready"] * 10
    assert {document.name for document in now} == {f"copy {number}.txt" for number in range(10)}
    [original] = [document for document in now if not document.same_as]
    assert {document.same_as for document in now} == {"", original.id}
    assert {document.chunks for document in now} == {3}
    assert library.embedder.script.calls == 1
    assert [indexed.document_id for indexed in library.retriever.inventory()] == [original.id]


def test_another_owners_same_bytes_are_a_document_of_their_own(library: Library) -> None:
    mine, news = library.upload(BOOK)
    yours, more = library.upload(BOOK, owner="you")
    library.ingestion.arrived(news)
    library.ingestion.arrived(more)
    assert (library.now(yours).same_as, library.texts(yours)) == ("", PAGES)
    assert library.now(mine).fingerprint != library.now(yours).fingerprint


def test_a_copy_shows_how_far_the_one_that_is_read_has_come(slow: Library) -> None:
    original, copy = uploaded_twice(slow)
    assert (slow.now(copy).state, slow.now(copy).parts_done, slow.now(copy).same_as) == ("reading", 1, original.id)
    slow.deliver()
    assert slow.now(copy).state == "ready"
    assert [document.state for document in slow.documents.list("me").documents] == ["ready", "ready"]


def test_a_copy_of_one_that_failed_is_tried_by_itself(library: Library) -> None:
    original, news = library.upload(BOOK)
    library.ingestion.arrived(news)
    library.documents.change(library.now(original), state="failed")
    copy, more = library.upload(BOOK, "copy.txt")
    library.ingestion.arrived(more)
    assert (library.now(copy).state, library.now(copy).same_as, library.texts(copy)) == ("ready", "", PAGES)


def test_deleting_a_copy_deletes_just_the_copy(library: Library) -> None:
    original, copy = uploaded_twice(library)

    receipt = library.ingestion.delete("me", copy.id)

    assert (receipt.versions, receipt.chunks, receipt.aliases, receipt.verified) == (1, 0, 0, True)
    assert (library.now(original).state, library.texts(original)) == ("ready", PAGES)


def test_when_the_one_that_was_read_is_deleted_its_copies_are_read_by_themselves(library: Library) -> None:
    original, news = library.upload(BOOK)
    copies = [library.upload(BOOK, f"copy {number}.txt") for number in range(3)]
    for arrival in (news, *(more for _, more in copies)):
        library.ingestion.arrived(arrival)

    receipt = library.ingestion.delete("me", original.id)
    assert (receipt.aliases, receipt.verified) == (3, True)
    library.deliver()

    now = [library.now(copy) for copy, _ in copies]
    assert [document.state for document in now] == ["ready"] * 3
    assert len({document.same_as for document in now}) == 2
    assert library.embedder.script.calls == 2


def test_copies_keep_the_text_when_the_one_that_was_read_is_overwritten(library: Library) -> None:
    original, copy = uploaded_twice(library)

    library.ingestion.arrived(library.put(original.key, "A new edition."))
    library.deliver()

    assert library.texts(original) == ["A new edition."]
    assert (library.now(copy).same_as, library.texts(copy)) == ("", PAGES)


def test_a_copy_that_is_overwritten_has_a_text_of_its_own(library: Library) -> None:
    original, copy = uploaded_twice(library)

    library.ingestion.arrived(library.put(copy.key, "Something else."))

    assert (library.now(copy).same_as, library.texts(copy)) == ("", ["Something else."])
    assert library.texts(original) == PAGES


def test_a_copy_of_one_that_failed_can_be_tried_again_by_itself(library: Library) -> None:
    original, copy = uploaded_twice(library)
    library.documents.change(library.now(original), state="failed")
    assert library.now(copy).state == "failed"

    library.ingestion.retry("me", copy.id)
    library.deliver()

    assert (library.now(copy).state, library.texts(copy)) == ("ready", PAGES)
