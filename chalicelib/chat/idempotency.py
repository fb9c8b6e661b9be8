"""`Idempotency-Key`: the same key and body is the same turn, for a day.

One item for each key names the conversation and question it stands for, and a keyed digest of the body. It is written
before the question, with a condition, so that of two requests at once one asks and the other is told to wait.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib.errors import BadRequest, IdempotencyMismatch, TurnRunning
from chalicelib.store import Item, Store, When
from chalicelib.vault import Vault

KEPT_S = 86_400
SETTLING_MS = 10_000
"""A claim this young without its question belongs to a request that is just storing it; an older one to one that died."""
LONGEST_KEY = 255


@dataclass(frozen=True)
class Claim:
    """What a key stands for. `body` is the digest of the request."""

    owner: str
    key: str
    body: str
    conversation_id: str = ""
    question_id: str = ""
    claimed_at_ms: int = 0


class Claims:
    """The keys that were used in the last day."""

    def __init__(self, store: Store, vault: Vault, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._vault = vault
        self._now = now

    def wish(self, owner: str, key: str, body: str) -> Claim:
        """Return the claim that a request would make: nothing is stored yet. BadRequest for a key that can't be one."""
        if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
            raise BadRequest("Idempotency-Key", f"must be 1 to {LONGEST_KEY} printable characters")
        return Claim(owner, hashlib.sha256(key.encode()).hexdigest(), self._vault.fingerprint(owner, body))

    def make(self, wish: Claim, conversation_id: str, question_id: str, instead_of: Claim | None = None) -> bool:
        """Claim the key for this question, or take it over from a dead request; False when somebody holds it."""
        now = self._now()
        item: Item = {
            "pk": f"I#{wish.owner}",
            "sk": wish.key,
            "body": wish.body,
            "conversation_id": conversation_id,
            "question_id": question_id,
            "claimed_at_ms": int(now * 1000),
            "expires_at": int(now) + KEPT_S,
        }
        free = When("equals", "question_id", instead_of.question_id) if instead_of else When("absent", "pk")
        return self._store.put(item, [free])

    def holder(self, wish: Claim) -> Claim:
        """Return the claim that stands for this key. IdempotencyMismatch when it was made for another request."""
        item = self._store.get(f"I#{wish.owner}", wish.key)
        if item is None:
            raise TurnRunning("The first request with this Idempotency-Key has just expired. Ask again.")
        if item["body"] != wish.body:
            raise IdempotencyMismatch(
                "This Idempotency-Key was used for a different request. Use a new key for each question."
            )
        ids = {name: str(item[name]) for name in ("conversation_id", "question_id")}
        return replace(wish, **ids, claimed_at_ms=int(item["claimed_at_ms"]))

    def check_dead(self, claim: Claim) -> None:
        """TurnRunning if the question of this claim may still come; else it was left by a request that died."""
        if 0 <= self._now() * 1000 - claim.claimed_at_ms < SETTLING_MS:
            raise TurnRunning("The first request with this Idempotency-Key is still at work. Ask again in a moment.")
