"""What `pai docs` does before it asks a server: which files are meant, what is remembered of them, what changed."""

import os
import time
from pathlib import Path

import click
import pytest

from pai.documents.finding import File, Found, find_files
from pai.documents.kinds import content_type
from pai.documents.looking import age, document_name, size
from pai.documents.remembered import Sent, remembered
from pai.documents.watching import Watch
from pai.terminal.highlight import word_pattern


def names(found: Found) -> list[str]:
    return [file.path.name for file in found.files]


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")


# Which files are meant


def test_a_folder_means_every_file_in_it_that_pai_reads(tmp_path: Path) -> None:
    write(tmp_path, "b.pdf", "a.md", "deep/er/c.txt", ".hidden.txt", ".git/config.txt", "photo.jpg", "x.JPG", "noname")

    found = find_files([tmp_path])

    assert names(found) == ["a.md", "b.pdf", "c.txt"]
    assert found.skipped() == "Passed over: 2 hidden, 3 of a kind that PAI does not read (without a suffix, .jpg)."


def test_a_suffix_counts_in_capitals_too(tmp_path: Path) -> None:
    write(tmp_path, "LEASE.PDF")

    assert [file.content_type for file in find_files([tmp_path]).files] == ["application/pdf"]


def test_a_glob_means_what_fits_it(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "deep/b.md", "deep/c.txt")

    assert names(find_files([tmp_path / "**" / "*.md"])) == ["a.md", "b.md"]


def test_a_file_that_is_called_like_a_glob_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, "[draft] a?.md", "d.md")

    assert names(find_files([tmp_path / "[draft] a?.md"])) == ["[draft] a?.md"]


def test_a_named_file_is_taken_though_hidden_or_oddly_called(tmp_path: Path) -> None:
    write(tmp_path, ".notes.md", "README")

    found = find_files([tmp_path / ".notes.md", tmp_path / "README"])

    assert [file.content_type for file in found.files] == ["text/markdown", "text/plain"]


