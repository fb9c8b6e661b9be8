"""A queue's messages in one SQLite file: what was sent survives a power cut, and what was taken, its taker."""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from chalicelib.errors import QueueUnavailable
from chalicelib.platform import DEAD_LETTERS, DOCUMENTS, MOST_RECEIVES
from chalicelib.platform.local.disk import disk_failures, private_folder

TABLE = (
    "CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY, queue TEXT NOT NULL, body TEXT NOT NULL,"
    " sent_at REAL NOT NULL, due_at REAL NOT NULL, receives INTEGER NOT NULL DEFAULT 0, receipt TEXT NOT NULL DEFAULT '')"
)
"""`receipt` is empty unless somebody has taken the message; `due_at` is when it may be taken, or taken again."""
VISIBILITY_S = 30.0
"""When a message whose function failed comes again, unless the function says otherwise."""
BUSY_S = 10.0


@dataclass(frozen=True)
class Taken:
    """A message in somebody's hands. `receives` counts how often it was taken from its queue, this time included."""

    id: str
    queue: str
    body: str
    sent_at: float
    receives: int
    receipt: str


class Messages:
    """Safe for many threads, and for processes that share the file. Without a `path` it is all in memory."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._what = f"The queue in {path}" if path else "The queue in memory"
        self._now = now
        self._lock = threading.Lock()
        if path:
            with disk_failures(QueueUnavailable, self._what):
                os.close(os.open(private_folder(path.parent) / path.name, os.O_CREAT | os.O_WRONLY, 0o600))
        with self._explained():
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, self._connection.close)
            self._connection.execute(TABLE)

    def add(self, body: str, delay_s: float) -> None:
        now = self._now()
        with self._writing() as table:
            row = (str(uuid4()), DOCUMENTS, body, now, now + delay_s)
            table.execute("INSERT INTO messages (id, queue, body, sent_at, due_at) VALUES (?, ?, ?, ?, ?)", row)

    def take(self, queues: Collection[str]) -> Taken | None:
        """Take the message of these queues that has been due for longest; it is nobody else's until it is let go."""
        now = self._now()
        with self._writing() as table:
            table.execute(
                "UPDATE messages SET queue = ?, receives = 0"
                " WHERE queue = ? AND receives >= ? AND receipt = '' AND due_at <= ?",
                (DEAD_LETTERS, DOCUMENTS, MOST_RECEIVES, now),
            )
            found = table.execute(
                f"SELECT id, queue, body, sent_at, receives FROM messages WHERE queue IN ({_marks(queues)})"
                " AND receipt = '' AND due_at <= ? ORDER BY due_at, rowid LIMIT 1",
                (*queues, now),
            ).fetchone()
            if found is None:
                return None
            message_id, queue, body, sent_at, receives = found
            taken = Taken(message_id, queue, body, sent_at, receives + 1, str(uuid4()))
            table.execute(
                "UPDATE messages SET receives = ?, receipt = ?, due_at = ? WHERE id = ?",
                (taken.receives, taken.receipt, now + VISIBILITY_S, taken.id),
            )
        return taken

    def delay(self, receipt: str, delay_s: float) -> bool:
        """Say when a message that is taken comes again once it is let go; False when nobody has it any more."""
        with self._writing() as table:
            changed = table.execute(
                "UPDATE messages SET due_at = ? WHERE receipt = ? AND receipt <> ''", (self._now() + delay_s, receipt)
            )
            return changed.rowcount > 0

    def remove(self, taken: Taken) -> None:
        """Forget a message that was handled."""
        with self._writing() as table:
            table.execute("DELETE FROM messages WHERE receipt = ?", (taken.receipt,))

    def let_go(self, taken: Taken) -> None:
        """Leave a message that was not handled to be taken again, when it is due."""
        with self._writing() as table:
            table.execute("UPDATE messages SET receipt = '' WHERE receipt = ?", (taken.receipt,))

    def put_back(self, taken: Taken) -> None:
        """Leave a message as if it had never been taken."""
        with self._writing() as table:
            table.execute(
                "UPDATE messages SET receipt = '', receives = receives - 1, due_at = ? WHERE receipt = ?",
                (self._now(), taken.receipt),
            )

    def let_go_all(self) -> None:
        """Leave every message to be taken again at once: whoever took them is dead."""
        with self._writing() as table:
            table.execute("UPDATE messages SET receipt = '', due_at = ? WHERE receipt <> ''", (self._now(),))

    def any(self, queues: Collection[str]) -> bool:
        """Tell whether these queues have messages, waiting or taken."""
        with self._reading() as table:
            statement = f"SELECT EXISTS (SELECT 1 FROM messages WHERE queue IN ({_marks(queues)}))"
            return bool(table.execute(statement, (*queues,)).fetchone()[0])

    def next_due_s(self, queues: Collection[str]) -> float | None:
        """Return the seconds until a message of these queues may be taken; None when there is none."""
        with self._reading() as table:
            statement = f"SELECT min(due_at) FROM messages WHERE receipt = '' AND queue IN ({_marks(queues)})"
            [due_at] = table.execute(statement, (*queues,)).fetchone()
        return None if due_at is None else max(0.0, due_at - self._now())

    def count(self) -> int:
        """Return how many messages wait or are taken, dead letters not counted."""
        with self._reading() as table:
            [count] = table.execute("SELECT count(*) FROM messages WHERE queue = ?", (DOCUMENTS,)).fetchone()
        return int(count)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one transaction: committed at the end, or rolled back by any error."""
        with self._reading() as table, table:
            table.execute("BEGIN IMMEDIATE")
            yield table

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            yield self._connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if _name(error) == "SQLITE_FULL":
                raise QueueUnavailable(
                    f"{self._what}: the disk is full. Make room and try again.", retry_after_s=60
                ) from error
            raise QueueUnavailable(f"{self._what} can't be used ({_name(error)}). Check the file.") from error
        except sqlite3.DatabaseError as error:
            raise QueueUnavailable(
                f"{self._what} is damaged ({_name(error)}). Stop PAI, move it away, and retry what was waiting."
            ) from error


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)
