"""Documents as their owners add them, read in a real child process: text, pages and headings, or a reason; never a hang."""

import io
import sys
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import pytest

from chalicelib.errors import (
    DocumentCorrupt,
    DocumentEncrypted,
    DocumentError,
    DocumentTooLarge,
    DocumentTooSlow,
    DocumentUnsupported,
    InternalError,
)
from chalicelib.ingest.read import Limits, reading, running
from chalicelib.ingest.readers.contract import Task
from chalicelib.records import Part

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def zipped(files: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            file.writestr(name, text)
    return made.getvalue()


def docx(body: str) -> bytes:
    return zipped(
        {
            "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
            "_rels/.rels": "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
            "<Relationship Id='r1' Type='http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument'"
            " Target='word/document.xml'/></Relationships>",
            "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>",
        }
    )


def pdf(*pages: str) -> bytes:
    """A PDF with one line of text on each page; an empty string is an empty page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >>"
            f" /Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    made, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(made))
        made += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>"
    return made + f"{trailer}\nstartxref\n{len(made)}\n%%EOF\n".encode()


def read(
    folder: Path, name: str, data: bytes, *, first: int = 0, limits: Limits | None = None, content_type: str = ""
) -> list[Part]:
    path = folder / "file"
    path.write_bytes(data)
    with reading(path, name, content_type, first=first, limits=limits or Limits()) as found:
        return list(found)


def text_of(parts: Sequence[Part]) -> str:
    return "\n".join(block.text for part in parts for block in part.blocks)


def test_pdf_gives_each_page_with_its_number_and_an_empty_page_as_one_without_blocks(tmp_path: Path) -> None:
    parts = read(tmp_path, "lease.pdf", pdf("No pets are allowed.", "", "Rent is due monthly."))

    assert [(part.index, part.page) for part in parts] == [(0, 1), (1, 2), (2, 3)]
    assert [text_of([part]) for part in parts] == ["No pets are allowed.", "", "Rent is due monthly."]


def test_reading_goes_on_at_the_part_it_is_asked_for(tmp_path: Path) -> None:
    parts = read(tmp_path, "a.pdf", pdf("one", "two", "three"), first=2)

    assert [(part.index, part.page, text_of([part])) for part in parts] == [(2, 3, "three")]


def test_title_and_number_of_parts_are_known_when_the_document_is_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"<html><head><title>Our house</title></head><body><p>It has a garden.</p></body></html>")

    with reading(path, "house.html", "text/html") as found:
        assert (found.title, found.pages, found.parts) == ("Our house", None, 1)


def test_word_document_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    body = (
        '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Pets</w:t></w:r></w:p>'
        "<w:p><w:r><w:t>Cats are fine.</w:t></w:r><w:del><w:r><w:delText>Dogs too.</w:delText></w:r></w:del></w:p>"
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>Rent</w:t></w:r></w:p></w:tc>"
        "<w:tc><w:p><w:r><w:t>900</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    )
    (part,) = read(tmp_path, "lease.docx", docx(body))

    assert [(block.level, block.text) for block in part.blocks] == [(1, "Pets"), (0, "Cats are fine."), (0, "Rent | 900")]


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.md", b"# Pets\n\nCats *are* fine.\n\n- one\n", "Pets\nCats are fine.\n\u2022 one"),
        ("a.txt", "Grüße aus Köln, schöne Straßen und Bäume".encode("cp1252"), "Grüße aus Köln, schöne Straßen und Bäume"),
        ("a.txt", "Grüße".encode("utf-16"), "Grüße"),
        ("a.txt", b"no\x00thing \x1bhidden", "nothing hidden"),
        ("a.csv", b"name;rent\nAda;900\n", "name | rent\nAda | 900"),
        ("a.rtf", rb"{\rtf1\ansi Cats are fine.\par}", "Cats are fine."),
        ("a.html", b"<p>Cats<script>bad()</script> are<br>fine.</p>", "Cats are\nfine."),
        ("a.pdf", b"<!DOCTYPE html><p>Cats are fine.</p>", "Cats are fine."),
    ],
)
def test_text_of_each_format_is_read(tmp_path: Path, name: str, data: bytes, text: str) -> None:
    if name == "a.txt" and b"\x00" in data and not data.startswith(b"\xff\xfe"):
        with pytest.raises(DocumentUnsupported):
            read(tmp_path, name, data)
        data = data.replace(b"\x00", b"")
    assert text_of(read(tmp_path, name, data)) == text


def test_mail_names_who_wrote_and_what_was_attached(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "Your lease", "landlord@example.org"
    mail.set_content("No pets, please.")
    mail.add_attachment(b"...", maintype="application", subtype="pdf", filename="lease.pdf")

    text = text_of(read(tmp_path, "a.eml", mail.as_bytes()))

    assert text == "Your lease\nFrom: landlord@example.org\nNo pets, please.\nAttachment: lease.pdf"


def test_part_of_a_long_text_knows_the_headings_it_stands_under(tmp_path: Path) -> None:
    chapter = "\n\n".join(["A sentence that fills the chapter."] * 1000)
    parts = read(tmp_path, "book.md", f"# Book\n\n## One\n\n{chapter}\n\n## Two\n\n{chapter}".encode())

    assert len(parts) > 2
    assert (parts[0].headings, parts[1].headings, parts[-1].headings) == ((), ("Book", "One"), ("Book", "Two"))
    assert max(len(text_of([part])) for part in parts) < 25_000
    assert read(tmp_path, "book.md", f"# Book\n\n## One\n\n{chapter}\n\n## Two\n\n{chapter}".encode()) == parts


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("a.pdf", b"%PDF-1.7\nnothing else", DocumentCorrupt),
        ("a.pdf", b"", DocumentCorrupt),
        ("a.docx", docx("")[:300], DocumentCorrupt),
        ("a.docx", b"this is no Word document", DocumentCorrupt),
        ("a.zip", zipped({"a.txt": "text"}), DocumentUnsupported),
        ("a.bin", b"\x7fELF\x00\x00\x01", DocumentUnsupported),
    ],
)
def test_file_that_can_not_be_read_says_why(tmp_path: Path, name: str, data: bytes, error: type[DocumentError]) -> None:
    with pytest.raises(error):
        read(tmp_path, name, data)


def test_locked_open_document_wants_its_password(tmp_path: Path) -> None:
    manifest = (
        '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:file-entry><m:encryption-data/>'
        "</m:file-entry></m:manifest>"
    )
    files = {"mimetype": "application/vnd.oasis.opendocument.text", "META-INF/manifest.xml": manifest, "content.xml": "?"}

    with pytest.raises(DocumentEncrypted):
        read(tmp_path, "a.odt", zipped(files))


def test_zip_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLarge):
        read(tmp_path, "a.docx", docx("<w:p/>" + " " * 3_000_000), limits=Limits(unfolded_mb=2))


def test_document_that_wants_more_memory_than_it_may_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLarge):
        read(tmp_path, "a.docx", docx("<w:p/>" * 400_000), limits=Limits(memory_mb=200))


def test_document_with_too_much_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLarge):
        read(tmp_path, "a.txt", b"word " * 10_000, limits=Limits(characters=1000))


def test_document_that_takes_too_much_computing_is_ended(tmp_path: Path) -> None:
    with pytest.raises(DocumentTooSlow):
        read(tmp_path, "a.docx", docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>" * 150_000), limits=Limits(cpu_seconds=0))


BROKEN: list[tuple[str, type[Exception]]] = [
    ("import os; os.kill(os.getpid(), 11)", DocumentCorrupt),
    ("import os; os.kill(os.getpid(), 9)", DocumentTooLarge),
    ("import os; os.abort()", DocumentTooLarge),
    ("import time; time.sleep(60)", DocumentTooSlow),
    ("while True: print('x' * 1000, end='')", DocumentTooLarge),
    ("import sys\nfor _ in range(10_000): print('x' * 1000, file=sys.stderr)\nsys.exit(3)", InternalError),
]


@pytest.mark.parametrize(("program", "error"), BROKEN)
def test_reader_that_goes_wrong_in_any_way_is_ended_with_a_reason(program: str, error: type[Exception]) -> None:
    task = Task("/nowhere", "a", "", 0, Limits(seconds=1.5, part_characters=1000), "")

    with pytest.raises(error), running([sys.executable, "-c", program], task):
        pass
