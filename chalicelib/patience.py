"""How long a question may wait for a part that is busy or was asleep. Who asks says so; database and embedder keep to it.

    with patience(8):
        library.search(…)

What is not said to be impatient waits up to a minute, which is more than a sleeping Aurora takes. A thread that a patient one
starts begins with a minute of its own.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WAIT_S = 60.0
REQUEST_S = 25.0
"""What a request may wait at most: API Gateway hangs up after 29 s."""

_ends: ContextVar[float | None] = ContextVar("patience", default=None)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let everything in this block, taken together, wait no longer than this, nor than the block around it may."""
    token = _ends.set(time.monotonic() + min(seconds, patience_left(unsaid=seconds)))
    try:
        yield
    finally:
        _ends.reset(token)


def patience_left(unsaid: float = WAIT_S) -> float:
    """Return how many seconds may still be waited, from now on; `unsaid` where nobody said how long."""
    ends = _ends.get()
    return unsaid if ends is None else max(0.0, ends - time.monotonic())
