"""From a part of a document to chunks: pure functions, the same for the same text every time.

A part's text is cut into units (headings, paragraphs, sentences, and pieces of sentences that are too long), and the units
are put together into chunks at the least cost, as a typesetter breaks a paragraph into lines (Knuth & Plass, 1981): few
chunks, evenly full, that begin at a heading rather than at a paragraph, and at a sentence rather than inside one.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from chalicelib.ingest.measure import Measure, count_tokens
from chalicelib.records import Block, Chunk, Part

SEPARATOR = "\n\n"
"""What stands between two blocks in a part's text."""
CHUNK_TOKENS = 256
"""How long a chunk is at most, with its context, if the embedder takes so much: a few paragraphs that speak of one thing."""
SPECIAL_TOKENS = 4
"""What an embedder's tokenizer adds at the ends, and the line between context and text."""
CONTEXT_SHARE = 4
"""At most one token in so many is context."""
LINE_CHARS = 160
"""A title or heading is shown no longer than this in the context."""
UNIT_SHARE = 3
"""A sentence longer than one so-manieth of a chunk is cut into pieces, so that chunks can be filled evenly."""
LONGEST_CLUSTER = 32
"""Code points of one character with its accents, joiners and modifiers."""

# What it costs to begin a chunk at a unit. One more chunk costs 1, and up to 1 more for being empty.
AT_HEADING, AT_PARAGRAPH, AT_LINE, AT_SENTENCE, IN_SENTENCE = 0.0, 0.1, 0.3, 1.0, 2.5
AFTER_HEADING = 5.0
"""A heading stays with what it heads."""
AFTER_LABEL = 0.8
"""So does a short line that ends without a mark, which may be a heading that nobody marked as one."""
LABEL_CHARS = 80
HEADING_INSIDE = 0.25
"""A chunk speaks of one thing, if the sections are long enough to stand alone."""


def part_text(part: Part) -> str:
    """Return a part's text: what a chunk's `start` counts in."""
    return SEPARATOR.join(block.text for block in part.blocks)


