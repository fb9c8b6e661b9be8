"""Threads of this process as the jobs. They end with the process, as a Lambda's work ends with the Lambda."""

import json
import logging
import threading
import traceback
from collections import deque
from collections.abc import Mapping

from chalicelib.errors import JobsUnavailable
from chalicelib.platform import Job
from chalicelib.platform.limits import encode_job

_log = logging.getLogger(__name__)

# A job mostly waits for a model, which has a queue of its own. A turn that waits here seems to have nobody who answers it.
_AT_ONCE = 64
_WAITING = 1000


class ThreadJobs:
    """Runs `jobs`, at most 64 at once, in the order they were started. A thousand may wait."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, Job, bytes]] = deque()
        self._threads = 0

    def start(self, name: str, payload: Mapping[str, object]) -> None:
        job = self._jobs.get(name)
        if job is None:
            raise JobsUnavailable(f"There is no job {name!r} in this process. Only the server runs jobs: start it.")
        body = encode_job(payload)
        with self._lock:
            if len(self._waiting) >= _WAITING:
                raise JobsUnavailable(f"{_WAITING} jobs are waiting already. Try again in a moment.", retry_after_s=30)
            if self._threads < _AT_ONCE:
                self._add_thread()
            self._waiting.append((name, job, body))

    @property
    def busy(self) -> bool:
        """Whether a job is being done."""
        return self._threads > 0

    def _add_thread(self) -> None:
        try:
            threading.Thread(target=self._work, name="pai-job", daemon=True).start()
        except RuntimeError as error:
            raise JobsUnavailable("This process can start no more threads. Try again in a moment.") from error
        self._threads += 1

    def _work(self) -> None:
        """Run what is waiting until nothing is."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                name, job, body = self._waiting.popleft()
            _run(name, job, body)


def _run(name: str, job: Job, body: bytes) -> None:
    try:
        job(json.loads(body))
    except BaseException as error:  # noqa: BLE001 - whatever it is, even sys.exit, ends this job and not the thread
        # Class and place only: an error's own text may repeat what the job worked on.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.error(
            "job failed", extra={"job": name, "error": type(error).__name__, "place": f"{place.filename}:{place.lineno}"}
        )
