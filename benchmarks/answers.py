"""Sixty questions about a folder of documents, half of them with no answer there, asked of the default local model.

The documents go the way of every upload: reader, splitter, embedder, index. Then each question is asked as POST /chat with
`"retrieval": {}` asks it. Of the questions with an answer: `right_source` is the share whose answer cites the right document,
`gold_in_quote` the share with the decisive words in a quote, `refused_wrongly` the share told that it is not there. Of the
others: `refused_rightly` the share told so, `stopped_early` the share that the model was not even asked about.
`retrieval` says how far the passages alone go: whether the right document and the decisive words are among them.
"""

import math
import time
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import median

from benchmarks.support.deployment import deployment, library
from benchmarks.support.options import EMBEDDER, MODEL, RETRIEVER
from benchmarks.support.printing import Numbers, parser, show
from chalicelib.chat.citations import denies
from chalicelib.chat.prompt import Findings
from chalicelib.chat.questions import Answered, Ask
from chalicelib.chat.sources import Sources
from chalicelib.chat.turn import WAKE_S, Collect
from chalicelib.ingest.arrival import Arrival
from chalicelib.records import Conversation, Document, Message, RetrievalOptions, Turn, TurnOptions
from chalicelib.wiring import Parts

OWNER = "bench"
QUESTIONS = Path(__file__).with_suffix(".toml")
MAX_TOKENS = 120
ASKED = RetrievalOptions(asked=True)


@dataclass(frozen=True)
class Question:
    """`documents` are the right sources, any of them; `words` decide, "|" between two ways to say it. None: no answer."""

    question: str
    documents: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def decided_by(self, text: str) -> bool:
        plain = _plain(text)
        return all(any(_plain(way) in plain for way in words.split("|")) for words in self.words)


@dataclass(frozen=True)
class Outcome:
    """What became of a question. `findings` is what retrieval gave, `answer` what was said, None if the model was left out."""

    question: Question
    findings: Findings
    answer: Message | None
    seconds: float

    @property
    def refused(self) -> bool:
        answer = self.answer
        return answer is not None and (answer.retrieval.status == "empty" or (not answer.citations and denies(answer.content)))

    @property
    def right_source(self) -> bool:
        return any(citation.name in self.question.documents for citation in self.answer.citations) if self.answer else False

    @property
    def gold_in_quote(self) -> bool:
        return self.question.decided_by(" … ".join(c.quote for c in self.answer.citations)) if self.answer else False

    @property
    def found_document(self) -> bool:
        return any(passage.name in self.question.documents for passage in self.findings.passages)

    @property
    def found_words(self) -> bool:
        return self.question.decided_by(" … ".join(passage.text for passage in self.findings.passages))


def measure(
    documents: Path, settings: dict[str, str], asked: Sequence[Question], seconds: float, *, with_model: bool
) -> tuple[Numbers, list[Outcome]]:
    """Return the numbers, and what became of each question. Those that do not come up in these seconds are left out."""
    with deployment(settings) as parts:
        started = time.perf_counter()
        rows = [_add(parts, path) for path in sorted(documents.iterdir()) if path.name not in ("LIST.tsv", "ORIGIN.md")]
        indexing_s = time.perf_counter() - started
        sources = Sources(parts.library, parts.settings)
        until = time.monotonic() + seconds
        in_time = takewhile(lambda _: time.monotonic() < until, asked)
        outcomes = [_outcome(parts, sources, question, with_model) for question in in_time]
    about = {
        "documents": len(rows),
        "documents_ready": sum(row.state == "ready" for row in rows),
        "chunks": sum(row.chunks for row in rows if not row.same_as),
        "indexing_s": round(indexing_s, 1),
        "model": parts.settings.model if with_model else None,
        "retriever": parts.settings.retriever,
        "embedder": parts.settings.embedder,
    }
    return {**numbers(outcomes, with_model=with_model), **about}, outcomes


