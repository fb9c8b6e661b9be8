"""What bears a sentence out: words of an answer against the sentences of stored chunks. Pure, and no model.

Words are compared by their first letters, a stemmer that needs no language [1]; scripts without spaces by pairs of
characters. What counts most is what few sentences say. Numbers and names must be there as they are: a sentence that agrees
in every word but the sum is not support.

[1] McNamee, Mayfield: Character N-Gram Tokenization for European Language Text Retrieval, 2004.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest

from chalicelib.records import Chunk, Passage

STEM_CHARS = 5
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
UNSPACED_WORD_CHARS = 2
"""So many characters of such a script count as one word."""
HYPHENATION = re.compile(r"(?<=[^\W\d_])(?:[-\u2010\u2011]|\u00ad)(?:[ \t]*\n\s*)?(?=[^\W\d_])|\u00ad")
"""A hyphen within a word, at a line's end or not: a typesetter's and a writer's look the same, so both are left out."""

LONGEST_SENTENCE_CHARS = 360
MOST_SENTENCES = 3
"""What a quote may be: longer sentences (tables) are cut, and so many neighbours at most are taken together."""
CANDIDATES = 6
"""So many sentences are looked at closely, those that share most words with what is to be borne out."""
CAPITALS_TELL = 0.25
"""Where more than this share of words is capitalised, capitals mark nouns (German), not names."""
FEW_TERMS = 4
LEAST_SHORT_SUPPORT, LEAST_ASKED = 0.6, 0.15
"""What a quote must have of a sentence of fewer terms than that, and of the question that it answers."""
ASKED_WEIGHT = 0.5
"""What a word of the question counts when the answer repeats it."""
WIDTH_COST, GAIN = 0.06, 0.05
"""What each further sentence of a quote takes from its support (many words have something of everything), and what it must
bring beyond that."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f]\d+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:[.,'’\u00a0\u202f]\d{3})+")
_SENTENCE_END = re.compile(
    r"[.!?…؟۔]+[\"'”’)\]»*_]*(?=\s|$)|[。！？｡]+[」』”’）*_]*|\n[ \t]*(?=\n|[-*+•][ \t]|\d{1,2}[.)][ \t])"
)
_LINE_END = re.compile(_SENTENCE_END.pattern + r"|\n")
_NO_END = re.compile(
    r"(?:\b(?:[^\W\d_]|Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|etc|Fig|Eq|Sec|pp|cf|al|ca|bzw|z\.B|d\.h|e\.g|i\.e|approx)"
    r"|^\s*\d{1,2})\.$"
)


@dataclass(frozen=True)
class Content:
    """What a text says: beginnings of words (or pairs of characters), whole words, and numbers in one form."""

    terms: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()

    def __or__(self, other: "Content") -> "Content":
        return Content(self.terms | other.terms, self.words | other.words, self.numbers | other.numbers)


@dataclass(frozen=True)
class Sentence:
    """A stretch of a chunk's text, `start` to `end`. `above` is what it stands under: heading path, title, file name."""

    passage: int
    chunk: Chunk
    start: int
    end: int
    content: Content
    above: Content


@dataclass(frozen=True)
class Evidence:
    """A stretch of a chunk that bears a sentence out, and how much of it: 0 to 1."""

    passage: int
    chunk: Chunk
    start: int
    end: int
    support: float


@dataclass(frozen=True)
class Claim:
    """A sentence of an answer: what a quote must have as it stands, and the weights of its terms and its question's."""

    numbers: frozenset[str]
    names: frozenset[str]
    said: Mapping[str, float]
    asked: Mapping[str, float]


