"""From a request to a stored question, ready to be answered: once, whoever asks again and however often.

The user's message is the turn: it carries its state, its lease and the id that its answer will have.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from typing import Protocol

from chalicelib.chat import prompt
from chalicelib.chat.idempotency import Claim, Claims
from chalicelib.clock import iso
from chalicelib.conversations import Conversations, answer_id, new_message_id, title_of
from chalicelib.errors import (
    ConversationNotFound,
    LibraryOff,
    MessageNotFound,
    NothingToAnswer,
    PaiError,
    StoreUnavailable,
    TurnRunning,
)
from chalicelib.records import Conversation, Message, Turn, TurnOptions
from chalicelib.settings import Settings

HISTORY_MESSAGES = 40
"""Newest messages read for a turn: what bounds its cost. The token budget cuts further."""
LEASE_SLACK_S = 15
"""What a runner may need beyond its deadline to store what it has."""
START_S = 75
"""How long a worker may take to begin. Lambda drops what it could not start within 60 s."""
SKEW_S = 60
"""A lease that ends so much later than any can was given before the clock was set back: it has run out."""


@dataclass(frozen=True)
class Ask:
    """A request to /chat, checked. `parent_id` asks for an answer on another branch, `background` for one by a worker.

    `key_id` is that of the API key that asks.
    """

    message: str
    conversation_id: str = ""
    user_id: str = ""
    system_prompt: str = ""
    parent_id: str = ""
    options: TurnOptions = field(default_factory=TurnOptions)
    key_id: str = ""
    background: bool = False


@dataclass(frozen=True)
class Again:
    """A request to answer a question again: the one that `message_id` names, or whose answer it is; if empty, the last one.

    What `options` leave open is as it was.
    """

    conversation_id: str
    message_id: str = ""
    options: TurnOptions = field(default_factory=TurnOptions)
    key_id: str = ""
    background: bool = False


@dataclass(frozen=True)
class Answered:
    """The end of a turn."""

    conversation_id: str
    answer: Message


ClaimIds = Callable[[str, str], None]
"""Told the ids of the conversation and the question before they are stored."""
Begin = Callable[[ClaimIds], Turn]


def _unclaimed(conversation_id: str, question_id: str) -> None:
    """Nobody needs the ids beforehand."""


class Workers(Protocol):
    """What is known of the workers of turns in the background: chat.runs."""

    alone_since_ms: int
    """When this process began to be the only one; what ran before then, in Unix ms, is dead. 0 is never."""

    def is_here(self, conversation: Conversation, question: Message) -> bool: ...

    def is_lost(self, conversation: Conversation, question: Message, begun_ms: int) -> bool: ...


class Questions:
    """Stores questions, in conversations, under leases."""

    def __init__(
        self,
        conversations: Conversations,
        claims: Claims,
        workers: Workers,
        settings: Settings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._conversations = conversations
        self._claims = claims
        self._workers = workers
        self._settings = settings
        self._now = now

    def prepare(self, owner: str, ask: Ask | Again, wish: Claim | None = None) -> Turn | Answered:
        """Store the question and return its turn, ready to run; or the answer to one that came before, with the same `wish`.

        Raises LibraryOff for a question to certain documents where none are kept; NothingToAnswer; and TurnRunning for a
        question that is being answered already, whose `details` say which.
        """
        retrieval = ask.options.retrieval
        if self._settings.retriever == "none" and retrieval.documents and not retrieval.off:
            raise LibraryOff
        begin: Begin = partial(self.begin if isinstance(ask, Ask) else self._begin_again, owner, ask)  # type: ignore[arg-type]
        return self._once(owner, ask, wish, begin) if wish else begin(_unclaimed)

    def begin(self, owner: str, ask: Ask, claim: ClaimIds = _unclaimed) -> Turn:
        """Store the question and return its turn. `claim` is told its ids before it is stored.

        A question that failed as the last thing in its conversation is taken up again when it is asked again.
        """
        if not ask.conversation_id:
            return self._begin_first(owner, ask, claim)
        # The question may stand in the history already, where it failed: then it takes nothing from the budget.
        enough_chars = prompt.most_chars(self._settings.history_tokens) + len(ask.message)
        conversation, history = self._conversations.open(owner, ask.conversation_id, HISTORY_MESSAGES, enough_chars)
        last = history[-1] if history else None
        if last and self._is_retry(conversation, last, ask):
            claim(conversation.id, last.id)
            conversation = self._described(conversation, ask)
            again = replace(last, options=ask.options)
            return self._restarted(Turn(conversation, again, tuple(history[:-1]), key_id=ask.key_id), ask.background)
        return self._added(conversation, self._next(conversation, last, history, ask, claim))

    def open_conversation(self, header: Conversation, note: str) -> Conversation:
        """Store a new conversation; `note`, if any, is its first message, answered together with the next question."""
        conversation = self._conversations.create(header)
        if note:
            message = Message(new_message_id(self._now()), "user", note, iso(self._now()))
            self._conversations.add(conversation, message)
        return conversation

    def take_up(
        self, owner: str, conversation_id: str, question_id: str, key_id: str = "", background: bool = False
    ) -> Turn | Answered:
        """Return the answer of a stored question, or its turn to run again when it failed or its runner died.

        Raises TurnRunning while its runner lives; MessageNotFound, ConversationNotFound.
        """
        conversation, question, answer = self._conversations.exchange(owner, conversation_id, question_id)
        if answer:
            return Answered(conversation_id, answer)
        return self._restarted(self.turn_of(conversation, question, key_id), background)

    def of_run(self, owner: str, conversation_id: str, question_id: str, run: int, key_id: str) -> Turn | None:
        """Return the turn of a question while it waits for the worker of this run (its lease); None when it no longer does.

        Raises ConversationNotFound, MessageNotFound.
        """
        conversation, history = self._conversations.open(owner, conversation_id, HISTORY_MESSAGES + 1)
        question = history[-1] if history else None
        if question and question.id == question_id:  # in one query
            turn = Turn(conversation, question, tuple(history[:-1]), _is_new(conversation, question), key_id)
        else:
            conversation, question, answer = self._conversations.exchange(owner, conversation_id, question_id)
            turn = self.turn_of(conversation, question, key_id)
            if answer:
                return None
        return turn if question.state == "running" and question.lease_until_ms == run else None

    def turn_of(self, conversation: Conversation, question: Message, key_id: str) -> Turn:
        """Return the turn of a stored question, whatever branch is active by now: what it followed is on its own path."""
        its_own = replace(conversation, path=self._conversations.path_to(conversation, question.id))
        return Turn(conversation, question, self._recent(its_own, before=question.id), key_id=key_id)

    def has_ended(self, conversation: Conversation, question: Message) -> bool:
        """Whether a question without an answer has nobody at work on it: it failed, or its runner died."""
        if question.state != "running":
            return question.state == "failed"
        if self._workers.is_here(conversation, question):
            return False  # a clock that jumped, or a laptop that slept, means nothing then
        now_ms, longest_ms = self._now() * 1000, self._lease_s(bool(question.background)) * 1000
        if not now_ms <= question.lease_until_ms <= now_ms + longest_ms + SKEW_S * 1000:
            return True
        begun_ms = question.lease_until_ms - int(longest_ms)
        if begun_ms < self._workers.alone_since_ms:
            return True
        return bool(question.background) and self._workers.is_lost(conversation, question, begun_ms)

    def _once(self, owner: str, ask: Ask | Again, wish: Claim, begin: Begin) -> Turn | Answered:
        """Begin unless the Idempotency-Key stands for a question already: then take that one up."""
        try:
            return begin(partial(self._claim, wish, None))
        except _KeyHeldError:
            held = self._claims.holder(wish)
        try:
            return self.take_up(owner, held.conversation_id, held.question_id, ask.key_id, ask.background)
        except (ConversationNotFound, MessageNotFound):
            self._claims.check_dead(held)
        try:
            return begin(partial(self._claim, wish, held))
        except _KeyHeldError:
            raise TurnRunning("Another request with this Idempotency-Key was first. Ask again in a moment.") from None

    def _claim(self, wish: Claim, instead_of: Claim | None, conversation_id: str, question_id: str) -> None:
        if not self._claims.make(wish, conversation_id, question_id, instead_of):
            raise _KeyHeldError

    def _begin_again(self, owner: str, again: Again, claim: ClaimIds) -> Turn:
        """Take a question up that has no answer; ask one that has again, on a branch of its own."""
        conversation, question, answer = self._sought(owner, again)
        options = _merged(question.options, again.options)
        if answer is None:
            claim(conversation.id, question.id)
            retry = replace(question, options=options)
            return self._restarted(self.turn_of(conversation, retry, again.key_id), again.background)
        ask = Ask(question.content, conversation.id, options=options, key_id=again.key_id, background=again.background)
        question_id = new_message_id(self._now(), after=max(question.id, conversation.path[0].branch))
        claim(conversation.id, question_id)
        return self._added(conversation, self._branched(conversation, question.parent_id, ask, question_id))

    def _sought(self, owner: str, again: Again) -> tuple[Conversation, Message, Message | None]:
        conversation_id = again.conversation_id
        if again.message_id:
            conversation = self._conversations.header(owner, conversation_id)
            named = self._conversations.message(conversation, again.message_id)
            question_id = named.parent_id if named.role == "assistant" else named.id
        else:
            conversation, history = self._conversations.open(owner, conversation_id, HISTORY_MESSAGES)
            question_id = next((message.id for message in reversed(history) if message.answer_id), "")
        if not question_id:
            raise NothingToAnswer
        return self._conversations.exchange(owner, conversation_id, question_id)

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
        try:
            self._conversations.add(conversation, question)
        except StoreUnavailable:
            with suppress(PaiError):  # nobody was told of this conversation, and each try would leave another one
                self._conversations.delete(owner, header.id)
            raise
        return Turn(conversation, question, first=True, key_id=ask.key_id)

    def _next(
        self, conversation: Conversation, last: Message | None, history: Sequence[Message], ask: Ask, claim: ClaimIds
    ) -> Turn:
        """Return the turn of a question in a conversation that exists: after `last`, or on a branch of its own."""
        parent_id = ask.parent_id or (last.id if last else "")
        # A branch whose first question was never stored has only its id: what comes later in it must sort behind that too.
        question_id = new_message_id(self._now(), after=max(parent_id, conversation.path[0].branch))
        claim(conversation.id, question_id)
        if parent_id and (conversation.path[0].until or last is None or parent_id != last.id):
            return self._branched(conversation, parent_id, ask, question_id)
        question = replace(self._question(ask, question_id), parent_id=parent_id, branch=conversation.path[0].branch)
        return Turn(self._described(conversation, ask), question, tuple(history), key_id=ask.key_id)

    def _branched(self, conversation: Conversation, parent_id: str, ask: Ask, question_id: str) -> Turn:
        """Return the turn of a question that follows a message (none: it has no past) on a branch of its own."""
        conversation = self._described(self._conversations.branched(conversation, parent_id, question_id), ask)
        question = replace(self._question(ask, question_id), parent_id=parent_id, branch=question_id)
        return Turn(conversation, question, self._recent(conversation), key_id=ask.key_id)

    def _added(self, before: Conversation, turn: Turn) -> Turn:
        """Store a question, and make its branch the active one: in this order, so that no branch is shown that has nothing."""
        self._conversations.add(turn.conversation, turn.question)
        if turn.conversation.path != before.path:
            self._conversations.take_path(turn.conversation)
        return turn

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
            lease_until_ms=self._lease(ask.background),
            background=int(ask.background),
            answer_id=answer_id(question_id),
            options=ask.options,
        )

    def _is_retry(self, conversation: Conversation, last: Message, ask: Ask) -> bool:
        """Whether this asks again what was asked last, and got no answer."""
        if last.content != ask.message or ask.parent_id not in ("", last.parent_id):
            return False
        return self.has_ended(conversation, last)

    def _restarted(self, turn: Turn, background: bool) -> Turn:
        """Begin another run. Raises TurnRunning unless the one before has ended."""
        conversation, question = turn.conversation, turn.question
        lease = self._lease(background)
        lease += int(lease == question.lease_until_ms)  # no two runs are called the same
        again = replace(question, state="running", lease_until_ms=lease, background=int(background))
        if self.has_ended(conversation, question) and self._conversations.restart(conversation, question, again):
            return replace(turn, question=again)
        running = TurnRunning("This question is being answered by another request. Ask again in a moment, with the same key.")
        running.details = {"conversation_id": conversation.id, "turn_id": question.id, "message_id": question.answer_id}
        raise running

    def _recent(self, conversation: Conversation, before: str = "") -> tuple[Message, ...]:
        newest = islice(self._conversations.newest_first(conversation, before), HISTORY_MESSAGES)
        return tuple(newest)[::-1]

    def _lease(self, background: bool) -> int:
        return int((self._now() + self._lease_s(background)) * 1000)

    def _lease_s(self, background: bool) -> float:
        """Return the longest that a run may take, from the moment that its question is stored."""
        settings = self._settings
        return (settings.worker_deadline_s + START_S if background else settings.deadline_s) + LEASE_SLACK_S


class _KeyHeldError(Exception):
    """An Idempotency-Key stands for a question already."""


def _merged(before: TurnOptions, now: TurnOptions) -> TurnOptions:
    """Return the options of a question that is answered again."""
    default = TurnOptions()
    given = {option.name: getattr(now, option.name) for option in fields(TurnOptions)}
    return replace(before, **{name: value for name, value in given.items() if value != getattr(default, name)})


def _is_new(conversation: Conversation, question: Message) -> bool:
    """Whether a conversation was made for this question, and so stands in the list where the end of its turn would put it."""
    return question.created_at <= conversation.created_at == conversation.updated_at
