"""Strays among documents: whatever was lost half-way is found, told by its id, and put right; what is whole is left alone."""

import io
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace

import boto3
import pytest

from chalicelib.ingest.arrival import Arrival
from chalicelib.records import Chunk, Document
from chalicelib.retriever import Indexing
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.orphans import Stray, find_strays, mend
from pai.reindex import empty_foreign_index, queue_documents

TEXT = b"Pets are allowed in the garden, and nowhere else. " * 40
LATER_S = 2 * 3600.0


@dataclass
class Library:
    """A deployment with one document that is whole."""

    parts: Parts

    def __post_init__(self) -> None:
        self.whole = self.add("whole.txt")

    def add(self, name: str, content: bytes = TEXT) -> Document:
        document = self.announce(name, content)
        self.put(document.key, content)
        self.parts.ingestion.arrived(Arrival(document.key, len(content), "01"))
        return self.row(document)

    def announce(self, name: str, content: bytes = TEXT) -> Document:
        return self.parts.documents.create("me", name, content_type="text/plain", size_bytes=len(content))

    def put(self, key: str, content: bytes = TEXT) -> None:
        self.parts.platform.files.put(key, io.BytesIO(content), content_type="text/plain")

    def index(self, document_id: str, generation: str, *, last: bool = True) -> None:
        """Put a chunk into the index by hand."""
        space = self.parts.embedder.space
        chunk = Chunk(0, 0, None, "", "stray words", 0)
        vector = array("f", [1.0, *bytes(space.dimensions - 1)])
        self.parts.retriever.replace(Indexing("me", document_id, generation, space), [chunk], [vector], last=last)

    def row(self, document: Document) -> Document:
        return self.parts.documents.row("me", document.id)

    def work(self) -> None:
        """Do what waits in the queue, as the server would."""
        for row in self.parts.documents.all("me"):
            if row.state == "waiting" and row.generation:
                self.parts.ingestion.resume("me", row.id, row.generation)

    def strays(self, later_s: float = 0.0) -> list[Stray]:
        return [*find_strays(self.parts, now=lambda: time.time() + later_s)]

    def put_right(self, later_s: float = 0.0) -> None:
        for stray in self.strays(later_s):
            mend(self.parts, stray)
        self.work()


LIBRARY = Settings(retriever="memory", embedder="hashed")
AWS = replace(
    LIBRARY,
    store="dynamodb",
    platform="aws",
    table="PAI-Conversations-dev",
    kms_key="alias/pai-dev",
    keys_secret="pai/dev/keys",
    bucket="pai-dev-documents-123456789012",
)


@pytest.fixture
def library() -> Library:
    return Library(Parts(LIBRARY))


def test_a_library_that_is_whole_has_no_strays(library: Library) -> None:
    library.add("copy.txt")  # the same bytes: it stands behind the first
    library.add("broken.pdf", b"%PDF-1.4 not one" * 10)

    assert library.strays() == []


def test_an_upload_that_is_under_way_is_no_stray(library: Library) -> None:
    library.announce("coming.txt")

    assert library.strays() == []
    assert [stray.fix for stray in library.strays(LATER_S)] == ["delete the document"]


def index_without_a_document(library: Library) -> str:
    library.index("01JAAAAAAAAAAAAAAAAAAAAAAA", "1")
    return "01JAAAAAAAAAAAAAAAAAAAAAAA"


def index_of_a_failed_document(library: Library) -> str:
    failed = library.add("broken.pdf", b"%PDF-1.4 not one" * 10)
    library.index(failed.id, "1")
    return failed.id


def unfinished_generation(library: Library) -> str:
    library.index(library.whole.id, "1", last=False)
    return library.whole.id


def ready_and_not_in_the_index(library: Library) -> str:
    library.parts.retriever.remove("me", library.whole.id)
    return library.whole.id


def file_of_a_deleted_document(library: Library) -> str:
    deleted = library.announce("gone.txt")
    library.parts.documents.delete("me", deleted.id)
    library.put(deleted.key)
    return deleted.id


def file_put_there_by_hand(library: Library) -> str:
    key = "documents/me/my lease.txt"
    library.put(key, TEXT + b"by hand")
    found = library.parts.ingestion.identify(key)
    assert found
    return found[1]


