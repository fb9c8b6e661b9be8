"""Word documents (docx), by mammoth: headings, lists, tables, footnotes, text boxes; what was deleted stays out."""

import mammoth

from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.html import read_html
from chalicelib.ingest.readers.stretches import parts_of, stretched
from chalicelib.ingest.readers.zips import core_title, open_zip

STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
"""


def open_document(task: Task) -> Opened:
    with open_zip(task.path, task.limits) as zipped:
        named = core_title(zipped)
    with open(task.path, "rb") as file:
        page = mammoth.convert_to_html(
            file,
            style_map=STYLES,
            include_embedded_style_map=False,
            convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
        ).value
    _, blocks = read_html(page)
    title = named or next((block.text for block in blocks if block.level == 1), "")
    return Opened.of(parts_of(stretched(blocks)), title)
