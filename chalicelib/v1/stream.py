"""An answer as server-sent events, drawn while it is sent."""

from collections.abc import Generator
from concurrent.futures import Future, wait
from contextlib import closing
from contextvars import copy_context
from threading import Thread

from chalicelib import logs
from chalicelib.errors import PaiError
from chalicelib.http import Request
from chalicelib.llm import Text, ToolCall
from chalicelib.v1.answer import DONE, Frame, data
from chalicelib.v1.completions import Step
from chalicelib.v1.failures import body, defect

MOMENT_S = 1.0
"""How long a stream waits for the model to begin, so that what fails at once has a status of its own, which clients act on."""


def begun(steps: Generator[Step], moment_s: float | None) -> Generator[Step]:
    """Begin an answer, and return it when its first step is there, or after a moment (None: however long that takes).

    Raises what comes in place of the first step by then.
    """
    first: Future[Step] = Future()
    Thread(target=copy_context().run, args=(_draw, steps, first), name="pai-first-word", daemon=True).start()
    wait([first], moment_s)
    if first.done():
        first.result()
    return _all(first, steps)


def _draw(steps: Generator[Step], first: Future[Step]) -> None:
    try:
        first.set_result(next(steps))
    except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
        first.set_exception(error)


def _all(first: Future[Step], steps: Generator[Step]) -> Generator[Step]:
    try:
        yield first.result()
        yield from steps
    finally:
        wait([first])  # a generator can't be closed while it is at work in another thread
        steps.close()


def events(steps: Generator[Step], frame: Frame, request: Request) -> Generator[str]:
    """Yield an answer's events. What fails in the middle is its last event: the status has gone out."""
    calls = 0
    with closing(steps):
        yield frame.begin()
        try:
            for step in steps:
                if isinstance(step, Text):
                    yield frame.text(step.text) if step.text else ""
                elif isinstance(step, ToolCall):
                    yield frame.call(calls, step)
                    calls += 1
                else:
                    yield frame.end(step)
            yield DONE
        except PaiError as error:
            logs.request_done({"request_id": request.request_id, "route": request.route, "error": error.code})
            yield data(body(error))
        except Exception as error:  # noqa: BLE001 - the status has gone out: all that is left is to say so
            yield data(body(defect(error, request.request_id)))
