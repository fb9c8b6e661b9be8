"""From a turn to what the model sees: pure functions.

The history is cut to a token budget, oldest first, in whole exchanges (a question with its answer), so that no answer
stands there without its question. What the documents say comes with the question itself, so that everything before it is
the same from turn to turn, which is what a model's prompt cache needs.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.llm import Request, Said
from chalicelib.records import Message, Passage, Retrieval, Turn
from chalicelib.settings import Settings

MESSAGE_TOKENS = 4
"""What a chat template adds to each message: its role and its marks."""


@dataclass(frozen=True)
class Findings:
    """What the library gave for a turn. `passages` are those that the model is shown, numbered from 1 in this order.

    `shown` is the question as the model is shown it, passages and all; empty is as it was asked. `answer`, if any, is the
    answer already, and no model is asked.
    """

    retrieval: Retrieval = field(default_factory=Retrieval)
    passages: tuple[Passage, ...] = ()
    shown: str = ""
    answer: str = ""


NOTHING_ASKED = Findings()


def request_for(turn: Turn, settings: Settings, findings: Findings = NOTHING_ASKED) -> Request:
    """Return what to ask the model for this turn."""
    reserved = settings.passage_tokens if findings.passages else 0
    shown = within_budget(turn.history, settings.history_tokens - reserved)
    options = turn.question.options
    question = replace(turn.question, content=findings.shown or turn.question.content)
    return Request(
        messages=alternating([*shown, question]),
        system=turn.conversation.system_prompt or settings.system_prompt,
        model=options.model,
        max_tokens=options.max_tokens or settings.max_tokens,
        temperature=options.temperature,
        timeout_s=settings.deadline_s,
    )


def within_budget(history: Sequence[Message], budget_tokens: int) -> list[Message]:
    """Return the newest whole exchanges that fit the budget together, oldest first.

    Where older ones are left out, the beginning is one that stays the beginning for many turns: a model's prompt cache
    holds only as long as the prompt begins the same. See `_steady`.
    """
    kept: list[list[Message]] = []
    sizes: list[int] = []
    for exchange in reversed(exchanges(history)):
        sizes.insert(0, sum(count_tokens(message.content) + MESSAGE_TOKENS for message in exchange))
        if sum(sizes) > budget_tokens:
            sizes.pop(0)
            break
        kept.insert(0, exchange)
    if kept and kept[0][0].parent_id:
        kept = kept[_steady([exchange[0].id for exchange in kept], sizes) :]
    return [message for exchange in kept for message in exchange]


def _steady(ids: Sequence[str], sizes: Sequence[int]) -> int:
    """Return which exchange to begin with: of those that leave at least half of what fits, the one with the roundest id.

    Which id is the roundest of a window that slides changes only about every half window, and no turn needs to know
    what the last one chose.
    """
    candidates = [place for place in range(len(ids)) if 2 * sum(sizes[place:]) >= sum(sizes)]
    return max(candidates, key=lambda place: (_roundness(ids[place]), -place))


def _roundness(message_id: str) -> int:
    """Return how many zeros the id's hash ends with, in binary."""
    digest = zlib.crc32(message_id.encode())
    return (digest & -digest).bit_length() if digest else 33


def exchanges(history: Iterable[Message]) -> list[list[Message]]:
    """Split into exchanges: one or more of the user's messages with what answered them. An answer that begins is dropped."""
    parts: list[list[Message]] = []
    previous = "assistant"
    for message in history:
        if message.role == "user" and previous == "assistant":
            parts.append([])
        if parts:
            parts[-1].append(message)
            previous = message.role
    return parts


def alternating(messages: Iterable[Message]) -> list[Said]:
    """Merge neighbours of one role, leave blank ones out: what every model's chat template accepts."""
    merged: list[Said] = []
    for message in messages:
        if not message.content.strip():
            continue
        if merged and merged[-1].role == message.role:
            merged[-1] = Said(message.role, f"{merged[-1].text}\n\n{message.content}")
        else:
            merged.append(Said(message.role, message.content))
    return merged


def request_tokens(request: Request) -> int:
    """Estimate what a model reads with a request."""
    return sum(map(count_tokens, request.texts)) + MESSAGE_TOKENS * len(request.messages)


def count_tokens(text: str) -> int:
    """Estimate tokens as (UTF-8 bytes + 2 × digits) / 3, without a model's vocabulary.

    Byte-level tokenizers never make more tokens than bytes, so the truth is at most 3 × the estimate; docs/benchmarks.md
    has the error measured on prose, code and other scripts.
    """
    data = text.encode()
    digits = len(data) - len(data.translate(None, b"0123456789"))
    return (len(data) + 2 * digits + 2) // 3


def most_chars(budget_tokens: int) -> int:
    """Return how long a text can be and still fit the budget, as `count_tokens` counts."""
    return 3 * budget_tokens
