"""How long a request is made again, and after what pause, while the server asks to wait or has gone away."""

import time
from collections.abc import Callable
from typing import TypeVar

from pai.client.errors import LOST_PAUSE_S, ClientError

PATIENCE_S = 30.0
MOST_TRIES = 16
"""How long, and how often, one question is asked again while the server asks to wait."""

Reply = TypeVar("Reply")
OnWait = Callable[[float, ClientError], object]


def patiently(call: Callable[[], Reply], on_wait: OnWait | None = None, patience_s: float = PATIENCE_S) -> Reply:
    """Return what a call returns, repeated for as long as its errors say when to. A server that goes away is waited for."""
    tries, waited_s = 0, 0.0
    while True:
        tries += 1
        try:
            return call()
        except ClientError as error:
            restarting = tries > 1 and error.code == "Unreachable"
            waited_s += wait(coming_back(error) if restarting else error, on_wait, tries, waited_s, patience_s)


def wait(
    error: ClientError, on_wait: OnWait | None, tries: int = 1, waited_s: float = 0, patience_s: float = PATIENCE_S
) -> float:
    """Wait until the request may be made again, and return for how many seconds that was; raise the error to give up."""
    pause_s = pause_before_retry(error, tries, waited_s, patience_s)
    if pause_s is None:
        raise error
    if on_wait:
        on_wait(pause_s, error)
    time.sleep(pause_s)
    return pause_s


def pause_before_retry(error: ClientError, tries: int, waited_s: float, patience_s: float = PATIENCE_S) -> float | None:
    """Return how long to wait before the request is made again, or None when to give up."""
    pause_s = error.retry_after_s
    if pause_s is None or tries >= MOST_TRIES or waited_s + pause_s > patience_s:
        return None
    return pause_s


def pause_before_next(retry_s: float, took_s: float, *, empty: bool) -> float:
    """Return how long to wait after a response with events that took so long, when the server asks for `retry_s`.

    One that has nothing to say is asked once a second at most, whatever it wishes.
    """
    least_s = LOST_PAUSE_S - took_s if empty else 0.0
    return min(max(retry_s, least_s, 0.0), PATIENCE_S)


def coming_back(error: ClientError) -> ClientError:
    """Return the error of a server that was there a moment ago: if nothing came from it, it may be asked again."""
    if error.status is not None or error.retry_after_s is not None:
        return error
    return ClientError(error.code, error.message, retry_after_s=LOST_PAUSE_S)
