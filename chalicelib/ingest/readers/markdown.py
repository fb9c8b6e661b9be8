"""Markdown, with tables."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.encoding import decode
from chalicelib.ingest.readers.html import read_html
from chalicelib.ingest.readers.stretches import parts_of, stretched
from chalicelib.records import Block

_FRONT_MATTER = re.compile(r"\A\ufeff?---\n(.*?)\n(?:---|\.\.\.)\n", re.S)


def open_document(task: Task) -> Opened:
    text = decode(Path(task.path).read_bytes()).replace("\r\n", "\n")
    matter = _FRONT_MATTER.match(text)  # CommonMark would take its last line for a heading
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text[matter.end() :] if matter else text)
    blocks = [*([Block(matter.group(1))] if matter else []), *read_html(page)[1]]
    title = next((block.text for block in blocks if block.level == 1), "")
    return Opened.of(parts_of(stretched(blocks)), title)
