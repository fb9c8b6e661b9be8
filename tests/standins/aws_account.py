"""moto's server, with what its CloudFormation lacks for deploying by change sets: `python -m tests.standins.aws_account -p 0`.

moto runs a change set without making the stack's outputs, and knows no RetainExceptOnCreate. Here a change set does what
CreateStack and UpdateStack do, what is retained but on creation is retained, one name has one stack, and
a key's policy and tags are what KMS takes.
"""

import json
from typing import Any

from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.kms.models import Key, KmsBackend
from moto.server import main

_delete, _create_key = ResourceMap.delete, KmsBackend.create_key


def execute_change_set(self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
    change = self.describe_change_set(change_set_name)
    assert change is not None, change_set_name
    change.execution_status = "EXECUTE_COMPLETE"
    before = self.stacks[change.stack_id]
    if change.change_set_type == "UPDATE":
        before.update(change.template, change.role_arn, change.parameters, change.tags)
        return
    stack = Stack(  # type: ignore[abstract]
        before.stack_id,
        before.name,
        change.template,
        change.parameters,
        self.account_id,
        self.region_name,
        tags=change.tags,
        cross_stack_resources=self.exports,
    )
    for other in [one.stack_id for one in self.stacks.values() if one.name == stack.name]:
        del self.stacks[other]
    self.stacks[stack.stack_id] = stack
    stack._add_stack_event("CREATE_IN_PROGRESS", resource_status_reason="User Initiated")
    stack.create_resources()


def delete(self: Any) -> None:
    for resource in self._resource_json_map.values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"
    _delete(self)


def create_key(self: KmsBackend, policy: Any, *arguments: Any, tags: Any = None, **named: Any) -> Key:
    text = policy if isinstance(policy, str | None) else json.dumps(policy)
    own = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} if "Key" in tag else tag for tag in tags or ()]
    return _create_key(self, text, *arguments, tags=own, **named)  # type: ignore[misc]


if __name__ == "__main__":
    CloudFormationBackend.execute_change_set = execute_change_set  # type: ignore[method-assign]
    KmsBackend.create_key = create_key  # type: ignore[method-assign]
    ResourceMap.delete = delete  # type: ignore[method-assign]
    main()