class Shelf:
    """The sentences of the passages, ready to be asked."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._sentences = [
            sentence
            for number, passage in enumerate(passages)
            for chunk in passage.chunks
            for sentence in _sentences_of(number, chunk, content(f"{chunk.context}\n{passage.name}"))
        ]
        self._having: dict[str, list[int]] = defaultdict(list)
        for place, sentence in enumerate(self._sentences):
            for term in sentence.content.terms:
                self._having[term].append(place)
        self._names_tell = _capitalised_share(chunk.text for passage in passages for chunk in passage.chunks) < CAPITALS_TELL

    def claim(self, sentence: str, question: str) -> Claim:
        """Return what is to be borne out. A short sentence ("Bartholomew.") says what it says together with its question."""
        said, asked = content(sentence), content(question).terms
        names = _names(sentence) if self._names_tell else ()
        weights = {term: self._rarity(term) * (ASKED_WEIGHT if term in asked else 1) for term in said.terms | asked}
        return Claim(
            said.numbers,
            frozenset(names),
            {term: weights[term] for term in said.terms},
            {term: weights[term] for term in asked},
        )

    def evidence(self, claim: Claim, passage: int | None = None) -> Evidence | None:
        """Return the best support, of one passage or of all; None when there is none at all."""
        found = [evidence for place in self._best(claim, passage) if (evidence := self._grown(place, claim)) is not None]
        return max(found, key=lambda evidence: (evidence.support, -evidence.passage), default=None)

    def _rarity(self, term: str) -> float:
        """Return how much a term tells: what few sentences have tells more, what none has tells most."""
        return math.log(1 + len(self._sentences) / (len(self._having.get(term, ())) + 0.5))

    def _best(self, claim: Claim, passage: int | None) -> list[int]:
        """Return the places of the sentences that share most with the claim."""
        scores: dict[int, float] = defaultdict(float)
        for term, weight in {**claim.asked, **claim.said}.items():
            for place in self._having.get(term, ()):
                scores[place] += weight
        places = (place for place in scores if passage in (None, self._sentences[place].passage))
        return nsmallest(CANDIDATES, places, key=lambda place: (-scores[place], place))

    def _grown(self, place: int, claim: Claim) -> Evidence | None:
        """Return the evidence around a sentence, with the neighbours that it needs; None when numbers or names are missing."""
        first = last = place
        has = self._sentences[place].content
        rating = self._rating(first, first, has, claim)
        while last - first + 1 < MOST_SENTENCES and rating < 1:
            wider = [(a, b, has | self._sentences[new].content) for a, b, new in self._neighbours(first, last)]
            rated = [(self._rating(a, b, more, claim), -b, a, more) for a, b, more in wider]
            best, b, a, more = max(rated, key=lambda option: option[:2], default=(0.0, 0, 0, has))
            if best < rating + GAIN:
                break
            first, last, has, rating = a, -b, more, best
        if rating <= 0 or self._missing(first, has, claim):
            return None
        beginning = self._sentences[first]
        return Evidence(beginning.passage, beginning.chunk, beginning.start, self._sentences[last].end, rating)

    def _neighbours(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yield the stretches of one chunk that are a sentence longer, each with that sentence's place."""
        chunk = self._sentences[first].chunk
        if last + 1 < len(self._sentences) and self._sentences[last + 1].chunk is chunk:
            yield first, last + 1, last + 1
        if first > 0 and self._sentences[first - 1].chunk is chunk:
            yield first - 1, last, first - 1

    def _rating(self, first: int, last: int, has: Content, claim: Claim) -> float:
        return _support(has.terms, claim) - WIDTH_COST * (last - first) - self._missing(first, has, claim)

    def _missing(self, first: int, has: Content, claim: Claim) -> int:
        """Count the claim's numbers and names that neither the quote nor what stands above it has."""
        above = self._sentences[first].above
        return len(claim.numbers - has.numbers - above.numbers) + len(claim.names - has.words - above.words)


def _support(terms: frozenset[str], claim: Claim) -> float:
    """Return how much of a claim these terms bear out, 0 to 1; for a short one, its question counts half."""
    own = _share(terms, claim.said)
    if len(claim.said) >= FEW_TERMS:
        return own
    asked = _share(terms, claim.asked)
    return (own + asked) / 2 if own >= LEAST_SHORT_SUPPORT and asked >= LEAST_ASKED else 0.0


