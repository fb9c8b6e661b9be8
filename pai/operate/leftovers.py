"""What a stage leaves in an account: found by name, where AWS knows names at once, and by tag."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.clock import iso
from chalicelib.platform.aws.clients import client
from pai.operate.account import code_of, find_account, is_missing, refusals, stack_name
from pai.operate.gateway import EXECUTION_LOGS
from pai.operate.steps import Result

_BY_NAME = (
    "s3",
    "dynamodb",
    "sqs",
    "lambda",
    "logs",
    "secretsmanager",
    "kms",
    "sns",
    "cloudwatch",
    "rds",
    "apigateway",
    "cloudformation",
    "iam",
    "budgets",
)
"""Services whose things are looked up by name. The list by tag remembers what is deleted for a while, so it is not asked."""
_BY_ID = {
    "vpc": ("describe_vpcs", "Vpcs", "vpc-id"),
    "subnet": ("describe_subnets", "Subnets", "subnet-id"),
    "security-group": ("describe_security_groups", "SecurityGroups", "group-id"),
}
"""Things of EC2, by what their ARN calls them: the list by tag remembers these for up to hours."""
LIMIT_S, PAUSE_S = 90.0, 5.0
"""ListQueues shows a queue for 60 s after its deletion, and a secret goes when Secrets Manager comes to it."""


@dataclass(frozen=True)
class Left:
    """Something that is there. `kind` is as in "table"; `until` is the day (ISO-8601) AWS deletes it by itself, or empty."""

    kind: str
    name: str
    until: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{f', to be deleted {self.until[:10]}' if self.until else ''}"


def leftovers(stage: str) -> list[Left]:
    """Return everything that is left of a stage."""
    with refusals(f"look for what is left of {stage}"):
        found = [Left(kind, name) for kind, names in _LISTED for name in names(stage)]
        return [*found, *keys(stage), *_tagged(stage)]


def what_stays(stage: str, say: Result, limit_s: float = LIMIT_S, pause_s: float = PAUSE_S) -> list[Left]:
    """Return what is left once AWS, which shows some of what is gone for a while, shows only what it will delete by itself.

    After `limit_s`, return it as it is.
    """
    end = time.monotonic() + limit_s
    while True:
        found = leftovers(stage)
        wrong = [one for one in found if not one.until]
        if not wrong or time.monotonic() >= end:
            return found
        say(f"waited for what AWS still showed: {wrong[0]}{' and others' if len(wrong) > 1 else ''}")
        time.sleep(pause_s)


def kept(stage: str) -> list[str]:
    """Return what CloudFormation keeps where it deletes the stage's stack, and what is in it."""
    held = (("table", _tables, "conversations"), ("bucket", _buckets, "documents"), ("secret", secrets, "API keys"))
    with refusals(f"look for what is kept of {stage}"):
        return [f"{kind} {name} ({content})" for kind, names, content in held for name in names(stage)]


def keys(stage: str) -> list[Left]:
    """Return the KMS keys of the stage, each with the day of its deletion where one is set."""
    return [found for arn in _tagged_arns(stage, "kms:key") if (found := _key(arn))]


def _key(arn: str) -> Left | None:
    try:
        key = client("kms").describe_key(KeyId=arn)["KeyMetadata"]
    except ClientError as error:
        if is_missing(error):
            return None
        raise
    date = key.get("DeletionDate")
    return Left("key", arn, iso(date.timestamp()) if date else "")


def _tagged(stage: str) -> Iterator[Left]:
    for arn in _tagged_arns(stage):
        service = arn.split(":")[2]
        if service not in _BY_NAME and (service != "ec2" or _is_there(arn)):
            yield Left(service, arn)


def _is_there(arn: str) -> bool:
    """Ask EC2 itself. What it is not asked about here is taken for there."""
    kind, _, name = arn.split(":", 5)[5].partition("/")
    operation, member, key = _BY_ID.get(kind, ("", "", ""))
    return not operation or any(_pages("ec2", operation, member, Filters=[{"Name": key, "Values": [name]}]))


def _tagged_arns(stage: str, *types: str) -> Iterator[str]:
    pages = (
        client("resourcegroupstaggingapi")
        .get_paginator("get_resources")
        .paginate(
            TagFilters=[{"Key": "pai:stage", "Values": [stage]}, {"Key": "pai:app", "Values": ["pai"]}],
            **({"ResourceTypeFilters": list(types)} if types else {}),
        )
    )
    for page in pages:
        yield from (entry["ResourceARN"] for entry in page["ResourceTagMappingList"])


def _pages(service: str, operation: str, member: str, **arguments: Any) -> Iterator[Any]:
    for page in client(service).get_paginator(operation).paginate(**arguments):
        yield from page.get(member, ())


def _buckets(stage: str) -> Iterator[str]:
    for bucket in client("s3").list_buckets()["Buckets"]:
        if bucket["Name"].startswith(f"pai-{stage}-"):
            yield bucket["Name"]


def _tables(stage: str) -> Iterator[str]:
    return (name for name in _pages("dynamodb", "list_tables", "TableNames") if name == f"PAI-Conversations-{stage}")


def _queues(stage: str) -> Iterator[str]:
    urls = _pages("sqs", "list_queues", "QueueUrls", QueueNamePrefix="PAI-")
    return (url.rpartition("/")[2] for url in urls if url.endswith(f"-{stage}"))


def _functions(stage: str) -> Iterator[str]:
    own = stack_name(stage)
    names = (function["FunctionName"] for function in _pages("lambda", "list_functions", "Functions"))
    return (name for name in names if name == own or name.startswith(f"{own}-"))