def document_without_its_file(library: Library) -> str:
    library.parts.platform.files.delete(library.whole.key)
    return library.whole.id


def copy_of_nothing(library: Library) -> str:
    copy = library.add("copy.txt")
    assert copy.same_as == library.whole.id
    library.parts.documents.delete("me", library.whole.id)
    library.parts.documents.release(library.whole)
    library.parts.retriever.remove("me", library.whole.id)
    library.parts.platform.files.delete(library.whole.key)
    return copy.id


def fingerprint_of_nothing(library: Library) -> str:
    library.parts.documents.claim(Document("01JBBBBBBBBBBBBBBBBBBBBBBB", "me", "", ""), "f" * 64)
    return "01JBBBBBBBBBBBBBBBBBBBBBBB"


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (index_without_a_document, "remove from the index"),
        (index_of_a_failed_document, "remove from the index"),
        (unfinished_generation, "index anew"),
        (ready_and_not_in_the_index, "index anew"),
        (file_of_a_deleted_document, "delete the file"),
        (file_put_there_by_hand, "make it a document"),
        (document_without_its_file, "delete the document"),
        (copy_of_nothing, "read again"),
        (fingerprint_of_nothing, "forget it"),
    ],
)
def test_a_stray_is_told_by_its_id_and_put_right(library: Library, make: Callable[[Library], str], fix: str) -> None:
    document_id = make(library)

    found = library.strays()
    library.put_right()

    assert [(stray.owner, stray.document_id, stray.fix) for stray in found] == [("me", document_id, fix)]
    assert library.strays() == []


def test_strays_on_aws_are_found_and_put_right(aws: str) -> None:
    boto3.client("s3").put_bucket_versioning(Bucket=AWS.bucket, VersioningConfiguration={"Status": "Enabled"})
    queue = boto3.client("sqs").create_queue(QueueName="orphans")["QueueUrl"]
    library = Library(Parts(replace(AWS, queue_url=queue)))
    indexed, by_hand = index_without_a_document(library), file_put_there_by_hand(library)
    hidden = file_of_a_deleted_document(library)
    boto3.client("s3").delete_object(Bucket=AWS.bucket, Key=f"documents/me/{hidden}.txt")  # an older version is left

    found = library.strays()
    library.put_right()

    assert {stray.document_id for stray in found} == {indexed, by_hand, hidden}
    assert library.strays() == []


def test_a_file_of_nobody_is_told_by_its_key(library: Library) -> None:
    library.put("documents/stray.txt")

    assert [stray.key for stray in library.strays()] == ["documents/stray.txt"]
    library.put_right()
    assert library.strays() == []


def test_a_document_that_got_stuck_is_read_again(library: Library) -> None:
    stuck = library.announce("stuck.txt", TEXT + b"stuck")
    library.put(stuck.key, TEXT + b"stuck")  # its message was lost

    assert library.strays() == []
    library.put_right(LATER_S)

    assert library.row(stuck).state == "ready"


def test_what_settled_itself_meanwhile_is_left_alone(library: Library) -> None:
    mend(library.parts, Stray("me", "01JAAAAAAAAAAAAAAAAAAAAAAA", "ready, and not in the index", "index anew"))

    assert library.strays() == []


# Indexing anew


def test_all_documents_but_failed_ones_and_copies_are_indexed_anew(library: Library) -> None:
    library.add("copy.txt")
    library.add("broken.pdf", b"%PDF-1.4 not one" * 10)
    before = library.whole.live_generation

    assert queue_documents(library.parts, everything=True) == 1
    library.work()

    assert library.row(library.whole).state == "ready"
    assert library.row(library.whole).live_generation != before
    assert library.strays() == []


def test_only_what_the_index_lacks_is_indexed_unless_all_is_wanted(library: Library) -> None:
    other = library.add("other.txt", TEXT + b"other")
    library.parts.retriever.remove("me", other.id)

    assert queue_documents(library.parts, everything=False) == 1
    library.work()

    assert library.strays() == []


def test_a_document_that_is_under_way_is_not_begun_anew(library: Library) -> None:
    library.announce("coming.txt")

    assert queue_documents(library.parts, everything=False) == 0


def test_an_index_of_the_same_embedder_is_not_emptied(library: Library) -> None:
    assert not empty_foreign_index(library.parts)
    assert library.strays() == []
