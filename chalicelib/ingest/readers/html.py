"""HTML, and what other formats become on their way: docx, Markdown, chapters of a book, mails."""

import re
from collections.abc import Iterator
from pathlib import Path

from selectolax.lexbor import LexborHTMLParser, LexborNode

from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.encoding import decode
from chalicelib.ingest.readers.stretches import parts_of, stretched
from chalicelib.records import Block

HEADINGS = {f"h{level}": level for level in range(1, 7)}
UNSEEN = {"script", "style", "template", "noscript", "head", "svg", "iframe", "object", "select", "button", "-comment"}
BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "li", "main", "nav", "ol", "p", "pre",
    "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "title", "tr", "ul", *HEADINGS,
}  # fmt: skip
CELL = " | "
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", re.I)
_SPACE = re.compile(r"\s+")


def open_document(task: Task) -> Opened:
    title, blocks = read_html(decode_html(Path(task.path).read_bytes()))
    return Opened.of(parts_of(stretched(blocks)), title)


def decode_html(data: bytes) -> str:
    """Decode a page by the encoding it names, if it holds."""
    named = _CHARSET.search(data[:4096])
    return decode(data, named.group(1).decode("ascii", "replace") if named else "")


def read_html(text: str) -> tuple[str, list[Block]]:
    """Return a page's title and its blocks."""
    tree = LexborHTMLParser(text)
    title = tree.css_first("head > title")
    blocks = list(_Walk().blocks(tree.root)) if tree.root else []
    return (title.text() if title else ""), blocks


class _Walk:
    """A walk over a tree, without recursion: pages may be nested as deep as their authors like."""

    def __init__(self) -> None:
        self._text = ""
        self._level = 0
        self._preformatted = 0
        self._rows = 0
        """How many rows of data tables are open: in them cells go beside each other."""

    def blocks(self, root: LexborNode) -> Iterator[Block]:
        node: LexborNode | None = root
        while node is not None:
            yield from self._enter(node)
            below = None if node.tag in UNSEEN else node.child
            while below is None and node is not None:
                yield from self._leave(node)
                below = node.next
                node = node.parent if below is None else node
            node = below
        yield from self._flush()

    def _enter(self, node: LexborNode) -> Iterator[Block]:
        tag = node.tag or ""
        if tag == "-text":
            self._add(node.text_content or "")
        elif tag == "br":
            self._text += "\n"
        elif tag == "img":
            self._add(f" {node.attributes.get('alt') or ''} ")
        elif tag in BLOCKS and not self._rows:
            yield from self._flush()
            self._level = HEADINGS.get(tag, 0)
            self._preformatted += tag == "pre"
            self._rows += tag == "tr" and _is_data(node)
            self._text = "• " if tag == "li" else ""
        elif tag in BLOCKS:
            self._rows += tag == "tr"
            self._text = self._text.rstrip() + (CELL if tag in ("td", "th") and self._text.strip() else " ")

    def _leave(self, node: LexborNode) -> Iterator[Block]:
        tag = node.tag or ""
        if tag == "tr" and self._rows:
            self._rows -= 1
        if tag in BLOCKS and not self._rows:
            yield from self._flush()
            self._preformatted -= tag == "pre"
            self._level = 0

    def _add(self, text: str) -> None:
        self._text += text if self._preformatted else _SPACE.sub(" ", text)

    def _flush(self) -> Iterator[Block]:
        lines = self._text.split("\n")
        text = self._text if self._preformatted else "\n".join(" ".join(line.split(" ")).strip() for line in lines)
        if text.strip(" \n•|"):
            yield Block(text.strip("\n") if self._preformatted else text.strip(), self._level)
        self._text = ""


def _is_data(row: LexborNode) -> bool:
    """Whether a row is one of data, and not of a table that lays out a page."""
    return row.css_first("table, h1, h2, h3, h4, h5, h6, pre") is None
