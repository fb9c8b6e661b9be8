"""Pages that are pictures: text by the `tesseract` program, where it is installed."""

import subprocess
from collections.abc import Sequence
from functools import lru_cache

import pypdfium2 as pdfium

from chalicelib.ingest.readers.contract import Task
from chalicelib.ingest.readers.paragraphs import paragraphs
from chalicelib.records import Block

DOTS_PER_INCH = 300
MOST_PIXELS = 40_000_000
"""A page larger than A3 at 300 dpi is rendered smaller."""
MOST_LANGUAGES = 8
NO_LANGUAGES = {"osd", "equ"}
"""Data files of tesseract that are no languages: orientation, equations."""
NARROWEST = 1 / 50
"""Of sides, shorter to longer, in which a page can be a page of writing."""


def recognize(page: pdfium.PdfPage, task: Task) -> Sequence[Block]:
    """Return a page's text as tesseract sees it: none without tesseract, or when it fails or takes too long."""
    width, height = page.get_size()
    empty = next(page.get_objects(max_depth=1), None) is None
    if not task.tesseract or empty or min(width, height) < NARROWEST * max(width, height):
        return ()
    command = [task.tesseract, "stdin", "stdout", "-l", _languages(task.tesseract), "--dpi", str(DOTS_PER_INCH)]
    try:
        run = subprocess.run(command, input=_picture(page), capture_output=True, check=True, timeout=task.limits.seconds / 2)
    except (subprocess.SubprocessError, OSError):
        return ()
    text = run.stdout.decode("utf-8", "replace")
    return [Block(" ".join(block.text.split())) for block in paragraphs(text)]


def _picture(page: pdfium.PdfPage) -> bytes:
    """Draw a page in shades of grey, as a PGM file."""
    width, height = page.get_size()
    scale = min(DOTS_PER_INCH / 72, (MOST_PIXELS / max(width * height, 1.0)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    rows = memoryview(bitmap.buffer)
    starts = range(0, bitmap.stride * bitmap.height, bitmap.stride)
    header = b"P5 %d %d 255\n" % (bitmap.width, bitmap.height)
    return header + b"".join(rows[start : start + bitmap.width] for start in starts)


@lru_cache(maxsize=1)
def _languages(tesseract: str) -> str:
    """Return the installed languages as tesseract's option wants them."""
    listed = subprocess.run([tesseract, "--list-langs"], capture_output=True, text=True, check=True, timeout=10)
    names = [name for name in listed.stdout.splitlines()[1:] if name not in NO_LANGUAGES and "/" not in name]
    return "+".join(names[:MOST_LANGUAGES]) or "eng"
