"""How a stage on AWS is: a line for each thing that runs, with what to do where something is not as it should be."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pai.operate import by_chalice, deployed
from pai.operate.gateway import may_log
from pai.operate.pin import MODEL
from pai.operate.stack import NEVER_WHOLE, NOTHING, STUCK
from pai.operate.troubles import LOGGING_SCRIPT, NO_LOGGING_ROLE, THROTTLED_TABLE


@dataclass(frozen=True)
class Line:
    """One thing, how it is, and what to do where it is not `ok`."""

    name: str
    said: str
    ok: bool = True
    fix: str = ""


def status(stage: str, project: Path) -> Iterator[Line]:
    """Yield what there is of a stage."""
    stack = deployed.stack_of(stage)
    state = stack.state()
    yield _stack(stage, state)
    if state == NOTHING:
        return
    address = deployed.endpoint(stage, stack.outputs(), project)
    yield Line("endpoint", address or "none", bool(address), f"pai deploy --stage {stage}")
    functions = deployed.functions(stage)
    if by_chalice.is_deployed(project, stage):
        finished = by_chalice.is_finished(functions)
        yield Line(
            "chalice deploy", "finished" if finished else "not finished", finished, f"pai deploy --stage {stage} --base-only"
        )
    for one in functions:
        what = f"{one.state}, {one.memory_mb} MB, {one.timeout_s} s, changed {one.modified[:16]}"
        yield Line(f"function {one.name}", what, one.state in {"Active", "Inactive"}, f"pai logs --stage {stage}")
    model = functions[0].environment.get(MODEL, "") if functions else ""
    yield Line("model", model or "none")
    yield Line("documents", "on" if stack.parameters().get("EnableRag") == "true" else "off")
    for name, depth in deployed.queue_depths(stage).items():
        dead = "-dead-" in name
        fix = "docs/operations.md says what to do, under Alarms"
        yield Line(f"queue {name}", f"{depth} messages", not (dead and depth), fix)
    yield _table(stage)
    for name, value in deployed.alarms(stage).items():
        yield Line(f"alarm {name}", value, value != "ALARM", "docs/operations.md says what to do about each")
    yield _logging()


def _stack(stage: str, state: str) -> Line:
    if state == NOTHING:
        return Line("stack", "not deployed", False, f"pai deploy --stage {stage}")
    if state in STUCK:
        return Line("stack", state, False, STUCK[state].format(name=f"pai-{stage}", stage=stage))
    failed = state in NEVER_WHOLE or state == "UPDATE_ROLLBACK_COMPLETE"
    return Line("stack", state, not failed, f"pai deploy --stage {stage} goes on from here")


def _logging() -> Line:
    """API Gateway's own logs are no must: without its role they are off."""
    off = f"off: {NO_LOGGING_ROLE.name} ({LOGGING_SCRIPT})"
    return Line("API logs", "allowed" if may_log() else off)


def _table(stage: str) -> Line:
    mode = deployed.billing_mode(deployed.table_of(stage))
    if mode == "PROVISIONED":
        return Line("table", f"{THROTTLED_TABLE.name}: its BillingMode is {mode}", False, THROTTLED_TABLE.what_to_do)
    return Line("table", mode or "none", bool(mode), f"pai deploy --stage {stage}")
