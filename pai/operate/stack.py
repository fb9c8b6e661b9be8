"""A CloudFormation stack: brought up by change sets, waited for, taken down. Killed half-way, the next call goes on."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from chalicelib.platform.aws.clients import client
from pai.operate.account import OperateError, code_of, refusals
from pai.operate.steps import Result
from pai.operate.troubles import KEPT, advice, is_taken

POLL_S = 3.0
LOOKS = 10
"""How often a state is looked at before it is believed that an operation has begun without an event."""
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
NOTHING = ""
NEVER_WHOLE = {"ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED"}
"""States of a stack whose creation failed. CloudFormation updates none of them: it wants them deleted."""
STUCK = {
    "UPDATE_ROLLBACK_FAILED": "An update failed, and so did going back. `aws cloudformation continue-update-rollback "
    "--stack-name {name}` goes back now; then deploy again.",
    "DELETE_FAILED": "Its deletion did not get to its end. `pai destroy --stage {stage}` goes on with it; then deploy again.",
}
_NO_CHANGE = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True)
class Resource:
    """One resource of a stack. `id` is its physical id, empty where it has none (yet)."""

    name: str
    type: str
    id: str


class Stack:
    """A stack by its name, which need not be there yet."""

    def __init__(self, name: str, poll_s: float = POLL_S) -> None:
        self.name = name
        self._poll_s = poll_s
        self._client = client("cloudformation", read_timeout=30)

    def state(self) -> str:
        """Return CloudFormation's word for it, as CREATE_COMPLETE; `NOTHING` where there is no such stack."""
        described = self._described()
        return str(described["StackStatus"]) if described else NOTHING

    def outputs(self) -> dict[str, str]:
        described = self._described() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}

    def parameters(self) -> dict[str, str]:
        """Return the parameters that it was deployed with, but for those that CloudFormation hides."""
        described = self._described() or {}
        return {entry["ParameterKey"]: entry.get("ParameterValue", "") for entry in described.get("Parameters", ())}

    def resources(self) -> list[Resource]:
        """Return what it has. What is deleted, which CloudFormation goes on listing, is not among it."""
        if self.state() == NOTHING:
            return []
        with refusals(f"list the resources of {self.name}"):
            pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
            found = [entry for page in pages for entry in page["StackResourceSummaries"]]
        there = [one for one in found if one["ResourceStatus"] != "DELETE_COMPLETE"]
        return [Resource(one["LogicalResourceId"], one["ResourceType"], one.get("PhysicalResourceId", "")) for one in there]

    def settle(self, say: Result) -> str:
        """Wait for what another run, perhaps a killed one, has begun; return the state it came to."""
        while (state := self.state()).endswith("_IN_PROGRESS") and state != "REVIEW_IN_PROGRESS":
            say(f"{self.name} is {state} from another run; waiting for it")
            time.sleep(self._poll_s)
        return state

    def apply(self, template_url: str, parameters: Mapping[str, str], tags: Sequence[Mapping[str, str]], say: Result) -> None:
        """Make the stack what the template says. No change is a success. Raises `OperateError` with the reason."""
        state = self.settle(say)
        if state in STUCK:
            raise OperateError(self._stuck(state))
        if state in NEVER_WHOLE:
            say(f"{self.name} is {state}: its first deployment failed. Deleting what is left of it")
            self.delete(say)
            state = NOTHING
        kind = "CREATE" if state in {NOTHING, "REVIEW_IN_PROGRESS"} else "UPDATE"
        begun = self._newest_event()
        if not self._change(kind, template_url, parameters, tags):
            say("no change")
            return
        reached = self._wait(begun, say)
        if reached not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise OperateError(f"{self.name} is {reached}. {self._reasons(begun, kind)}")
        say("created" if kind == "CREATE" else "updated")

    def delete(self, say: Result) -> None:
        """Delete the stack and wait; a stack that is not there is deleted."""
        if self.settle(say) == NOTHING:
            say("not there")
            return
        stack_id = self._described()["StackId"]
        begun = self._newest_event()
        with refusals(f"delete the stack {self.name}"):
            self._client.delete_stack(StackName=stack_id)
        reached = self._wait(begun, say)
        if reached not in {NOTHING, "DELETE_COMPLETE"}:
            raise OperateError(f"{self.name} is {reached}. {self._reasons(begun, 'DELETE')}")
        say("deleted")

    def _described(self) -> Any:
        with refusals(f"look at the stack {self.name}"):
            try:
                [found] = self._client.describe_stacks(StackName=self.name)["Stacks"]
            except ClientError as error:
                if code_of(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise
        return found

    def _change(self, kind: str, url: str, parameters: Mapping[str, str], tags: Sequence[Mapping[str, str]]) -> bool:
        """Make and execute a change set; return False when there is nothing to change."""
        with refusals(f"change the stack {self.name}"):
            change = self._client.create_change_set(
                StackName=self.name,
                ChangeSetName=f"pai-{uuid.uuid4().hex[:12]}",
                ChangeSetType=kind,
                TemplateURL=url,
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Capabilities=list(CAPABILITIES),
                Tags=list(tags),
            )["Id"]
            described = self._ready(change)
            if described["Status"] == "FAILED":
                reason = described.get("StatusReason", "no reason given")
                unchanged = any(words in reason for words in _NO_CHANGE)
                invalid = "" if unchanged else self._invalid(change)  # these words go with the change set
                self._client.delete_change_set(ChangeSetName=change, StackName=self.name)
                if unchanged:
                    return False
                raise OperateError(f"CloudFormation does not take the template: {self._advised(invalid or reason, kind)}")
            self._client.execute_change_set(ChangeSetName=change, StackName=self.name)
        return True

    def _ready(self, change: str) -> Any:
        while True:
            described = self._client.describe_change_set(ChangeSetName=change, StackName=self.name)
            if described["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                return described
            time.sleep(self._poll_s)

    def _invalid(self, change: str) -> str:
        """Return what the checks before a change found of each resource; empty where that is nothing, or may not be asked.

        `change` is an ARN: the name alone is not enough here. The change set's own reason names the check, but no resource.
        """
        asked = {"ChangeSetName": change, "Filters": {"FailedEvents": True}}
        try:
            pages = self._client.get_paginator("describe_events").paginate(**asked)
            return " ".join(
                dict.fromkeys(filter(None, (_failure(event) for page in pages for event in page["OperationEvents"])))
            )
        except (BotoCoreError, ClientError, ResponseParserError):
            return ""

    def _wait(self, begun: str, say: Result) -> str:
        """Wait for the end of an operation and return its state, telling the newest resource meanwhile.

        `begun` is the newest event from before it: while nothing is newer, the state may be that of before, too.
        """
        looks = 0
        while True:
            newest = next(self._events(), None)
            state, looks = self.state(), looks + 1
            of_before = looks < LOOKS and state != NOTHING and (newest is None or newest["EventId"] == begun)
            if not of_before and not state.endswith("_IN_PROGRESS"):
                return state
            say(f"{state}, {newest['LogicalResourceId']}" if newest else state)
            time.sleep(self._poll_s)

    def _newest_event(self) -> str:
        return next((event["EventId"] for event in self._events()), "")

    def _events(self) -> Iterator[Any]:
        """Yield what happened, newest first."""
        try:
            pages = self._client.get_paginator("describe_stack_events").paginate(StackName=self.name)
            for page in pages:
                yield from page["StackEvents"]
        except ClientError:  # no stack (yet, or any more) has no events
            return

    def _reasons(self, since: str, kind: str) -> str:
        """Return what failed first, in CloudFormation's words, and what to do about it."""
        failed = []
        for event in self._events():
            if event["EventId"] == since:
                break
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
                failed.append(f"{event['LogicalResourceId']}: {reason}")
        if not failed:
            return "CloudFormation gives no reason; its console shows the stack's events."
        return self._advised(failed[-1], kind)

    def _advised(self, words: str, kind: str) -> str:
        """Return the words of CloudFormation with what to do. What a new stack meets may be the data of one before."""
        if kind == "CREATE" and is_taken(words):
            from pai.operate.leftovers import kept  # they look at what is deployed, which looks here

            with suppress(OperateError):
                if found := kept(self._stage):
                    return f"{words} {KEPT.format(stage=self._stage, kept=', '.join(found))}"
        return f"{words} {advice(words)}".rstrip()

    @property
    def _stage(self) -> str:
        return self.name.partition("-")[2]

    def _stuck(self, state: str) -> str:
        return f"{self.name} is {state}. {STUCK[state].format(name=self.name, stage=self._stage)}"


def _failure(event: Any) -> str:
    """Return the resource of a check that failed, and the reason; empty for one that only warns."""
    reason = event.get("ValidationStatusReason") or event.get("HookStatusReason")
    warns = "WARN" in (event.get("ValidationFailureMode"), event.get("HookFailureMode"))
    return f"{event.get('LogicalResourceId', 'The template')}: {reason}" if reason and not warns else ""