def split(part: Part, *, title: str, first_ordinal: int, target_tokens: int = CHUNK_TOKENS) -> list[Chunk]:
    """Return the part's chunks in order: each, with its context, at most about `target_tokens` long.

    Every character of the part's text but white space is in exactly one of them.
    """
    text = part_text(part)
    most = max(target_tokens - SPECIAL_TOKENS, 16)
    units = list(_units(part, text, most))
    contexts = [_context(title, unit.path, most // CONTEXT_SHARE) for unit in units]
    rooms = [most - count_tokens(context) for context in contexts]
    return [
        Chunk(
            ordinal=first_ordinal + number,
            part=part.index,
            page=part.page,
            context=contexts[first],
            text=text[units[first].start : units[last].end],
            start=units[first].start,
        )
        for number, (first, last) in enumerate(_packed(units, rooms))
    ]


@dataclass(frozen=True)
class _Unit:
    """A stretch that no chunk boundary falls into, and what it costs to begin a chunk with it.

    `path` is the headings it stands under; a heading is not its own.
    """

    start: int
    end: int
    tokens: float
    cost: float
    path: tuple[str, ...]
    heading: bool


def _units(part: Part, text: str, most: int) -> Iterator[_Unit]:
    """Yield the units of a part, each small enough that several fit beside the longest context."""
    measure = Measure(text)
    longest = (most - most // CONTEXT_SHARE) / UNIT_SHARE
    offset, path, cost = 0, part.headings, AT_PARAGRAPH
    for block in part.blocks:
        if block.level:
            path, cost = path[: block.level - 1], cost if cost == AFTER_HEADING else AT_HEADING
        for start, end, inner in _pieces(text, offset, offset + len(block.text), measure, longest):
            yield _Unit(start, end, measure.tokens(start, end), inner or cost, path, block.level > 0)
        if block.text.strip():
            path, cost = _after(block, path)
        offset += len(block.text) + len(SEPARATOR)


def _after(block: Block, path: tuple[str, ...]) -> tuple[tuple[str, ...], float]:
    """Return the headings in force after a block, and what it costs to begin a chunk there."""
    if block.level:
        return (*path, _line(block.text)), AFTER_HEADING
    text = block.text.strip()
    is_label = len(text) <= LABEL_CHARS and "\n" not in text and text[-1] not in f"{_ENDS}{_WIDE_ENDS}{_CLOSERS}"
    return path, AFTER_LABEL if is_label else AT_PARAGRAPH


def _packed(units: Sequence[_Unit], rooms: Sequence[float]) -> list[tuple[int, int]]:
    """Return the cheapest way to put units into chunks, as (first, last) of each."""
    cheapest = [0.0] + [math.inf] * len(units)
    begins = [0] * (len(units) + 1)
    for first, unit in enumerate(units):
        size, inside, room = 0.0, 0.0, rooms[first]
        for last in range(first, len(units)):
            size += units[last].tokens
            if last > first:
                if size > room:
                    break
                inside += HEADING_INSIDE if units[last].heading and not units[last - 1].heading else 0.0
            total = cheapest[first] + 1 + max(1 - size / room, 0) ** 2 + unit.cost + inside
            if total < cheapest[last + 1]:
                cheapest[last + 1], begins[last + 1] = total, first
    return _followed(begins)


def _followed(begins: Sequence[int]) -> list[tuple[int, int]]:
    """Return the chunks that end with the last unit, when `begins[n]` is where the one that ends before unit n begins."""
    chunks: list[tuple[int, int]] = []
    end = len(begins) - 1
    while end:
        chunks.append((begins[end], end - 1))
        end = begins[end]
    return chunks[::-1]


# Context


@lru_cache(maxsize=256)
def _context(title: str, path: tuple[str, ...], most: int) -> str:
    """Return title and headings, one a line; when they are too long together, the outer headings give way first."""
    lines = [line for line in dict.fromkeys(_line(line) for line in (title, *path)) if line]
    while len(lines) > 2 and count_tokens("\n".join(lines)) > most:
        del lines[1]
    text = "\n".join(lines)
    while count_tokens(text) > most:
        text = text[: _whole(text, len(text) * 3 // 4)].rstrip()
    return text


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LINE_CHARS else line[: _whole(line, LINE_CHARS)].rstrip() + "…"


# Sentences, lines, and pieces of them

Piece = tuple[int, int, float]
"""Start and end in the part's text, and what it costs to begin a chunk there; 0 for the first of a block."""
_ENDS = ".!?…‥؟۔।॥։؛"
_WIDE_ENDS = "。！？｡．"
_CLOSERS = "\"'”’»)\\]」』）】》›"
_SENTENCE = re.compile(  # begins only where a run of marks begins: trying inside it would take quadratic time
    rf"(?<![{_ENDS}])[{_ENDS}]++[{_CLOSERS}]*+(?=\s)|(?<![{_WIDE_ENDS}])[{_WIDE_ENDS}]++[{_CLOSERS}]*+"
)
_ABBREVIATION = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|cf|al|etc|e\.g|i\.e|z\.B|bzw|ca|Nr|No|Figs?|Eqs?|Sec|Ch|Vol|pp?|Art|Inc|Ltd"
    r"|Co|approx|\d{1,2})\.$"
)
_ITEM = re.compile(r"[ \t]*(?:[-*•‣–▪·]|\(?[0-9a-zA-Z]{1,3}[.)])\s")
_CLAUSE = re.compile(r"[;:,—–،、，；：]\s*")
_SPACE = re.compile(r"\s+")
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def _pieces(text: str, start: int, end: int, measure: Measure, longest: float) -> Iterator[Piece]:
    """Yield the sentences and lines of a block, and of those that are too long their pieces."""
    first = True
    for sentence, stop, cost in _sentences(text, start, end):
        for piece, piece_end in _cut(text, sentence, stop, measure, longest):
            yield piece, piece_end, 0.0 if first else cost if piece == sentence else IN_SENTENCE
            first = False


def _sentences(text: str, start: int, end: int) -> Iterator[Piece]:
    """Yield each sentence or line of a block, without the white space around it."""
    cost = AT_SENTENCE
    for boundary, next_cost in [*_boundaries(text, start, end), (end, 0.0)]:
        for first, last in _trimmed(text, start, boundary):
            yield first, last, cost
        start, cost = boundary, next_cost


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the stretch without the white space around it, if there is anything else."""
    piece = text[start:end]
    if stripped := piece.strip():
        first = start + len(piece) - len(piece.lstrip())
        yield first, first + len(stripped)


def _boundaries(text: str, start: int, end: int) -> list[tuple[int, float]]:
    """Return where sentences end, and lines that are not just wrapped, in order, with the cost of beginning a chunk there."""
    found = {match.end(): AT_SENTENCE for match in _SENTENCE.finditer(text, start, end) if _is_end(text, match)}
    place = text.find("\n", start, end)
    while place >= 0:
        if _is_line_end(text, start, place, end):
            found[place + 1] = AT_LINE
        place = text.find("\n", place + 1, end)
    return sorted(found.items())


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends a sentence: a full stop doesn't after an abbreviation, or when the next word begins small."""
    if not match[0].startswith("."):
        return _is_whole(text, match.end())
    following = text[match.end() : match.end() + 2].strip()[:1]
    return not following.islower() and not _ABBREVIATION.search(text, max(match.start() - 8, 0), match.start() + 1)


def _is_line_end(text: str, start: int, place: int, end: int) -> bool:
    """Whether a line break was meant: beside a table's row, before an item of a list, after the end of a sentence."""
    before = text[max(text.rfind("\n", start, place) + 1, start) : place].rstrip()
    stop = text.find("\n", place + 1, end)
    after = text[place + 1 : stop if stop >= 0 else end]
    is_row = any(mark in line for mark in ("\t", " | ") for line in (before, after))
    return is_row or not before or before[-1] in f"{_ENDS}{_WIDE_ENDS}:" or bool(_ITEM.match(after))


def _cut(text: str, start: int, end: int, measure: Measure, longest: float) -> Iterator[tuple[int, int]]:
    """Yield the sentence whole if it is short enough, else in pieces of about one length, cut where it hurts least."""
    while (tokens := measure.tokens(start, end)) > longest:
        latest = measure.place(start, tokens / math.ceil(tokens / longest))
        cut = min(_best_cut(text, start, max(latest, start + 1)), end)
        yield from _trimmed(text, start, cut)
        start = cut
    yield from _trimmed(text, start, end)


def _best_cut(text: str, start: int, latest: int) -> int:
    """Return a place after `start`, at `latest` or not long before: after a clause, else at a space, else in a word."""
    earliest = start + (latest - start) * 2 // 3
    for boundary in (_CLAUSE, _SPACE):
        places = [match.end() for match in boundary.finditer(text, earliest, latest) if _is_whole(text, match.end())]
        if places:
            return places[-1]
    return max(_whole(text, latest, start), start + 1)


def _whole(text: str, place: int, start: int = 0) -> int:
    """Return this place, or the next one before it that parts no character from its accents, joiners or modifiers.

    A character begins at `start`.
    """
    for candidate in range(place, max(place - LONGEST_CLUSTER, start), -1):
        if _is_whole(text, candidate, start):
            return candidate
    return place


def _is_whole(text: str, place: int, start: int = 0) -> bool:
    """Whether a character begins here: the cases that matter of https://www.unicode.org/reports/tr29/."""
    if not 0 < place < len(text):
        return True
    before, character = text[place - 1], text[place]
    if before in _FLAG_LETTERS and character in _FLAG_LETTERS:  # two are a flag
        run = text[start:place]
        return (len(run) - len(run.rstrip(_FLAG_LETTERS))) % 2 == 0
    return not (
        unicodedata.category(character) in ("Mn", "Mc", "Me")
        or "\u200d" in (before, character)  # joins an emoji to the next
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\u1160" <= character <= "\u11ff"  # Korean vowels and final consonants
    )
