"""Turns as requests ask for them: answered in the request, or by a worker, whose work is here too."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from chalicelib import logs, wire
from chalicelib.chat.idempotency import Claim, Claims
from chalicelib.chat.questions import Again, Answered, Ask, Questions
from chalicelib.chat.recorder import Recorder
from chalicelib.chat.runs import Runs
from chalicelib.chat.turn import Collect, TurnEngine
from chalicelib.conversations import Conversations
from chalicelib.errors import ConversationNotFound, InternalError, MessageNotFound, PaiError, TurnRunning, Unavailable
from chalicelib.http import Reply, Request
from chalicelib.platform import Jobs
from chalicelib.records import Message, Principal, Turn

WORKER = "worker"
"""The job that answers turns in the background, and names conversations."""


class Turns:
    """Answers requests about turns, and does the work of those in the background."""

    def __init__(
        self,
        questions: Questions,
        engine: TurnEngine,
        conversations: Conversations,
        claims: Claims,
        runs: Runs,
        jobs: Callable[[], Jobs],
        check: Callable[[Principal, str | None], None],
    ) -> None:
        self._questions = questions
        self._engine = engine
        self._conversations = conversations
        self._claims = claims
        self._runs = runs
        self._jobs = jobs
        self._check = check

    # Asking

    def ask(self, request: Request) -> Reply:
        """Answer a request to /chat, or have it answered by a worker if it prefers so."""
        return self._prepared(request, wire.ask(request))

    def regenerate(self, request: Request, conversation_id: str) -> Reply:
        """Answer a question again."""
        return self._prepared(request, wire.again(request, conversation_id))

    def _prepared(self, request: Request, ask: Ask | Again) -> Reply:
        wish = self._wish(request, ask.conversation_id)
        if wish is None:  # with a key, it may be an answer that is there already
            self._check(Principal(request.owner, ask.key_id), ask.options.model)  # a client in a loop must cost nothing
        try:
            turn = self._questions.prepare(request.owner, ask, wish)
        except TurnRunning as running:
            if not ask.background or wish is None or "turn_id" not in running.details:
                raise
            return wire.accepted(running.details, request.route)
        if isinstance(turn, Answered):
            return wire.answered(turn)
        return self._handed_over(turn, request.route) if ask.background else self._answered_now(turn)

    def _wish(self, request: Request, conversation_id: str) -> Claim | None:
        """Return what the request's Idempotency-Key would stand for, if it has one."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        return self._claims.wish(request.owner, key, wire.idempotency_body(request, conversation_id))

    def _answered_now(self, turn: Turn) -> Reply:
        answer = self._engine.run_turn(turn, Collect())
        if self._engine.wants_title(turn):
            with suppress(Unavailable):
                self._jobs().start(WORKER, _job("title", turn))
        return wire.answered(Answered(turn.conversation.id, answer))

    def _handed_over(self, turn: Turn, route: str) -> Reply:
        try:
            self._jobs().start(WORKER, _job("turn", turn))
        except PaiError as error:
            self._engine.fail(turn, error)
            raise
        return wire.accepted(wire.turn_ids(turn.conversation.id, turn.question), route)

    # Working

    def work(self, job: Mapping[str, Any]) -> None:
        """Do a job that was started here or in another process, unless nobody wants it any more.

        Raises PaiError alone: a platform may log what a job raises, and the text of a defect may hold what was said.
        """
        try:
            self._do(job)
        except ConversationNotFound:  # deleted since, perhaps while the question came in
            self._conversations.forget(job["owner"], job["conversation_id"], job["turn_id"])
        except MessageNotFound:
            return
        except PaiError:
            raise
        except Exception as defect:  # noqa: BLE001 - the outermost place: what it says may not go out
            logs.defect(defect, job["turn_id"])
            raise InternalError("PAI made a mistake in the background. Its log has the details under the turn's id.") from None

    def _do(self, job: Mapping[str, Any]) -> None:
        if job["do"] == "title":
            exchange = self._conversations.exchange(job["owner"], job["conversation_id"], job["turn_id"])
            self._engine.name(Principal(job["owner"], job["key_id"]), *exchange)
        else:
            self._answer(job["owner"], job["conversation_id"], job["turn_id"], job["run"], job["key_id"])

    def _answer(self, owner: str, conversation_id: str, turn_id: str, run: int, key_id: str) -> None:
        """Answer a turn, unless another worker does, or it has been answered or given up since."""
        taken = self._runs.begin_to_take(owner, conversation_id, turn_id, run)
        turn = self._questions.of_run(owner, conversation_id, turn_id, run, key_id)
        if not taken.result() or turn is None:
            return
        with self._runs.recording(turn.conversation, turn.question) as recorder:
            answer = self._recorded(turn, recorder)
        if answer and self._engine.wants_title(turn):
            self._engine.name(turn.who, turn.conversation, turn.question, answer)

    def _recorded(self, turn: Turn, recorder: Recorder) -> Message | None:
        about = {"turn_id": turn.question.id, "key_id": turn.key_id}
        try:
            answer = self._engine.run_turn(turn, recorder)
        except PaiError as error:
            recorder.failed(error)
            logs.turn_done({**about, "error": error.code})
            return None
        except Exception:
            recorder.failed(InternalError("PAI made a mistake while answering. The question is kept; ask it again."))
            raise
        recorder.done()
        logs.turn_done({**about, **wire.log_of(answer)})
        return answer


def _job(what: str, turn: Turn) -> dict[str, object]:
    """Return the payload of a job: ids only, as nothing that was said may stand in a queue."""
    return {
        "do": what,
        "owner": turn.conversation.owner,
        "key_id": turn.key_id,
        "conversation_id": turn.conversation.id,
        "turn_id": turn.question.id,
        "run": turn.question.lease_until_ms,
    }
