"""Conversations of any length, as the product itself stores them, made in memory: writing them turn by turn takes minutes."""

import time
from collections.abc import Sequence
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from benchmarks.support.asking import OWNER
from benchmarks.support.units import Wire
from chalicelib.clock import iso
from chalicelib.conversations import Conversations, answer_id, new_message_id, partition
from chalicelib.platform import Platform
from chalicelib.records import Conversation, Message, Turn, Usage
from chalicelib.settings import Settings
from chalicelib.store import Item
from chalicelib.store.memory import MemoryStore
from chalicelib.vault import Vault

_WORDS = "The quick brown fox jumps over the lazy dog, and then it rests for a while in the shade of an old oak tree. "
QUESTION = (_WORDS * 40)[:700]
ANSWER = (_WORDS * 40)[:2000]
"""A turn's 2.7 KB, divided as people and models divide it."""
TURN_S = 60


class Seeder:
    """Makes conversations of one owner, whose key this platform's cipher wraps."""

    def __init__(self, platform: Platform, settings: Settings) -> None:
        self._store = MemoryStore()
        self._conversations = Conversations(self._store, Vault(self._store, platform, settings), settings)

    def owner_key(self) -> Wire:
        """Return the item with the owner's key: any conversation needs it."""
        item = self._store.get(f"O#{OWNER}", "~")
        if item is None:
            raise LookupError("no conversation was made yet")
        return _wire(item)

    def conversation(self, conversation_id: str, turns: int) -> Sequence[Wire]:
        """Return the items of a conversation with so many turns, the newest of them a minute ago."""
        header = self._conversations.create(Conversation(conversation_id, OWNER, title="A fox and a dog"))
        last_id = ""
        for number in range(turns):
            last_id = self._add_turn(header, time.time() - TURN_S * (turns - number), last_id)
        page = self._store.query(partition(OWNER, conversation_id), limit=2 * turns + 1)
        return [_wire(item) for item in page.items]

    def _add_turn(self, header: Conversation, now: float, parent_id: str) -> str:
        """Add a turn after the message `parent_id`; return its answer's id."""
        question_id = new_message_id(now)
        question = Message(
            question_id,
            "user",
            QUESTION,
            iso(now),
            parent_id,
            state="running",
            lease_until_ms=int(now * 1000) + 40_000,
            answer_id=answer_id(question_id),
        )
        answer = Message(
            question.answer_id,
            "assistant",
            ANSWER,
            iso(now + 5),
            parent_id=question_id,
            model="us.anthropic.claude-sonnet-4-6",
            usage=Usage(1500, 400),
            stop_reason="end",
        )
        self._conversations.add(header, question)
        self._conversations.finish(Turn(header, question, first=not parent_id), answer)
        return answer.id


def _wire(item: Item) -> dict[str, Any]:
    serializer = TypeSerializer()
    return {name: serializer.serialize(value) for name, value in item.items()}
