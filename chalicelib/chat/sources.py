"""What the documents give for a turn: which passages the model is shown, and which of them bear its answer out."""

from collections.abc import Iterator, Sequence

from chalicelib.chat import fence, grounding
from chalicelib.chat.citations import cite
from chalicelib.chat.prompt import Findings
from chalicelib.chat.support import count_words
from chalicelib.library import Library
from chalicelib.patience import patience
from chalicelib.records import Citation, Message, Passage, Retrieval, RetrievalOptions, Turn
from chalicelib.settings import Settings

FOLLOW_UP_WORDS = 4
"""So short a question ("And cats?") is most often about what was asked before it."""


class Sources:
    """Looks things up for turns, in the owner's documents."""

    def __init__(self, library: Library, settings: Settings) -> None:
        self._library = library
        self._passage_tokens = settings.passage_tokens

    def find(self, turn: Turn, wait_s: float) -> Findings:
        """Return what the documents have for a turn's question; an owner without documents asked nothing of them.

        A library that sleeps or does not answer is waited for, for `wait_s` in all. Raises what Library.search raises: a
        question is not answered without the documents because they can't be reached.
        """
        question, options, owner = turn.question.content, turn.question.options.retrieval, turn.conversation.owner
        if options.off:
            return Findings()
        if not (options.documents or self._library.has_documents(owner)):
            return Findings(Retrieval("empty"), answer=fence.NOT_THERE) if options.asked else Findings()
        passages = fence.fitting(self._grounded(owner, turn, options, wait_s), self._passage_tokens)
        if passages:
            shown = fence.with_passages(question, passages, only_these=options.asked)
            return Findings(Retrieval("used", len(passages)), passages, shown)
        if options.asked:
            being_read = self._library.is_reading(owner)
            return Findings(Retrieval("empty"), answer=fence.NOT_THERE_YET if being_read else fence.NOT_THERE)
        return Findings(Retrieval("empty"), shown=fence.with_none(question))

    def cite(self, answer: str, question: str, findings: Findings) -> tuple[str, tuple[Citation, ...]]:
        """Return the answer with its marks, and the citations they stand for."""
        return cite(answer, findings.passages, question) if findings.passages else (answer, ())

    def _grounded(self, owner: str, turn: Turn, options: RetrievalOptions, wait_s: float) -> Sequence[Passage]:
        """Return the passages that fit the question; of its readings, the first one that finds any."""
        with patience(wait_s):
            for query in queries(turn.question, turn.history):
                found = self._library.search(owner, query, k=options.top_k, documents=options.documents)
                passages = grounding.grounded(found, query, self._library.space)
                if passages:
                    return passages
        return ()


def queries(question: Message, history: Sequence[Message]) -> Iterator[str]:
    """Yield what to search for, in order: a question as it stands, and together with the one before it.

    A very short one is tried together first: by itself it would find whatever has its few words.
    """
    previous = next((message.content for message in reversed(history) if message.role == "user"), "")
    readings = [question.content]
    if previous:
        readings.append(f"{previous}\n{question.content}")
    yield from reversed(readings) if count_words(question.content) <= FOLLOW_UP_WORDS else readings
