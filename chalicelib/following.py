"""Following a turn that a worker answers: its events as they are stored, its state, and how it is stopped."""

import time
from collections.abc import Callable, Generator

from chalicelib import wire
from chalicelib.chat.events import Place, TurnEvent, read_place
from chalicelib.chat.questions import Questions
from chalicelib.chat.runs import Runs
from chalicelib.conversations import Conversations
from chalicelib.errors import PaiError, TurnLost, TurnStopped, Unavailable
from chalicelib.http import Reply, Request
from chalicelib.records import Conversation, Message

POLL_S, FIRST_POLL_S = 0.1, 0.05
"""How often the log of a worker in another process is read; until the first words are there, more often."""
HERE_S = 1.0
"""How long to wait for a worker in this process, which says itself when there is more."""
CHECK_S = 2.0
"""How often it is looked whether a turn that says nothing still runs."""
HELD_S = 20.0
"""How long a request for events is held where answers can't be streamed: API Gateway hangs up after 29 s."""
COMMENT_S = 10.0
"""How often a stream without events gives a sign of life: proxies close what is silent."""
RECONNECT_MS = 2000
"""When to come again, if the store could not be read."""
ENDS = ("done", "failed")


class Following:
    """Shows turns to those who did not wait for them."""

    def __init__(
        self,
        questions: Questions,
        conversations: Conversations,
        runs: Runs,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._questions = questions
        self._conversations = conversations
        self._runs = runs
        self._now = now
        self._sleep = sleep

    def show(self, owner: str, conversation_id: str, turn_id: str) -> Reply:
        """Return a turn's state: with its answer, what there is of it, or why there is none."""
        conversation, question, answer = self._settled(owner, conversation_id, turn_id)
        if answer:
            return Reply(wire.turn(conversation.id, question, answer))
        events = self._runs.log(conversation, turn_id).after(Place(question.lease_until_ms))
        said = "".join(event.data["text"] for event in events if event.kind == "text")
        return Reply(wire.turn(conversation.id, question, None, said))

    def stop(self, owner: str, conversation_id: str, turn_id: str) -> Reply:
        """Have a turn end with what there is. One that its own request answers ends with that request, and not before."""
        conversation, question, answer = self._settled(owner, conversation_id, turn_id)
        if answer or question.state == "failed":
            return Reply(wire.turn(conversation.id, question, answer))
        if question.background and self._runs.withdraw(conversation, question):
            self._conversations.fail(conversation, question, TurnStopped())
            return self.show(owner, conversation_id, turn_id)
        self._runs.log(conversation, turn_id).ask_to_stop(question.lease_until_ms)
        if recorder := self._runs.here(conversation, question):
            recorder.stop()
        return Reply(wire.turn(conversation.id, question, None), 202)

    def events(self, request: Request, conversation_id: str, turn_id: str) -> Reply:
        """Return the events behind Last-Event-ID: all that come, or where answers can't be streamed, the next batch."""
        last = request.headers.get("last-event-id", "")
        place = read_place(last) if last else None
        conversation, question, answer = self._conversations.exchange(request.owner, conversation_id, turn_id)
        pieces = self._pieces(conversation, question, answer, place, streams=request.streams)
        return Reply(pieces, content_type="text/event-stream; charset=utf-8", headers={"Cache-Control": "no-cache"})

    def _pieces(
        self, conversation: Conversation, question: Message, answer: Message | None, place: Place | None, *, streams: bool
    ) -> Generator[str]:
        """Yield server-sent events, and empty texts while there are none. The status has gone out: nothing is raised."""
        try:
            if answer:
                yield wire.event("done", wire.answered_body(conversation.id, answer))
            else:
                yield from self._follow(conversation, question, place, streams=streams)
        except Unavailable:
            yield f"retry: {RECONNECT_MS}\n\n"
        except PaiError as error:  # the conversation was deleted meanwhile, or does not open
            yield wire.event("failed", {"Code": error.code, "Message": error.message})

    def _follow(self, conversation: Conversation, question: Message, place: Place | None, *, streams: bool) -> Generator[str]:
        log, begun = self._runs.log(conversation, question.id), self._now()
        looked_at = said_at = begun - CHECK_S if question.state == "failed" else begun
        if place and place.run != question.lease_until_ms:
            yield wire.event("restart", {}, str(Place(question.lease_until_ms, 0)))
            place = None
        place = place or Place(question.lease_until_ms)
        while True:
            events = log.after(place)
            for event in events:
                place, said_at = event.place, self._now()
                yield self._piece(conversation, question, event)
                if event.kind in ENDS:
                    return
            if not streams and (any(map(_is_news, events)) or self._now() >= begun + HELD_S):
                yield "retry: 0\n\n"
                return
            if not events and self._now() >= looked_at + CHECK_S:
                looked_at = self._now()
                conversation, question, answer = self._settled(conversation.owner, conversation.id, question.id)
                if answer or question.state == "failed":
                    yield self._end(conversation, question, answer)
                    return
                if question.lease_until_ms != place.run:
                    place = Place(question.lease_until_ms)
                    yield wire.event("restart", {}, str(Place(place.run, 0)))
            if streams and self._now() >= said_at + COMMENT_S:
                said_at = self._now()
                yield ": still at work\n\n"
            yield ""
            self._wait(conversation, question, place)

    def _wait(self, conversation: Conversation, question: Message, place: Place) -> None:
        """Wait for the next event: a worker in this process says when it is there."""
        if recorder := self._runs.here(conversation, question):
            recorder.wait_beyond(place.number, HERE_S)
        else:
            self._sleep(POLL_S if place.number > 0 else FIRST_POLL_S)

    def _piece(self, conversation: Conversation, question: Message, event: TurnEvent) -> str:
        if event.kind != "done":
            return wire.event(event.kind, event.data, str(event.place))
        return self._end(*self._conversations.exchange(conversation.owner, conversation.id, question.id))

    def _end(self, conversation: Conversation, question: Message, answer: Message | None) -> str:
        if answer:
            return wire.event("done", wire.answered_body(conversation.id, answer))
        return wire.event("failed", wire.failure(question))

    def _settled(self, owner: str, conversation_id: str, turn_id: str) -> tuple[Conversation, Message, Message | None]:
        """Return a turn as it is; one whose runner died ends as failed."""
        conversation, question, answer = self._conversations.exchange(owner, conversation_id, turn_id)
        if answer is None and question.state == "running" and self._questions.has_ended(conversation, question):
            self._conversations.fail(conversation, question, TurnLost())
            conversation, question, answer = self._conversations.exchange(owner, conversation_id, turn_id)
        return conversation, question, answer


def _is_news(event: TurnEvent) -> bool:
    """Whether an event is worth ending a held request for."""
    return event.data != {"state": "running"}
