"""What happens to a question that is stored: one engine, whoever waits for the answer.

Look into the documents, ask the model, hand its words to the sink, store the answer with its citations, move the conversation
on. `run_turn` needs nothing but what is stored: the request that asked may run it, or a worker. A turn whose runner dies has
a lease that runs out, and can be taken up again; the answer's id is fixed from the start and written once, so that two
runners can't answer twice.
"""

import codecs
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Protocol

from chalicelib.chat import prompt
from chalicelib.chat.titles import title_for
from chalicelib.clock import iso
from chalicelib.conversations import Conversations, title_of
from chalicelib.errors import (
    ConversationNotFound,
    EmbedderUnavailable,
    InternalError,
    LibraryUnavailable,
    MessageNotFound,
    ModelInterrupted,
    ModelTimeout,
    PaiError,
    StoreUnavailable,
    TurnStopped,
)
from chalicelib.llm import Event, Finish, Request, Text
from chalicelib.metering import Cut, Meter
from chalicelib.records import Citation, Conversation, Message, Principal, Retrieval, Turn, Usage
from chalicelib.settings import Settings

WAKE_S, PATIENT_WAKE_S, NAP_S = 8.0, 60.0, 3.0
"""How long a library that sleeps is waited for: while nobody is told; while somebody is told, which they are after a nap."""
ITSELF = "pai"
"""The model's name in an answer that needed none."""


class Sink(Protocol):
    """Where the words go as they come. `patient`: whoever reads them is told what is waited for, so it may take longer."""

    patient: bool

    @property
    def stopped(self) -> bool:
        """Whether the turn is to end with what there is."""
        ...

    def text(self, delta: str) -> None: ...

    def state(self, state: str) -> None:
        """Say what is waited for: `waking`, then `running` again."""
        ...


class Sources(Protocol):
    """What the owner's documents have for a turn: chat.sources, where documents are kept."""

    def find(self, turn: Turn, wait_s: float) -> prompt.Findings: ...

    def cite(self, answer: str, question: str, findings: prompt.Findings) -> tuple[str, tuple[Citation, ...]]: ...


class Collect:
    """The sink of a caller who waits for the whole answer: the answer itself is all it wants."""

    patient = stopped = False

    def text(self, delta: str) -> None:
        pass

    def state(self, state: str) -> None:
        pass


