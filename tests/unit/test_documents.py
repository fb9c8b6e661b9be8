"""The registry of documents: rows that say nothing of their names, and belong to one owner."""

import pytest

from chalicelib.documents import GONE_S, UNREADABLE, file_key, unchanged
from chalicelib.errors import DocumentNotFound
from chalicelib.records import Document
from tests.unit.ingest_world import Library


@pytest.fixture
def library() -> Library:
    return Library()


def test_a_row_comes_back_as_it_was_stored(library: Library) -> None:
    made = library.documents.create("me", "lease 2023.pdf", content_type="application/pdf", size_bytes=12)
    changed = library.documents.change(made, title="Lease", pages=3, skipped_pages=(2, 3), state="reading")
    assert changed == library.documents.row("me", made.id)
    assert (changed.name, changed.title, changed.pages, changed.skipped_pages) == ("lease 2023.pdf", "Lease", 3, (2, 3))


def test_a_field_can_be_emptied_again(library: Library) -> None:
    made = library.documents.create("me", "lease.pdf")
    full = library.documents.change(made, title="Lease", pages=3, skipped_pages=(1,), failure_page=2)
    assert full is not None
    empty = library.documents.change(full, title="", pages=None, skipped_pages=(), failure_page=None)
    assert empty is not None
    assert (empty.title, empty.pages, empty.skipped_pages, empty.failure_page) == ("", None, (), None)


def test_a_change_counts_only_while_the_row_is_as_it_was_seen(library: Library) -> None:
    seen = library.documents.create("me", "lease.pdf")
    assert library.documents.change(seen, unchanged(seen, "generation", "state"), generation="one")
    assert library.documents.change(seen, unchanged(seen, "generation"), generation="two") is None
    assert library.documents.row("me", seen.id).generation == "one"


def test_a_deleted_row_is_not_revived_by_a_change(library: Library) -> None:
    document = library.documents.create("me", "lease.pdf")
    library.documents.delete("me", document.id)
    assert library.documents.change(document, state="ready") is None
    with pytest.raises(DocumentNotFound):
        library.documents.get("me", document.id)


def test_a_deletion_is_remembered_as_long_as_news_of_an_upload_can_be_on_its_way(library: Library) -> None:
    document = library.documents.create("me", "lease.pdf")
    library.documents.delete("me", document.id)
    assert library.documents.was_deleted("me", document.id)
    assert not library.documents.was_deleted("you", document.id)
    library.clock.forward(GONE_S + 1)
    assert not library.documents.was_deleted("me", document.id)


def test_lists_are_newest_first_in_pages_and_ones_own(library: Library) -> None:
    made = []
    for number in range(5):
        library.clock.forward(1)
        made.append(library.documents.create("me", f"{number}.pdf"))
    library.documents.create("you", "yours.pdf")

    first = library.documents.list("me", limit=3)
    rest = library.documents.list("me", limit=3, after=first.cursor or "")

    assert [document.name for document in first.documents] == ["4.pdf", "3.pdf", "2.pdf"]
    assert [document.name for document in rest.documents] == ["1.pdf", "0.pdf"]
    assert rest.cursor is None


def test_another_owners_id_leads_nowhere(library: Library) -> None:
    document = library.documents.create("me", "lease.pdf")
    with pytest.raises(DocumentNotFound):
        library.documents.get("you", document.id)
    assert library.documents.names("you", [document.id]) == {}


def test_the_store_holds_no_name_and_no_title(library: Library) -> None:
    document = library.documents.create("me", "divorce papers.pdf")
    library.documents.change(document, title="Settlement")
    stored = repr(library.store.get("D#me", document.id))
    assert "divorce" not in stored
    assert "Settlement" not in stored


def test_a_name_that_does_not_open_leaves_the_list_readable(library: Library) -> None:
    document = library.documents.create("me", "lease.pdf")
    library.store.update("D#me", document.id, set={"name": b"\x01" + bytes(40)})
    [listed] = library.documents.list("me").documents
    assert listed.name == UNREADABLE


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.PDF", ".pdf"), ("a.tar.gz", ".gz"), ("a", ""), ("a.p/df", ""), ("a.ärger", ""), ("a." + "x" * 20, ""), (".pdf", "")],
)
def test_a_files_key_says_only_its_kind(name: str, suffix: str) -> None:
    assert file_key("me", "01ID", name) == f"documents/me/01ID{suffix}"


def test_one_document_stands_for_equal_bytes(library: Library) -> None:
    one, two = library.documents.create("me", "1.pdf"), library.documents.create("me", "2.pdf")
    assert library.documents.claim(one, "print") == one.id
    assert library.documents.claim(two, "print") == one.id
    assert library.documents.claim(two, "print", instead_of=one.id) == two.id
    assert library.documents.claim(one, "print", instead_of=one.id) == two.id


def test_only_who_stands_for_the_bytes_lets_go_of_them(library: Library) -> None:
    def with_print(name: str) -> Document:
        changed = library.documents.change(library.documents.create("me", name), fingerprint="print")
        assert changed is not None
        return changed

    one, two = with_print("1.pdf"), with_print("2.pdf")
    library.documents.claim(one, "print")
    library.documents.release(two)
    assert library.documents.claim(two, "print") == one.id
    library.documents.release(one)
    assert library.documents.claim(two, "print") == two.id


def test_a_copy_is_shown_as_far_along_as_the_one_it_is_a_copy_of(library: Library) -> None:
    original, copy = library.documents.create("me", "1.pdf"), library.documents.create("me", "2.pdf")
    library.documents.change(original, state="failed", failure="It is damaged.", pages=3)
    library.documents.change(copy, state="ready", same_as=original.id)

    shown = library.documents.get("me", copy.id)
    assert (shown.name, shown.state, shown.failure, shown.pages) == ("2.pdf", "failed", "It is damaged.", 3)
    assert [row.id for row in library.documents.copies(original)] == [copy.id]


def test_a_copy_of_what_is_gone_says_what_to_do(library: Library) -> None:
    copy = library.documents.create("me", "2.pdf")
    library.documents.change(copy, state="ready", same_as="gone")
    shown = library.documents.get("me", copy.id)
    assert (shown.state, shown.failure_code) == ("failed", "DocumentLost")
    assert "Retry" in shown.failure


def test_equal_bytes_of_two_owners_have_nothing_in_common(library: Library) -> None:
    assert library.documents.fingerprint("me", "00") == library.documents.fingerprint("me", "00")
    assert library.documents.fingerprint("me", "00") != library.documents.fingerprint("you", "00")
