"""Asking, and following a turn to its end: over as many responses as that takes, and over servers that start anew."""

import time
from collections.abc import Generator
from contextlib import closing
from typing import cast

import httpx

from pai.client.connection import CONNECT_S, Connection
from pai.client.errors import ClientError, TurnFailed, error_of, interrupted, not_pai, turn_failed
from pai.client.patience import OnWait, coming_back, patiently, pause_before_next, wait
from pai.client.turns import Asked, Begun, Done, Event, Restart, State, Text
from pai.client.wire import Accepted, ChatReply, has_all, parsed, text_of
from pai.sse import EventSource, Sent

FOLLOWING = httpx.Timeout(60.0, connect=CONNECT_S)
"""How long a response with events may say nothing: the server gives a sign of life sooner, also one that holds responses."""
STOP_S = 1.5
"""How long telling the server to stop may take: somebody has pressed Ctrl-C."""
BACK = State("running")
"""What a lost connection that is there again says: the pause is over, though nothing may have happened yet."""


class Following(Connection):
    def stream(self, asked: Asked, on_wait: OnWait | None = None) -> Generator[Event]:
        """Ask, and yield what happens up to `Done`. Close the iterator to leave early: the server goes on.

        It asks again for as long as the server says when to. A connection that breaks off, or a server that starts anew, is
        taken up where it was. `on_wait(seconds, error)` is called before each pause. Raises TurnFailed with the server's
        reason when there will be no answer.
        """
        tries, waited_s = 0, 0.0
        while True:
            first = patiently(lambda: self._begin(asked), on_wait)
            yield first
            if isinstance(first, Done):
                return
            tries += 1
            try:
                yield from self._follow(first, on_wait)
                return
            except TurnFailed as error:
                waited_s += wait(error, on_wait, tries, waited_s)
            yield Restart()

    def stop_turn(self, begun: Begun) -> None:
        """Have the server end an answer where it is, and keep what it has."""
        self._send("DELETE", begun.path, timeout=STOP_S)

    def _begin(self, asked: Asked) -> Begun | Done:
        """Ask. A server that has the answer already, or does not answer in the background, gives it here."""
        headers = {"Idempotency-Key": asked.idempotency_key, "Prefer": "respond-async"}
        response = self._send("POST", asked.path, json=asked.body(), headers=headers)
        if response.status_code != httpx.codes.ACCEPTED:
            return Done(self._shaped(ChatReply, response))
        accepted = self._shaped(Accepted, response)
        return Begun(accepted["conversation_id"], accepted["turn_id"])

    def _follow(self, begun: Begun, on_wait: OnWait | None) -> Generator[Event]:
        """Yield a turn's events, from as many responses as that takes."""
        source, lost_at = EventSource(), 0.0
        while True:
            try:
                with closing(self._sent(begun, source)) as response:
                    for sent in response:
                        event = _event(sent, begun) if sent else BACK if lost_at else None
                        lost_at = 0.0 if sent else lost_at
                        if event is not None:
                            yield event
                        if isinstance(event, Done):
                            return
            except TurnFailed:
                raise
            except ClientError as error:
                lost_at = lost_at or time.monotonic()
                wait(coming_back(error), on_wait, waited_s=time.monotonic() - lost_at)

    def _sent(self, begun: Begun, source: EventSource) -> Generator[Sent | None]:
        """Yield what one response has of a turn's events, first of all None. It returns when it is time to ask again."""
        asked_at, empty = time.monotonic(), True
        request = self._request(begun, source)
        with self._explained(), closing(self._http.send(request, stream=True)) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise not_pai(self.address, response)
            yield None
            for sent in source.read(response.iter_bytes()):
                empty = False
                yield sent
        if source.retry_s is None:
            raise interrupted(self.address)
        time.sleep(pause_before_next(source.retry_s, time.monotonic() - asked_at, empty=empty))

    def _request(self, begun: Begun, source: EventSource) -> httpx.Request:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}  # what is packed comes late
        if source.last_id:
            headers["Last-Event-ID"] = source.last_id
        encoded = httpx.Headers(headers, encoding="utf-8")
        return self._http.build_request("GET", f"{begun.path}/events", headers=encoded, timeout=FOLLOWING)


def _event(sent: Sent, begun: Begun) -> Event | None:
    """Return what an event means; None for one that we do not know. Raises TurnFailed."""
    data = parsed(sent.data) or {}
    match sent.kind:
        case "state":
            return State(text_of(data, "state"))
        case "text":
            return Text(text_of(data, "text"))
        case "restart":
            return Restart()
        case "done" if has_all(ChatReply, data):
            return Done(cast(ChatReply, data))
        case "done" | "failed":
            raise turn_failed(data, begun.conversation_id, begun.turn_id)
    return None
