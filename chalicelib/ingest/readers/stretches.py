"""Blocks → parts: where a format without pages is cut, and which headings are in force at each cut."""

from collections.abc import Iterable, Iterator, Sequence

from chalicelib.records import Block, Part

STRETCH_CHARACTERS = 20_000
"""A part of a format without pages; a heading may end it from half of that on."""

Section = tuple[int | None, Sequence[Block]]
"""A page's number (None in formats without pages) and its blocks: what becomes one part."""


Headings = tuple[Block, ...]
"""The path of headings in force, outermost first."""


def under(path: Headings, blocks: Iterable[Block]) -> Headings:
    """Return the path that is in force behind these blocks."""
    for block in blocks:
        if block.level:
            path = (*(above for above in path if above.level < block.level), block)
    return path


def texts(path: Headings) -> tuple[str, ...]:
    return tuple(block.text for block in path)


def parts_of(sections: Iterable[Section]) -> list[Part]:
    """Number the sections through, and name the headings each begins under. No section at all is one without text."""
    parts: list[Part] = []
    path: Headings = ()
    for index, (page, blocks) in enumerate(sections):
        parts.append(Part(index, page, texts(path), tuple(blocks)))
        path = under(path, blocks)
    return parts or [Part(0, None, (), ())]


def stretched(blocks: Iterable[Block]) -> Iterator[Section]:
    """Cut a document without pages."""
    return ((None, stretch) for stretch in stretches(blocks))


def stretches(blocks: Iterable[Block], repeated: Sequence[Block] = ()) -> Iterator[list[Block]]:
    """Cut blocks into stretches of about STRETCH_CHARACTERS. `repeated` stands at the head of each but the first."""
    stretch: list[Block] = []
    size = 0
    for piece in (piece for block in blocks for piece in _pieces(block)):
        full = size + len(piece.text) > STRETCH_CHARACTERS or (piece.level and size > STRETCH_CHARACTERS // 2)
        if full and size:
            yield stretch
            stretch, size = list(repeated), 0
        stretch.append(piece)
        size += len(piece.text)
    if size:
        yield stretch


def _pieces(block: Block) -> Iterator[Block]:
    """Cut a block that is longer than a stretch: at the end of a line, else of a sentence, else of a word."""
    text = block.text
    while len(text) > STRETCH_CHARACTERS:
        ends = (text.rfind(mark, STRETCH_CHARACTERS // 2, STRETCH_CHARACTERS) + len(mark) for mark in ("\n", ". ", " "))
        cut = next((end for end in ends if end > STRETCH_CHARACTERS // 2), STRETCH_CHARACTERS)
        yield Block(text[:cut], block.level)
        text = text[cut:]
    yield Block(text, block.level)