def _share(terms: frozenset[str], weights: Mapping[str, float]) -> float:
    total = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in terms) / total if total else 0.0


def count_words(text: str) -> int:
    """Count what stands between spaces and has a letter or digit; two characters without spaces between words are one."""
    unspaced = len(UNSPACED.findall(text))
    spaced = sum(bool(_WORD.search(part)) for part in UNSPACED.sub(" ", text).split())
    return spaced + unspaced // UNSPACED_WORD_CHARS


def sentences(text: str, *, lines: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where sentences begin and end, without the white space around them; with `lines`, a line ends one too."""
    start = 0
    for end in (_LINE_END if lines else _SENTENCE_END).finditer(text):
        if not _NO_END.search(text, max(start, end.start() - 12), end.end()):
            yield from _trimmed(text, start, end.end())
            start = end.end()
    yield from _trimmed(text, start, len(text))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    if _WORD.search(piece) or not piece.isascii():
        inner = piece.strip()
        begin = start + len(piece) - len(piece.lstrip())
        if inner:
            yield begin, begin + len(inner)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Yield the sentences of a chunk, very long ones (tables) in pieces."""
    for start, end in sentences(text):
        while end - start > LONGEST_SENTENCE_CHARS:
            gap = text.rfind(" ", start + 1, start + LONGEST_SENTENCE_CHARS)
            cut = gap if gap > 0 else start + LONGEST_SENTENCE_CHARS
            yield from _trimmed(text, start, cut)
            start = cut
        yield from _trimmed(text, start, end)


def _sentences_of(number: int, chunk: Chunk, above: Content) -> Iterator[Sentence]:
    for start, end in _pieces(chunk.text):
        yield Sentence(number, chunk, start, end, content(chunk.text[start:end]), above)


def content(text: str) -> Content:
    """Return what a text says."""
    text = HYPHENATION.sub("", text)
    words = _WORD.findall(text)
    plain = frozenset(map(_plain, words))
    terms = frozenset(term for word in plain for term in _terms(word))
    return Content(terms, plain, frozenset(_number(match.group()) for match in _NUMBER.finditer(text)))


@lru_cache(maxsize=20_000)
def _terms(word: str) -> tuple[str, ...]:
    """Return the beginning of a word, or its pairs of characters where it may be several words."""
    if UNSPACED.search(word):
        return tuple(word[place : place + 2] for place in range(max(len(word) - 1, 1)))
    return (word,) if word.isdigit() else (word[:STEM_CHARS],)


@lru_cache(maxsize=20_000)
def _plain(word: str) -> str:
    plain = unicodedata.normalize("NFKC", word).casefold().replace("’", "'")
    return plain.removesuffix("'s").removesuffix("'")


def _number(text: str) -> str:
    """Return a number in one form: 1,000 and 1.000 are 1000, 2,5 is 2.5."""
    digits = "".join(str(unicodedata.digit(char)) if char.isdigit() else char for char in text)
    if _THOUSANDS.fullmatch(digits):
        return "".join(char for char in digits if char.isdigit())
    return re.sub(r"[,'’\u00a0\u202f]", ".", digits)


def _names(sentence: str) -> Iterator[str]:
    """Yield capitalised words but the first one, whose capital tells nothing."""
    for word in _WORD.findall(sentence)[1:]:
        if word[0].isupper() and word != "I":
            yield _plain(word)


def _capitalised_share(texts: Iterable[str]) -> float:
    """Return which share of words in the midst of sentences is capitalised."""
    inner = [text[match.end()] for text in texts for match in re.finditer(r"[^\W_,;][,;]?\s+(?=[^\W\d_])", text)]
    return sum(map(str.isupper, inner)) / len(inner) if inner else 0.0
