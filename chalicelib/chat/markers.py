"""The anatomy of an answer in Markdown: its sentences, and the marks that a model wrote (`[1]`, `[2, 3]`, `【4】`).

Code, links, footnotes, tables and headings get no marks. What looks like one there, or would make a link of one, is taken out
all the same, but for code: a mark that nobody checked must not stand in an answer.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.chat.support import UNSPACED, sentences

BLOCK, INLINE = "\ue000", "\ue001"
"""What stands for what is left alone (of Unicode's private use, so no answer has it): whole lines, and stretches of a line."""

_FENCED = r"^[ \t]*(?P<fence>```+|~~~+)[^\n]*(?:\n.*?(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)|\Z)"
_TICKED = r"(?P<ticks>`+)(?:(?!(?P=ticks))[^\n])+(?P=ticks)"
_BLOCKS = re.compile(
    rf"""{_FENCED}  # fenced code, closed or cut off
      | (?:\A|(?<=\n\n))(?:[ ]{{4}}|\t)(?![ \t]*(?:[-*+•]|\d+[.)])[ \t])[^\n]*(?:\n(?:[ ]{{4}}|\t)[^\n]*)*  # indented code
      | ^[ \t]*\|[^\n]*$                    # a table's row
      | ^[ ]{{0,3}}\#{{1,6}}[ \t][^\n]*$        # a heading
      | ^[ ]{{0,3}}\[[^\]\n]+\]:[^\n]*$       # where a link or footnote leads
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_INLINES = re.compile(
    rf"""{_TICKED}    # code
      | !?\[[^\]\n]*\]\([^)\n]*\)                          # a link or an image
      | \[(?!\d{{1,2}}\])[^\]\n^]+\]\[[^\]\n]*\]             # a link by reference
      | \[\^[^\]\n]+\]                                     # a footnote
      | https?://[^\s<>]*[^\s<>.,;:!?)\]*_'"]              # an address
    """,
    re.VERBOSE,
)
_MARK = re.compile(
    r"[ \t]*(?:\[(?:passages?|sources?|excerpts?)?[ ]?(\d{1,2}(?:\s*[,;–-]\s*\d{1,2})*)\]|【(\d{1,2})[^】\n]{0,40}】)",
    re.IGNORECASE,
)
_CODE = rf"(?P<code>{_FENCED}|{_TICKED})"
_LED_AWAY = re.compile(
    rf"""{_CODE}
      | ^[ ]{{0,3}}\[\d{{1,2}}\]:[^\n]*(?:\n|\Z)                      # where a mark would lead
      | [ \t]*!?\[\d{{1,2}}\](?:\([^)\n]*\)|\[(?!\d{{1,2}}\])[^\]\n]+\])  # a mark as a link
      | (?P<text>\[(?!\d{{1,2}}\])[^\]\n^]+\])\[\d{{1,2}}\]           # a link by the number of a mark
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_UNMARKED = re.compile(
    rf"{_FENCED}|(?P<line>^[ \t]*\|[^\n]*$|^[ ]{{0,3}}\#{{1,6}}[ \t][^\n]*$)",
    re.MULTILINE | re.DOTALL,
)
_LIST_ITEM = re.compile(r"(?:[-*+•]|\d{1,3}[.)])[ \t]+")
_AFTER_MARK = ".!?…。！？؟۔,;"


@dataclass(frozen=True)
class Prose:
    """A sentence of an answer, `start` to `end` in its text; `hints` are the passages that the model named, from 1."""

    start: int
    end: int
    hints: tuple[int, ...] = ()


@dataclass(frozen=True)
class Anatomy:
    """An answer without the marks that the model wrote, and its sentences."""

    text: str
    prose: Sequence[Prose]


def anatomy(answer: str, passages: int) -> Anatomy:
    """Take an answer apart that was given from so many passages."""
    answer = _without_strays(answer, passages)
    masked = _masked(answer)
    text, mask, hints = _without_marks(answer, masked, passages)
    spans = [_past_item(mask, *span) for span in sentences(mask, lines=True) if BLOCK not in mask[slice(*span)]]
    given: dict[int, list[int]] = {}
    for place, numbers in hints:
        given.setdefault(_sentence_at(place, spans), []).extend(numbers)
    return Anatomy(text, [Prose(start, end, tuple(given.get(n, ()))) for n, (start, end) in enumerate(spans)])


def marked(found: Anatomy, marks: Mapping[Prose, Sequence[int]]) -> str:
    """Return the text with these marks at the ends of its sentences."""
    text = found.text
    for prose in sorted(marks, key=lambda prose: -prose.start):
        place = prose.start + len(text[prose.start : prose.end].rstrip(_AFTER_MARK))
        space = "" if UNSPACED.match(text[place - 1]) else " "
        text = text[:place] + space + "".join(f"[{mark}]" for mark in marks[prose]) + text[place:]
    return text


def _without_strays(answer: str, passages: int) -> str:
    """Return the answer without what looks like a mark where none is put, code left alone."""
    text = _LED_AWAY.sub(lambda match: match["code"] or match["text"] or "", answer)
    return _UNMARKED.sub(lambda match: _unmarked(match["line"], passages) if match["line"] else match.group(), text)


def _unmarked(line: str, passages: int) -> str:
    return _MARK.sub(lambda match: match.group() if _is_index(line, match, _numbers(match), passages) else "", line)


def _numbers(match: "re.Match[str]") -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", match.group(1) or match.group(2))]


def _masked(answer: str) -> str:
    without_blocks = _BLOCKS.sub(lambda match: BLOCK * len(match.group()), answer)
    return _INLINES.sub(lambda match: INLINE * len(match.group()), without_blocks)


def _without_marks(answer: str, masked: str, passages: int) -> tuple[str, str, list[tuple[int, list[int]]]]:
    """Return the answer, and its mask, without the model's marks; and where they were, with their numbers."""
    text, mask, hints, place, removed = "", "", [], 0, 0
    for match in _MARK.finditer(masked):
        numbers = _numbers(match)
        if _is_index(masked, match, numbers, passages):
            continue
        text, mask = text + answer[place : match.start()], mask + masked[place : match.start()]
        hints.append((match.start() - removed, [number for number in numbers if 1 <= number <= passages]))
        removed += match.end() - match.start()
        place = match.end()
    return text + answer[place:], mask + masked[place:], hints


def _is_index(masked: str, match: "re.Match[str]", numbers: Sequence[int], passages: int) -> bool:
    """Whether this is `items[0]`, which is no mark: it hangs on a word, and there is no such passage."""
    hangs_on_word = match.start() > 0 and masked[match.start() - 1].isalnum() and masked[match.start()] == "["
    return hangs_on_word and not any(1 <= number <= passages for number in numbers)


def _past_item(mask: str, start: int, end: int) -> tuple[int, int]:
    """Return a sentence without the number or bullet of its list."""
    item = _LIST_ITEM.match(mask, start, end)
    return (item.end() if item else start), end


def _sentence_at(place: int, spans: Sequence[tuple[int, int]]) -> int:
    """Return which sentence a mark belongs to: the one that it stands in or ends, or else the next one."""
    before = bisect_left(spans, (place,)) - 1
    if before >= 0 and place <= spans[before][1]:
        return before
    return before + 1
