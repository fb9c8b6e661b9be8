"""Citations that hold: the app attaches them, whatever the model wrote.

For each sentence of an answer the best support in the passages is looked for. What is quoted is a stretch of a stored chunk
as it stands there; `holds` is the last word on that, and nothing is cited without it. A mark that the model wrote is a hint
where to look, and is dropped with all others when nothing there bears the sentence out.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from chalicelib.chat.markers import Prose, anatomy, marked
from chalicelib.chat.support import HYPHENATION, Evidence, Shelf, count_words
from chalicelib.records import Chunk, Citation, Passage

LEAST_WORDS = 6
LEAST_SUPPORT = 0.5
"""How much of a sentence its quote must bear out, by weight of words. Of 295 sentences of a book, put to other pages of it,
one was cited at this; of the same sentences with a third of their words left out, put to their own pages, 292."""
HINTED = 0.12
"""What a model's own mark adds to that."""

_DENIAL = re.compile(
    r"""\b(?:not|no|nothing|none|neither)\b.{0,60}\b(?:documents?|passages?|excerpts?|provided\ (?:text|context))\b
      | \b(?:documents?|passages?|excerpts?|texts?|context)\b.{0,40}(?:n't|\b(?:not|no|nothing|neither))\b
      | \b(?:not|never)\s(?:explicitly\s|directly\s)?(?:mentioned|specified|provided|stated|given|found|listed|included)\b
      | \bno\s(?:specific\s)?(?:information|mention)\b
      | \b(?:Dokument\w*|Unterlagen|Passagen|Textstellen)\b.{0,60}\b(?:nicht|kein\w*|nichts)\b
      | \b(?:nicht|kein\w*|nichts)\b.{0,60}\b(?:Dokument\w*|Unterlagen|Passagen|erwähnt|angegeben)\b
      | \b(?:documents?|passages?|extraits?)\b.{0,60}\bne\b
      | (?:文档|文件|资料|段落).{0,20}(?:没有|未|不)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_GAP = re.compile(rf"(?P<hyphen>{HYPHENATION.pattern})|(?P<nothing>[\u200b-\u200d\u2060\ufeff]+)|(?P<space>\s+)")
_SAME = str.maketrans({**dict.fromkeys("‘’‚‛`´", "'"), **dict.fromkeys("“”„‟«»", '"'), **dict.fromkeys("‐‑‒–—―−", "-")})


def cite(answer: str, passages: Sequence[Passage], question: str = "") -> tuple[str, tuple[Citation, ...]]:
    """Return the answer with marks `[1]`, in order, where a passage bears it out, and what they stand for."""
    shelf = Shelf(passages)
    found = anatomy(answer, len(passages))
    citations: list[Citation] = []
    marks: dict[Prose, list[int]] = {}
    for prose in found.prose:
        sentence = found.text[prose.start : prose.end]
        for evidence in _evidence(shelf, sentence, question, prose.hints):
            citation = _citation(evidence, passages[evidence.passage])
            if citation is not None:
                marks.setdefault(prose, []).append(_mark(citation, citations))
    return marked(found, {prose: sorted(set(numbers)) for prose, numbers in marks.items()}), tuple(citations)


def denies(sentence: str) -> bool:
    """Whether a sentence says that something is not in the documents. Then nothing in them bears it out."""
    return bool(_DENIAL.search(sentence))


def holds(quote: str, chunk: str) -> bool:
    """Whether a quote is six words or more that stand together in a chunk's text, as `locate` compares them.

    In scripts without spaces between words, two characters count as a word.
    """
    return count_words(quote) >= LEAST_WORDS and locate(quote, chunk) is not None


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """Return where a quote begins and ends in a text, in characters of the text; None when it is not there.

    White space, hyphens within words (at line ends or not), ligatures and other forms of one character, kinds of quotation
    marks and dashes, and case make no difference. Whole words only.
    """
    sought, _ = _folded(quote)
    within, places = _folded(text)
    at = within.find(sought) if sought else -1
    while at >= 0:
        end = at + len(sought)
        if not (_joined(within, at) or _joined(within, end)):
            return places[at], places[end - 1] + 1
        at = within.find(sought, at + 1)
    return None


def _joined(text: str, place: int) -> bool:
    """Whether a place is in the middle of a word."""
    return 0 < place < len(text) and all(char.isalnum() and char < "\u0e00" for char in text[place - 1 : place + 1])


@lru_cache(maxsize=32)
def _folded(text: str) -> tuple[str, Sequence[int]]:
    """Return a text in the form that is compared, and for each of its characters the place it comes from."""
    folded: list[str] = []
    places: list[int] = []
    at = len(text) - len(text.lstrip())
    text = text.rstrip()
    for gap in (*_GAP.finditer(text, at), None):
        end = gap.start() if gap else len(text)
        if text[at:end].isascii():  # most text by far: as long in lower case, and nothing else to it
            folded.append(text[at:end].lower().replace("`", "'"))
            places.extend(range(at, end))
        else:
            forms = [_forms(char) for char in text[at:end]]
            folded.extend(forms)
            places.extend(place for place, form in enumerate(forms, at) for _ in form)
        if gap and gap["space"]:
            folded.append(" ")
            places.append(end)
        at = gap.end() if gap else at
    return "".join(folded), places


@lru_cache(maxsize=10_000)
def _forms(char: str) -> str:
    return unicodedata.normalize("NFKD", char.translate(_SAME)).casefold()


def _evidence(shelf: Shelf, sentence: str, question: str, hints: Sequence[int]) -> list[Evidence]:
    """Return what bears a sentence out: what the model pointed to, if it does, or else the best there is."""
    if denies(sentence) or sentence.endswith((":", "?", "：", "？", "؟")):
        return []
    claim = shelf.claim(sentence, question)
    hinted = [shelf.evidence(claim, hint - 1) for hint in dict.fromkeys(hints)]
    good = [found for found in hinted if found and found.support + HINTED >= LEAST_SUPPORT]
    best = shelf.evidence(claim)
    if best is None or best.support < LEAST_SUPPORT or any(found.support + HINTED >= best.support for found in good):
        return good
    return [best]


def _citation(evidence: Evidence, passage: Passage) -> Citation | None:
    """Return the citation of a stretch, made longer where it has too few words; None when it does not hold even so."""
    chunk = evidence.chunk
    quote = _long_enough(chunk, evidence.start, evidence.end)
    if not holds(quote, chunk.text):
        return None
    return Citation(0, passage.document_id, passage.id, passage.name, chunk.page, quote, round(passage.score, 4))


def _long_enough(chunk: Chunk, start: int, end: int) -> str:
    """Return a stretch with as many words around it as it takes to have enough: those after it first."""
    while count_words(chunk.text[start:end]) < LEAST_WORDS and (start > 0 or end < len(chunk.text)):
        if end < len(chunk.text):
            end = _word_end(chunk.text, end)
        else:
            start = len(chunk.text[:start].rstrip()) and chunk.text[:start].rstrip().rfind(" ") + 1
    return chunk.text[start:end].strip()


def _word_end(text: str, place: int) -> int:
    match = re.compile(r"\s*\S+").match(text, place)
    return match.end() if match else len(text)


def _mark(citation: Citation, citations: list[Citation]) -> int:
    """Return the mark of a citation: that of the same quote, or of one that has it within, or the next one."""
    for known in citations:
        same_place = (known.document_id, known.passage_id) == (citation.document_id, citation.passage_id)
        if same_place and citation.quote in known.quote:
            return known.marker
    marker = len(citations) + 1
    citations.append(Citation(**{**vars(citation), "marker": marker}))
    return marker
