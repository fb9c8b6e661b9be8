"""What happens to a question: one engine, whoever waits for the answer.

    begin     read the conversation, store the user's message: it is the turn, and carries state, lease and the answer's id
    run_turn  look into the documents, ask the model, hand its words to the sink, store the answer with its citations,
              move the conversation on

`run_turn` needs nothing but what is stored. A turn whose runner dies has a lease that runs out, and can be taken up again;
the answer's id is fixed from the start and written once, so that two runners can't answer twice.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Protocol

from chalicelib.chat import prompt
from chalicelib.chat.idempotency import Claim, Claims
from chalicelib.clock import iso
from chalicelib.conversations import Conversations, answer_id, new_message_id, title_of
from chalicelib.errors import (
    ConversationNotFound,
    InternalError,
    LibraryOff,
    MessageNotFound,
    ModelError,
    ModelInterrupted,
    ModelTimeout,
    PaiError,
    StoreUnavailable,
    TurnRunning,
)
from chalicelib.llm import LLM, Finish, Request, Text
from chalicelib.records import Citation, Conversation, Message, Retrieval, Turn, TurnOptions, Usage
from chalicelib.settings import Settings

HISTORY_MESSAGES = 40
"""Newest messages read for a turn: what bounds its cost. The token budget cuts further."""
LEASE_SLACK_S = 15
"""What a runner may need beyond its deadline to store what it has."""
ITSELF = "pai"
"""The model's name in an answer that needed none."""


@dataclass(frozen=True)
class Ask:
    """A request to /chat, checked. `parent_id` asks for an answer on another branch."""

    message: str
    conversation_id: str = ""
    user_id: str = ""
    system_prompt: str = ""
    parent_id: str = ""
    options: TurnOptions = field(default_factory=TurnOptions)


@dataclass(frozen=True)
class Answered:
    """The end of a turn."""

    conversation_id: str
    answer: Message


ClaimIds = Callable[[str, str], None]
"""Told the ids of the conversation and the question before they are stored."""


def _unclaimed(conversation_id: str, question_id: str) -> None:
    """Nobody needs the ids beforehand."""


class _KeyHeldError(Exception):
    """An Idempotency-Key stands for a question already."""


class Sink(Protocol):
    """Where the words go as they come."""

    def text(self, delta: str) -> None: ...


class Sources(Protocol):
    """What the owner's documents have for a turn: chat.sources, where documents are kept."""

    def find(self, turn: Turn) -> prompt.Findings: ...

    def cite(self, answer: str, question: str, findings: prompt.Findings) -> tuple[str, tuple[Citation, ...]]: ...


class Collect:
    """The sink of a caller who waits for the whole answer: the answer itself is all it wants."""

    def text(self, delta: str) -> None:
        pass


