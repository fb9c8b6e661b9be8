"""A document's way into the index and out of it: what its owner sees, whatever goes wrong on the way."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from errno import ENOSPC
from threading import Barrier
from typing import Any

import pytest
from ulid import ULID

from chalicelib.documents import Documents
from chalicelib.errors import (
    DocumentBusy,
    DocumentNotFound,
    EmbedderChanged,
    EmbedderUnavailable,
    FileNotFound,
    FilesUnavailable,
    LibraryWaking,
    QueueUnavailable,
    StorageFull,
)
from chalicelib.ingest.index import LEASE_S, Arrival, Ingestion
from chalicelib.records import Document
from chalicelib.settings import Settings
from chalicelib.store import Item, When
from tests.unit.ingest_world import Killed, Library, ListQueue

PAGES = [f"Page {number} speaks of {word}s and of nothing else." for number, word in enumerate(("cat", "dog", "owl"), 1)]
BOOK = "\f".join(PAGES)


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


def kill(library: Library, arrival: Arrival) -> None:
    """Let news of a file arrive, and the process that reads it be killed on the way."""
    with pytest.raises(Killed):
        library.ingestion.arrived(arrival)


# The plain way


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


# Files that can't be


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


# News twice, late, out of order, of strange keys


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


# Leases, and processes that are killed


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


# What PAI needs is down


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


# The same bytes


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
    original, news = slow.upload(BOOK)
    copy, more = slow.upload(BOOK, "copy.txt")
    slow.ingestion.arrived(news)
    slow.ingestion.arrived(more)
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
    original, news = library.upload(BOOK)
    copy, more = library.upload(BOOK, "copy.txt")
    library.ingestion.arrived(news)
    library.ingestion.arrived(more)

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
    original, news = library.upload(BOOK)
    copy, more = library.upload(BOOK, "copy.txt")
    library.ingestion.arrived(news)
    library.ingestion.arrived(more)

    library.ingestion.arrived(library.put(original.key, "A new edition."))
    library.deliver()

    assert library.texts(original) == ["A new edition."]
    assert (library.now(copy).same_as, library.texts(copy)) == ("", PAGES)


def test_a_copy_that_is_overwritten_has_a_text_of_its_own(library: Library) -> None:
    original, news = library.upload(BOOK)
    copy, more = library.upload(BOOK, "copy.txt")
    library.ingestion.arrived(news)
    library.ingestion.arrived(more)

    library.ingestion.arrived(library.put(copy.key, "Something else."))

    assert (library.now(copy).same_as, library.texts(copy)) == ("", ["Something else."])
    assert library.texts(original) == PAGES


# Removing and deleting


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


# Trying again


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


def test_a_copy_of_one_that_failed_can_be_tried_again_by_itself(library: Library) -> None:
    original, news = library.upload(BOOK)
    copy, more = library.upload(BOOK, "copy.txt")
    library.ingestion.arrived(news)
    library.ingestion.arrived(more)
    library.documents.change(library.now(original), state="failed")
    assert library.now(copy).state == "failed"

    library.ingestion.retry("me", copy.id)
    library.deliver()

    assert (library.now(copy).state, library.texts(copy)) == ("ready", PAGES)


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


# A registry that changes under our hands


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


def test_a_registry_row_says_nothing_of_the_name(library: Library) -> None:
    document, news = library.upload(BOOK, "divorce papers.txt")
    library.ingestion.arrived(news)
    item: Item | None = library.store.get("D#me", document.id)
    assert item is not None
    assert "divorce" not in repr(item)


def test_the_language_is_found_anew_with_a_new_file(library: Library) -> None:
    german = "Der Mieter darf mit Zustimmung des Vermieters einen kleinen Hund halten, und die Miete ist am dritten fällig. "
    english = "The tenant may keep a small dog with the consent of the landlord, and the rent is due on the third. "
    key = "documents/me/lease.txt"
    library.finish(library.put(key, german * 5))
    [document] = library.documents.all("me")
    before = library.now(document).language

    library.finish(library.put(key, english * 5))

    assert (before, library.now(document).language) == ("de", "en")