def _apis(stage: str) -> Iterator[str]:
    """Chalice calls the API of every stage `pai`, and tags none. It gets the name of the stage, and a tag, afterwards."""
    for api in _pages("apigateway", "get_rest_apis", "items"):
        if api.get("tags", {}).get("pai:stage") == stage or api["name"] == stack_name(stage):
            yield f"{api['name']} ({api['id']})"


def log_groups(stage: str) -> Iterator[str]:
    """Yield the stage's log groups: the template's, and those that Lambda and API Gateway make by themselves."""
    for prefix in ("/aws/lambda/pai-", "/aws/apigateway/pai-"):
        for group in _pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=prefix):
            name = group["logGroupName"].removeprefix(prefix)
            if stage in (name, *(name.removeprefix(f"{part}-") for part in ("chatbot", "authorizer", "documents"))) or (
                name.startswith(f"{stage}-")
            ):
                yield group["logGroupName"]
    for group in _pages("logs", "describe_log_groups", "logGroups", logGroupNamePrefix=EXECUTION_LOGS):
        # Named after the API alone: the tag tells whose it is.
        if _log_tags(group["logGroupName"]).get("pai:stage") == stage:
            yield group["logGroupName"]


def _log_tags(group: str) -> dict[str, str]:
    """Return a log group's tags; none of one that is somebody else's, or gone meanwhile."""
    try:
        return dict(client("logs").list_tags_log_group(logGroupName=group)["tags"])
    except ClientError as error:
        if is_missing(error) or "AccessDenied" in code_of(error):
            return {}
        raise


def secrets(stage: str) -> Iterator[str]:
    """Yield the stage's secrets, those with a deletion ahead too."""
    found = _pages("secretsmanager", "list_secrets", "SecretList", IncludePlannedDeletion=True)
    return (secret["Name"] for secret in found if secret["Name"].startswith(f"pai/{stage}/"))


def _topics(stage: str) -> Iterator[str]:
    return (
        topic["TopicArn"]
        for topic in _pages("sns", "list_topics", "Topics")
        if _named(topic["TopicArn"].split(":")[-1], stage)
    )


def _alarms(stage: str) -> Iterator[str]:
    found = _pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{stack_name(stage)}")
    return (alarm["AlarmName"] for alarm in found if _named(alarm["AlarmName"], stage))


def _dashboards(stage: str) -> Iterator[str]:
    found = _pages("cloudwatch", "list_dashboards", "DashboardEntries", DashboardNamePrefix=stack_name(stage))
    return (entry["DashboardName"] for entry in found if _named(entry["DashboardName"], stage))


def _clusters(stage: str) -> Iterator[str]:
    found = _pages("rds", "describe_db_clusters", "DBClusters")
    return (entry["DBClusterIdentifier"] for entry in found if _ours(entry.get("TagList", ()), stage))


def snapshots(stage: str) -> Iterator[str]:
    """Yield what CloudFormation may have saved of the database when it deleted it."""
    found = _pages("rds", "describe_db_cluster_snapshots", "DBClusterSnapshots", SnapshotType="manual")
    return (entry["DBClusterSnapshotIdentifier"] for entry in found if _named(entry["DBClusterSnapshotIdentifier"], stage))


def _roles(stage: str) -> Iterator[str]:
    """Yield the roles of functions: Chalice calls them `pai-<stage>-<function>`, CloudFormation `pai-<stage>-<resource>-…`."""
    with _if_allowed():
        for role in _pages("iam", "list_roles", "Roles"):
            if _named(role["RoleName"], stage) and "lambda.amazonaws.com" in json.dumps(role["AssumeRolePolicyDocument"]):
                yield role["RoleName"]


def _budgets(stage: str) -> Iterator[str]:
    with _if_allowed(), suppress(BotoCoreError):  # there are regions without budgets
        client("budgets").describe_budget(AccountId=find_account().id, BudgetName=stack_name(stage))
        yield stack_name(stage)


@contextmanager
def _if_allowed() -> Iterator[None]:
    """Find nothing where there is nothing, or where whoever runs this may not look: the stack's end says what it could not."""
    try:
        yield
    except ClientError as error:
        if not (is_missing(error) or code_of(error).startswith("AccessDenied")):
            raise


def _stacks(stage: str) -> Iterator[str]:
    for entry in _pages("cloudformation", "list_stacks", "StackSummaries"):
        if entry["StackName"] == stack_name(stage) and entry["StackStatus"] != "DELETE_COMPLETE":
            yield entry["StackName"]


def _named(name: str, stage: str) -> bool:
    return name == stack_name(stage) or name.startswith(f"{stack_name(stage)}-")


def _ours(tags: Iterable[Any], stage: str) -> bool:
    return {"Key": "pai:stage", "Value": stage} in [{"Key": tag["Key"], "Value": tag["Value"]} for tag in tags]


_LISTED: tuple[tuple[str, Callable[[str], Iterator[str]]], ...] = (
    ("stack", _stacks),
    ("function", _functions),
    ("API", _apis),
    ("table", _tables),
    ("bucket", _buckets),
    ("queue", _queues),
    ("secret", secrets),
    ("log group", log_groups),
    ("topic", _topics),
    ("alarm", _alarms),
    ("dashboard", _dashboards),
    ("database cluster", _clusters),
    ("database snapshot", snapshots),
    ("role", _roles),
    ("budget", _budgets),
)