class TurnEngine:
    """Runs turns over a repository, a model and, where documents are kept, what they say."""

    def __init__(
        self,
        conversations: Conversations,
        claims: Claims,
        llm: LLM,
        settings: Settings,
        now: Callable[[], float] = time.time,
        sources: Sources | None = None,
    ) -> None:
        self._conversations = conversations
        self._claims = claims
        self._llm = llm
        self._settings = settings
        self._now = now
        self._sources = sources

    def ask(self, owner: str, ask: Ask, sink: Sink, wish: Claim | None = None) -> Answered:
        """Answer a request: with `wish` (an Idempotency-Key), only once however often it comes.

        Raises LibraryOff for a question to certain documents where none are kept.
        """
        if self._sources is None and ask.options.retrieval.documents and not ask.options.retrieval.off:
            raise LibraryOff
        turn = self._claimed_turn(owner, ask, wish) if wish else self.begin(owner, ask)
        if isinstance(turn, Answered):
            return turn
        return Answered(turn.conversation.id, self.run_turn(turn, sink))

    def begin(self, owner: str, ask: Ask, claim: ClaimIds = _unclaimed) -> Turn:
        """Store the question and return its turn, ready to run. `claim` is told its ids before it is stored.

        A question that failed as the last thing in its conversation is taken up again when it is asked again.
        """
        if not ask.conversation_id:
            return self._begin_first(owner, ask, claim)
        # The question may stand in the history already, where it failed: then it takes nothing from the budget.
        enough_chars = prompt.most_chars(self._settings.history_tokens) + len(ask.message)
        conversation, history = self._conversations.open(owner, ask.conversation_id, HISTORY_MESSAGES, enough_chars)
        last = history[-1] if history else None
        if last and self._is_retry(last, ask):
            claim(conversation.id, last.id)
            conversation = self._described(conversation, ask)
            again = replace(last, options=ask.options)
            return self._restarted(Turn(conversation, again, tuple(history[:-1])))
        turn = self._next(conversation, last, history, ask, claim)
        self._conversations.add(conversation, turn.question)
        return turn

    def open_conversation(self, header: Conversation, note: str) -> Conversation:
        """Store a new conversation; `note`, if any, is its first message, answered together with the next question."""
        conversation = self._conversations.create(header)
        if note:
            message = Message(new_message_id(self._now()), "user", note, iso(self._now()))
            self._conversations.add(conversation, message)
        return conversation

    def take_up(self, owner: str, conversation_id: str, question_id: str) -> Turn | Answered:
        """Return the answer of a stored question, or its turn to run again when it failed or its runner died.

        Raises TurnRunning while its runner lives; MessageNotFound, ConversationNotFound.
        """
        conversation = self._conversations.header(owner, conversation_id)
        question = self._conversations.message(conversation, question_id)
        try:
            return Answered(conversation_id, self._conversations.message(conversation, question.answer_id))
        except MessageNotFound:
            # Another branch may be active by now: what the question followed is on its own path.
            its_own = replace(conversation, path=self._conversations.path_to(conversation, question_id))
            return self._restarted(Turn(conversation, question, self._recent(its_own, before=question_id)))

    def _claimed_turn(self, owner: str, ask: Ask, wish: Claim) -> Turn | Answered:
        try:
            return self.begin(owner, ask, partial(self._claim, wish, None))
        except _KeyHeldError:
            held = self._claims.holder(wish)
        try:
            return self.take_up(owner, held.conversation_id, held.question_id)
        except (ConversationNotFound, MessageNotFound):
            self._claims.check_dead(held)
        try:
            return self.begin(owner, ask, partial(self._claim, wish, held))
        except _KeyHeldError:
            raise TurnRunning("Another request with this Idempotency-Key was first. Ask again in a moment.") from None

    def _claim(self, wish: Claim, instead_of: Claim | None, conversation_id: str, question_id: str) -> None:
        if not self._claims.make(wish, conversation_id, question_id, instead_of):
            raise _KeyHeldError

    def run_turn(self, turn: Turn, sink: Sink) -> Message:
        """Answer the turn's question and return the stored answer. The question is kept, with the reason, when that fails."""
        try:
            answer = self._answer(turn, sink)
            stored = self._conversations.finish(turn, answer)
        except ConversationNotFound:  # it was deleted meanwhile, and the question with it
            raise
        except PaiError as error:
            self._fail(turn, error)
            raise
        except Exception as defect:
            self._fail(turn, InternalError("PAI made a mistake while answering. The question is kept; ask it again."))
            raise defect
        return answer if stored else self._conversations.message(turn.conversation, answer.id)

    def _answer(self, turn: Turn, sink: Sink) -> Message:
        deadline = time.monotonic() + self._settings.deadline_s
        findings = self._sources.find(turn) if self._sources else prompt.NOTHING_ASKED
        if findings.answer:
            sink.text(findings.answer)
            return self._message(turn, findings.answer, (), Finish(Usage(), "end", ITSELF), findings.retrieval)
        pieces: list[str] = []
        finish = self._generate(prompt.request_for(turn, self._settings, findings), sink, pieces, deadline)
        text = _joined(pieces)
        cited = self._sources.cite(text, turn.question.content, findings) if self._sources else (text, ())
        return self._message(turn, *cited, finish, findings.retrieval)

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

    def _generate(self, request: Request, sink: Sink, pieces: list[str], deadline: float) -> Finish:
        """Draw the answer from the model into `pieces` and the sink, until it ends or the deadline is over."""
        request = replace(request, timeout_s=max(deadline - time.monotonic(), 0))
        with closing(self._llm.stream(request)) as events:
            try:
                for event in events:
                    if isinstance(event, Finish):
                        return event
                    if isinstance(event, Text):
                        pieces.append(event.text)
                        sink.text(event.text)
                    if time.monotonic() >= deadline:
                        return self._cut(request, _joined(pieces))
            except (ModelTimeout, ModelInterrupted):
                if pieces and time.monotonic() >= deadline:
                    return self._cut(request, _joined(pieces))
                raise
        raise ModelInterrupted("The model's answer broke off before its end. The question is kept; ask it again.")

    def _cut(self, request: Request, text: str) -> Finish:
        """End an answer at the deadline. The model did not say what it used, so the tokens are estimates."""
        if not text:
            waited = self._settings.deadline_s
            raise ModelTimeout(f"The model said nothing within {waited:g} s. The question is kept; ask it again.")
        asked = prompt.count_tokens(request.system) + sum(prompt.count_tokens(said.text) for said in request.messages)
        usage = Usage(asked, prompt.count_tokens(text))
        return Finish(usage, "deadline", request.model or self._default_model())

    def _default_model(self) -> str:
        try:
            return self._llm.models()[0].id
        except ModelError:  # an answer is not given up for the name of its model
            return self._settings.model

    def _fail(self, turn: Turn, error: PaiError) -> None:
        kept = {"conversation_id": turn.conversation.id, "turn_id": turn.question.id}
        error.details = {**error.details, **kept}
        with suppress(StoreUnavailable):  # then the end of its lease says that the turn has failed
            self._conversations.fail(turn.conversation, turn.question, error)

    def _begin_first(self, owner: str, ask: Ask, claim: ClaimIds) -> Turn:
        question = self._question(ask, new_message_id(self._now()))
        header = Conversation(
            id=str(uuid.uuid4()),
            owner=owner,
            title=title_of(ask.message),
            system_prompt=ask.system_prompt,
            user_id=ask.user_id,
        )
        claim(header.id, question.id)
        conversation = self._conversations.create(header)
        self._conversations.add(conversation, question)
        return Turn(conversation, question, first=True)

    def _next(
        self, conversation: Conversation, last: Message | None, history: Sequence[Message], ask: Ask, claim: ClaimIds
    ) -> Turn:
        """Return the turn of a question in a conversation that exists: after `last`, or on a branch of its own."""
        parent_id = ask.parent_id or (last.id if last else "")
        # A branch whose first question was never stored has only its id: what comes later in it must sort behind that too.
        question_id = new_message_id(self._now(), after=max(parent_id, conversation.path[0].branch))
        claim(conversation.id, question_id)
        if parent_id and (conversation.path[0].until or last is None or parent_id != last.id):
            conversation = self._conversations.branch(conversation, parent_id, question_id)
            history = self._recent(conversation)
        return Turn(
            self._described(conversation, ask),
            replace(self._question(ask, question_id), parent_id=parent_id, branch=conversation.path[0].branch),
            tuple(history),
        )

    def _described(self, conversation: Conversation, ask: Ask) -> Conversation:
        """Store what the question says of its conversation: a new system prompt, and a title where there is none."""
        title = "" if conversation.title else title_of(ask.message)
        return self._conversations.describe(conversation, title=title, system_prompt=ask.system_prompt)

    def _question(self, ask: Ask, question_id: str) -> Message:
        return Message(
            id=question_id,
            role="user",
            content=ask.message,
            created_at=iso(self._now()),
            state="running",
            lease_until_ms=self._lease(),
            answer_id=answer_id(question_id),
            options=ask.options,
        )

    def _is_retry(self, last: Message, ask: Ask) -> bool:
        """Whether this asks again what was asked last, and got no answer."""
        return last.content == ask.message and ask.parent_id in ("", last.parent_id) and self._has_ended(last)

    def _has_ended(self, question: Message) -> bool:
        """Whether a question without an answer has nobody at work on it: it failed, or its runner's lease ran out."""
        return question.state == "failed" or (question.state == "running" and question.lease_until_ms < self._now() * 1000)

    def _restarted(self, turn: Turn) -> Turn:
        question, lease = turn.question, self._lease()
        if self._has_ended(question) and self._conversations.restart(turn.conversation, question, lease):
            return replace(turn, question=replace(question, state="running", lease_until_ms=lease))
        raise TurnRunning("This question is being answered by another request. Ask again in a moment, with the same key.")

    def _recent(self, conversation: Conversation, before: str = "") -> tuple[Message, ...]:
        newest = islice(self._conversations.newest_first(conversation, before), HISTORY_MESSAGES)
        return tuple(newest)[::-1]

    def _lease(self) -> int:
        return int((self._now() + self._settings.deadline_s + LEASE_SLACK_S) * 1000)


def _joined(pieces: Sequence[str]) -> str:
    """Join what the model said. A character that came in two halves (surrogates) is made whole; half a one is replaced."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
