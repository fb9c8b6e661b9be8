"""What a model answers to a request of /v1/chat/completions, as it comes. Nothing of it is stored."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from chalicelib.chat import prompt
from chalicelib.chat.turn import WAKE_S, Sources
from chalicelib.errors import GuardrailIntervened, ModelInterrupted
from chalicelib.llm import Finish, Request, Said, Text, ToolCall
from chalicelib.metering import Meter
from chalicelib.records import Citation, Conversation, Message, Principal, Turn, Usage
from chalicelib.v1.ask import PAI, Wanted
from chalicelib.v1.wording import Wording, whole

_REASONS = {
    "end": "stop",
    "stop_sequence": "stop",
    "stopped": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "deadline": "length",
}


@dataclass(frozen=True)
class End:
    """Comes last. `reason` is OpenAI's `finish_reason`; `text` is the whole answer, with marks that `citations` explain."""

    reason: str
    usage: Usage
    model: str
    text: str = ""
    citations: tuple[Citation, ...] = ()


Step = Text | ToolCall | End


class Completions:
    """Answers from the models; with `sources`, the model `pai` from what the owner's documents say."""

    def __init__(self, meter: Meter, sources: Sources | None) -> None:
        self._meter = meter
        self._sources = sources

    def answer(self, who: Principal, wanted: Wanted, until: float) -> Generator[Step]:
        """Yield an answer, which ends `until`, in seconds of time.monotonic: as far as it has come by then.

        Raises what the library, the meter and the model raise. Closing it stops the model.
        """
        request, question, findings = self._look_up(who, wanted, until)
        words = Wording(0 if request.json_form else len(findings.passages))
        end = yield from self._hear(who, replace(wanted, request=request), words)
        if rest := words.take("", last=True):
            yield Text(rest)
        marked, citations = self._sources.cite(words.heard, question, findings) if self._sources else (words.heard, ())
        # A mark in the middle of JSON would make something else of it.
        yield replace(end, text=words.heard if request.json_form else marked, citations=citations)

    def _look_up(self, who: Principal, wanted: Wanted, until: float) -> tuple[Request, str, prompt.Findings]:
        """Return what to ask the model, the question in it, and what the documents have for that."""
        request = wanted.request
        at = _question(request.messages)
        findings, question = prompt.NOTHING_ASKED, ""
        if self._sources and wanted.model == PAI and at is not None:
            question = request.messages[at].text
            findings = self._sources.find(_turn(who, request.messages, at), min(WAKE_S, until - time.monotonic()))
            if findings.shown:
                shown = replace(request.messages[at], text=findings.shown)
                request = replace(request, messages=(*request.messages[:at], shown, *request.messages[at + 1 :]))
        return replace(request, timeout_s=max(until - time.monotonic(), 0)), question, findings

    def _hear(self, who: Principal, wanted: Wanted, words: Wording) -> Generator[Text | ToolCall, None, End]:
        """Hear the model out; the stream itself ends when the request's time is over."""
        calls = 0
        counted: list[Finish] = []
        with closing(self._meter.stream(who, wanted.request, on_settled=counted.append)) as events:
            try:
                for event in events:
                    if isinstance(event, Finish):
                        return _ended(event, calls)
                    if isinstance(event, ToolCall):
                        calls += 1
                        if calls == 1 or not wanted.one_call:
                            yield replace(event, arguments=whole(event.arguments))
                    elif (said := words.take(event.text)) or not event.text:
                        yield Text(said)
            except GuardrailIntervened:
                if words.heard:
                    return End("content_filter", counted[-1].usage, counted[-1].model)
                raise
        raise ModelInterrupted("The model's answer broke off before its end. Ask again.")


def _question(messages: Sequence[Said]) -> int | None:
    """Return where the user spoke last: behind it there may be tools' results only."""
    return next((at for at in reversed(range(len(messages))) if messages[at].role == "user" and messages[at].text), None)


def _turn(who: Principal, messages: Sequence[Said], at: int) -> Turn:
    """Return the turn that a question would be if it were stored."""
    history = tuple(Message("", said.role, said.text, "") for said in messages[:at] if said.text)
    return Turn(Conversation("", who.owner), Message("", "user", messages[at].text, ""), history)


def _ended(finish: Finish, calls: int) -> End:
    reason = _REASONS[finish.stop_reason]
    return End("tool_calls" if calls and reason == "stop" else reason, finish.usage, finish.model)
