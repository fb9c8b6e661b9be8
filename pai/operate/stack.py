"""A CloudFormation stack: brought up by change sets, waited for, taken down. Killed half-way, the next call goes on."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.platform.aws.clients import client
from pai.operate.account import OperateError, code_of, refusals
from pai.operate.steps import Result
from pai.operate.troubles import advice

POLL_S = 3.0
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
        if self.state() == NOTHING:
            return []
        with refusals(f"list the resources of {self.name}"):
            pages = self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
            found = [entry for page in pages for entry in page["StackResourceSummaries"]]
        return [Resource(one["LogicalResourceId"], one["ResourceType"], one.get("PhysicalResourceId", "")) for one in found]

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
        reached = self._wait(say)
        if reached not in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            raise OperateError(f"{self.name} is {reached}. {self._reasons(begun)}")
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
        reached = self._wait(say)
        if reached not in {NOTHING, "DELETE_COMPLETE"}:
            raise OperateError(f"{self.name} is {reached}. {self._reasons(begun)}")
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
                self._client.delete_change_set(ChangeSetName=change, StackName=self.name)
                reason = described.get("StatusReason", "no reason given")
                if any(words in reason for words in _NO_CHANGE):
                    return False
                raise OperateError(f"CloudFormation does not take the template: {reason} {advice(reason)}".rstrip())
            self._client.execute_change_set(ChangeSetName=change, StackName=self.name)
        return True

    def _ready(self, change: str) -> Any:
        while True:
            described = self._client.describe_change_set(ChangeSetName=change, StackName=self.name)
            if described["Status"] not in {"CREATE_PENDING", "CREATE_IN_PROGRESS"}:
                return described
            time.sleep(self._poll_s)

    def _wait(self, say: Result) -> str:
        """Wait for the end of an operation and return its state, telling the newest resource meanwhile."""
        while (state := self.state()).endswith("_IN_PROGRESS"):
            newest = next(self._events(), None)
            say(f"{state}, {newest['LogicalResourceId']}" if newest else state)
            time.sleep(self._poll_s)
        return state

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

    def _reasons(self, since: str) -> str:
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
        return f"{failed[-1]} {advice(failed[-1])}".strip()

    def _stuck(self, state: str) -> str:
        return f"{self.name} is {state}. {STUCK[state].format(name=self.name, stage=self.name.partition('-')[2])}"