def numbers(outcomes: Sequence[Outcome], *, with_model: bool) -> Numbers:
    """Return shares, 0 to 1; those that take a model only where it was asked."""
    with_answer = [outcome for outcome in outcomes if outcome.question.documents]
    without = [outcome for outcome in outcomes if not outcome.question.documents]
    retrieval = {
        "right_document": _share(with_answer, lambda outcome: outcome.found_document),
        "gold_in_passages": _share(with_answer, lambda outcome: outcome.found_words),
        "refused_wrongly": _share(with_answer, lambda outcome: not outcome.findings.passages),
    }
    counts = {"questions": len(outcomes), "with_answer": len(with_answer)}
    stopped = {"stopped_early": _share(without, lambda outcome: not outcome.findings.passages)}
    if not with_model:
        return {"retrieval": retrieval, **stopped, **counts}
    return {
        "right_source": _share(with_answer, lambda outcome: outcome.right_source),
        "gold_in_quote": _share(with_answer, lambda outcome: outcome.gold_in_quote),
        "gold_in_answer": _share(with_answer, lambda outcome: outcome.question.decided_by(_said(outcome))),
        "refused_rightly": _share(without, lambda outcome: outcome.refused),
        "refused_wrongly": _share(with_answer, lambda outcome: outcome.refused),
        **stopped,
        "retrieval": retrieval,
        **counts,
        "median_s": round(median(outcome.seconds for outcome in outcomes), 1),
    }


def questions() -> list[Question]:
    """Return the questions, those with an answer and those without by turns, so that a first part has both."""
    rows = tomllib.loads(QUESTIONS.read_text())["questions"]
    made = [Question(row["question"], tuple(row.get("documents", ())), tuple(row.get("words", ()))) for row in rows]
    pairs = zip([q for q in made if q.documents], [q for q in made if not q.documents], strict=True)
    return [question for pair in pairs for question in pair]


def _add(parts: Parts, path: Path) -> Document:
    """Put a file where uploads go and have it read to its end; return its row."""
    document = parts.documents.create(OWNER, path.name, size_bytes=path.stat().st_size)
    with path.open("rb") as content:
        parts.platform.files.put(document.key, content, content_type="application/octet-stream")
    parts.ingestion.arrived(Arrival(document.key, path.stat().st_size))
    return parts.documents.get(OWNER, document.id)


def _outcome(parts: Parts, sources: Sources, question: Question, with_model: bool) -> Outcome:
    options = TurnOptions(max_tokens=MAX_TOKENS, temperature=0, retrieval=ASKED)
    turn = Turn(Conversation("", OWNER), Message("", "user", question.question, "", options=options))
    findings = sources.find(turn, WAKE_S)
    started = time.perf_counter()
    answer = _answer(parts, Ask(question.question, options=options)) if with_model else None
    return Outcome(question, findings, answer, time.perf_counter() - started)


def _answer(parts: Parts, ask: Ask) -> Message:
    turn = parts.questions.prepare(OWNER, ask)
    return turn.answer if isinstance(turn, Answered) else parts.engine.run_turn(turn, Collect())


def _said(outcome: Outcome) -> str:
    return outcome.answer.content if outcome.answer else ""


def _share(outcomes: Iterable[Outcome], holds: Callable[[Outcome], bool]) -> float | None:
    verdicts = [holds(outcome) for outcome in outcomes]
    return round(sum(verdicts) / len(verdicts), 3) if verdicts else None


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        right = outcome.gold_in_quote if outcome.question.documents else outcome.refused
        print(f"\n{'+' if right else '-'} {outcome.question.question}  ({outcome.seconds:.1f} s)\n  {_said(outcome)}")
        for citation in outcome.answer.citations if outcome.answer else ():
            print(f"  [{citation.marker}] {citation.name}, page {citation.page}: {' '.join(citation.quote.split())}")
    print()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--docs", type=Path, required=True, help="folder of the documents")
    arguments.add_argument("--limit", type=int, help="ask only so many questions")
    arguments.add_argument("--minutes", type=float, default=math.inf, help="ask only as many as come up in this time")
    arguments.add_argument("--retrieval-only", action="store_true", help="leave the model out")
    for option in (MODEL, RETRIEVER, EMBEDDER):
        option.add_to(arguments)
    given = arguments.parse_args()
    settings = {
        "PAI_LLM": "pai.local.llamacpp",
        "PAI_MODEL": given.model,
        "PAI_STORE": "sqlite",
        "PAI_PLATFORM": "local",
        **library(given.retriever, given.embedder),
        "PAI_DEADLINE_S": "600",
        "PAI_READ_S": "86400",  # nobody takes over after a range here
    }
    asked, seconds = questions()[: given.limit], given.minutes * 60
    found, outcomes = measure(given.docs, settings, asked, seconds, with_model=not given.retrieval_only)
    if not given.json:
        _print_outcomes(outcomes)
    show(found, given.json)


if __name__ == "__main__":
    main()