class TurnEngine:
    """Runs turns over a repository, a model and, where documents are kept, what they say."""

    def __init__(
        self,
        conversations: Conversations,
        meter: Meter,
        settings: Settings,
        now: Callable[[], float] = time.time,
        sources: Sources | None = None,
    ) -> None:
        self._conversations = conversations
        self._meter = meter
        self._settings = settings
        self._now = now
        self._sources = sources

    def run_turn(self, turn: Turn, sink: Sink) -> Message:
        """Answer the turn's question and return the stored answer. The question is kept, with the reason, when that fails."""
        try:
            return self._finished(turn, self._answer(turn, sink))
        except ConversationNotFound:  # it was deleted meanwhile, and the question with it
            raise
        except PaiError as error:
            self.fail(turn, error)
            raise
        except Exception as defect:
            self.fail(turn, InternalError("PAI made a mistake while answering. The question is kept; ask it again."))
            raise defect

    def _finished(self, turn: Turn, answer: Message) -> Message:
        """Store the answer, and return the one that is stored."""
        try:
            if self._conversations.finish(turn, answer):
                return answer
        except StoreUnavailable:
            # It may have been stored all the same. Then it is there, and a question that has an answer did not fail.
            with suppress(MessageNotFound):
                return self._conversations.message(turn.conversation, answer.id)
            raise
        return self._conversations.message(turn.conversation, answer.id)

    def _answer(self, turn: Turn, sink: Sink) -> Message:
        deadline_s = self._settings.worker_deadline_s if turn.question.background else self._settings.deadline_s
        deadline = time.monotonic() + deadline_s
        findings = self._findings(turn, sink)
        if findings.answer:
            sink.text(findings.answer)
            return self._message(turn, findings.answer, (), Finish(Usage(), "end", ITSELF), findings.retrieval)
        words = _Words(sink)
        request = replace(prompt.request_for(turn, self._settings, findings), timeout_s=max(deadline - time.monotonic(), 0))
        finish = self._generate(turn.who, request, words)
        cited = self._sources.cite(words.text, turn.question.content, findings) if self._sources else (words.text, ())
        return self._message(turn, *cited, finish, findings.retrieval)

    def _findings(self, turn: Turn, sink: Sink) -> prompt.Findings:
        """Return what the documents have; when they sleep, say so to whoever can be told, and wait longer."""
        if self._sources is None:
            return prompt.NOTHING_ASKED
        if not sink.patient:
            return self._sources.find(turn, WAKE_S)
        try:
            return self._sources.find(turn, NAP_S)
        except (LibraryUnavailable, EmbedderUnavailable):
            sink.state("waking")
        findings = self._sources.find(turn, PATIENT_WAKE_S)
        sink.state("running")
        return findings

    def _message(
        self, turn: Turn, text: str, citations: tuple[Citation, ...], finish: Finish, retrieval: Retrieval
    ) -> Message:
        return Message(
            id=turn.question.answer_id,
            role="assistant",
            content=text,
            created_at=iso(self._now()),
            parent_id=turn.question.id,
            branch=turn.question.branch,
            model=finish.model,
            usage=finish.usage,
            stop_reason=finish.stop_reason,
            citations=citations,
            retrieval=retrieval,
        )

    def _generate(self, who: Principal, request: Request, words: "_Words") -> Finish:
        """Hear the model out, or until the sink has enough. The stream itself ends at the request's deadline."""
        with closing(self._meter.stream(who, request)) as events:
            for event in events:
                if isinstance(event, Finish):
                    words.hear("", last=True)
                    if event.stop_reason == "deadline" and not words.text:
                        raise ModelTimeout("The model said nothing in time. The question is kept; ask it again.")
                    return event
                if isinstance(event, Text):
                    words.hear(event.text)
                if words.enough:
                    return self._stopped(events, words)
        raise ModelInterrupted("The model's answer broke off before its end. The question is kept; ask it again.")

    def _stopped(self, events: Generator[Event], words: "_Words") -> Finish:
        words.hear("", last=True)
        finish = events.throw(Cut("stopped"))
        if not words.text:
            raise TurnStopped
        assert isinstance(finish, Finish)
        return finish

    def wants_title(self, turn: Turn) -> bool:
        """Whether this turn is the first of a conversation that nobody has named."""
        first = turn.conversation.turns == 0 and not turn.question.parent_id
        return bool(self._settings.titles) and first and turn.conversation.title == title_of(turn.question.content)

    def name(self, who: Principal, conversation: Conversation, question: Message, answer: Message | None) -> None:
        """Give a conversation a title of the model's, unless somebody was quicker. A failure is not worth an error."""
        with suppress(PaiError):
            title = title_for(question.content, answer.content, who, self._meter) if answer else ""
            if title:
                self._conversations.retitle(conversation, title)

    def fail(self, turn: Turn, error: PaiError) -> None:
        """Keep with a question why it has no answer; the error then says which question that is."""
        kept = {"conversation_id": turn.conversation.id, "turn_id": turn.question.id}
        error.details = {**error.details, **kept}
        with suppress(StoreUnavailable):  # then the end of its lease says that the turn has failed
            self._conversations.fail(turn.conversation, turn.question, error)


class _Words:
    """What the model says, made whole: a character may come in two halves (surrogates), and half a one is replaced."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")
        self._said: list[str] = []

    def hear(self, delta: str, *, last: bool = False) -> None:
        whole = self._decoder.decode(delta.encode("utf-16-le", "surrogatepass"), last)
        if whole:
            self._said.append(whole)
            self._sink.text(whole)

    @property
    def enough(self) -> bool:
        return self._sink.stopped

    @property
    def text(self) -> str:
        return "".join(self._said)