def test_a_named_file_that_is_no_text_has_no_kind(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0")

    assert [file.content_type for file in find_files([tmp_path / "program"]).files] == [""]


def test_what_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    for missing in ("nothing.pdf", "*.pdf"):
        with pytest.raises(click.UsageError, match="There is no file or folder"):
            find_files([tmp_path / missing])


def test_links_in_a_circle_end_and_nothing_is_taken_twice(tmp_path: Path) -> None:
    write(tmp_path, "papers/a.md")
    (tmp_path / "papers" / "up").symlink_to(tmp_path)
    (tmp_path / "papers" / "again.md").symlink_to(tmp_path / "papers" / "a.md")
    (tmp_path / "papers" / "self.md").symlink_to(tmp_path / "papers" / "self.md")

    found = find_files([tmp_path, tmp_path / "papers", tmp_path / "papers" / "a.md"])

    assert len(found.files) == 1
    assert [path.name for path, _ in found.unreadable] == ["self.md"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    write(tmp_path, "closed/a.md", "b.md")
    (tmp_path / "closed").chmod(0)
    try:
        found = find_files([tmp_path])
    finally:
        (tmp_path / "closed").chmod(0o700)

    assert names(found) == ["b.md"]
    assert "1 unreadable" in found.skipped()


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.md")

    assert names(find_files([tmp_path])) == []


def test_a_name_that_is_no_unicode_still_names_a_document(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfc\xdfe\x1b[2J.txt"))
    path.write_text("text")

    [file] = find_files([tmp_path]).files

    assert document_name(file.path) == "gr��e�[2J.txt"


def test_a_name_that_was_taken_apart_is_put_together() -> None:
    assert document_name(Path("Gru\u0308ße.txt")) == "Grüße.txt"


def test_kinds_go_by_the_end_of_the_name() -> None:
    assert content_type("a.tar.md") == "text/markdown"
    assert content_type("md") == content_type(".md") == content_type("a.zip") == ""


# What is remembered

HERE, THERE = "http://127.0.0.1:8000", "https://x.amazonaws.com/api"


def test_what_was_sent_is_remembered_for_its_address_alone(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"/home/anna/gr\xfc\xdfe.txt"))
    sent = Sent("D1", 12, 34, "ab", ("D0",))

    with remembered(tmp_path, HERE) as known:
        known.put(odd, sent)
    with remembered(tmp_path, HERE) as known:
        assert known.get(odd) == sent
        assert known.paths("D1") == {odd}
    with remembered(tmp_path, THERE) as known:
        assert known.get(odd) is None


def test_a_deleted_document_is_forgotten(tmp_path: Path) -> None:
    with remembered(tmp_path, HERE) as known:
        known.put(Path("/a"), Sent("D1", 1, 1, "ab"))
        known.put(Path("/b"), Sent("D2", 1, 1, "ab"))
        known.forget(["D1"])
        known.forget_path(Path("/b"))
        assert (known.get(Path("/a")), known.get(Path("/b"))) == (None, None)


def test_the_memory_is_for_its_owner_alone(tmp_path: Path) -> None:
    with remembered(tmp_path / "settings", HERE):
        assert (tmp_path / "settings" / "sent.sqlite3").stat().st_mode & 0o777 == 0o600


def test_a_damaged_memory_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "sent.sqlite3").write_bytes(b"junk" * 1000)

    with pytest.raises(click.ClickException, match="move it away"), remembered(tmp_path, HERE):
        pass


# What changed while somebody watches


def seen(**files: int) -> dict[Path, File]:
    return {Path(name): File(Path(name), size_bytes, 1, "text/plain") for name, size_bytes in files.items()}


def test_a_file_that_comes_or_changes_counts_when_it_has_settled() -> None:
    watch = Watch(seen(a=1, b=1))

    assert not watch.compare(seen(a=2, b=1, c=1)).fresh
    assert not watch.compare(seen(a=3, b=1, c=1)).fresh[1:]
    assert [file.path.name for file in watch.compare(seen(a=3, b=1, c=1)).fresh] == ["a", "c"]


def test_a_file_counts_as_gone_when_it_was_missed_twice() -> None:
    watch = Watch(seen(a=1, b=1))

    assert not watch.compare(seen(b=1)).gone
    assert watch.compare(seen(b=1)).gone == [Path("a")]


def test_a_file_that_was_replaced_between_two_looks_is_not_gone() -> None:
    watch = Watch(seen(a=1, b=1))

    watch.compare(seen(b=1))
    assert not watch.compare(seen(a=1, b=1)).gone


def test_a_disk_that_was_taken_out_deletes_nothing() -> None:
    watch = Watch(seen(a=1, b=1))

    for _ in range(3):
        assert not watch.compare({}).gone


def test_the_only_file_may_go() -> None:
    watch = Watch(seen(a=1))

    watch.compare({})
    assert watch.compare({}).gone == [Path("a")]


# How it is told


def test_words_of_a_question_are_found_in_other_forms() -> None:
    pattern = word_pattern("Are pets (or a cat) allowed?")
    assert pattern
    text = "A pet is allowed; a petition is not. PETS are disallowed."
    assert [text[slice(*found.span())] for found in pattern.finditer(text)] == ["pet", "allowed", "PETS"]


def test_short_words_are_looked_for_when_there_are_no_others() -> None:
    pattern = word_pattern("the cat")
    assert pattern
    assert pattern.search("a cat")
    assert word_pattern("?!") is None


@pytest.mark.parametrize(
    ("bytes_", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (50_000_000, "50 MB"), (3 * 10**9, "3 GB")]
)
def test_sizes_are_for_people(bytes_: int, shown: str) -> None:
    assert size(bytes_) == shown


@pytest.mark.parametrize(("ago_s", "shown"), [(1, "now"), (90, "2 min"), (7200, "2 h"), (3 * 86_400, "3 d")])
def test_ages_are_for_people(ago_s: float, shown: str) -> None:
    then = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - ago_s))
    assert age(then) == shown
    assert age("?") == ""
