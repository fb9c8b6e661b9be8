"""What runs of a stage: its functions, address, queues, alarms, each asked for by the names that both ways to deploy give."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from chalicelib.platform.aws.clients import client
from pai.operate.account import OperateError, code_of, is_missing, refusals, stack_name
from pai.operate.stack import Stack

FUNCTIONS = ("", "-authorizer", "-worker", "-documents", "-documents_dead")
GROUPS = (
    "/aws/lambda/pai-chatbot-{}",
    "/aws/lambda/pai-authorizer-{}",
    "/aws/lambda/pai-documents-{}",
    "/aws/apigateway/pai-{}",
)
QUEUES = ("PAI-documents-{}", "PAI-documents-dead-{}", "PAI-worker-dead-{}")
_WAITING = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


@dataclass(frozen=True)
class Function:
    """A Lambda function as it is. `environment` are its variables."""

    name: str
    state: str
    memory_mb: int
    timeout_s: int
    modified: str
    environment: Mapping[str, str]


def functions(stage: str) -> list[Function]:
    """Return those functions of the stage that are there."""
    here = client("lambda")
    return [found for suffix in FUNCTIONS if (found := _function(here, f"{stack_name(stage)}{suffix}"))]


def environment(stage: str) -> Mapping[str, str]:
    """Return the variables of the API's function; none when it is not there."""
    with refusals(f"look at the function {stack_name(stage)}"):
        found = _function(client("lambda"), stack_name(stage))
    return found.environment if found else {}


def knows_type(kind: str) -> bool:
    """Tell whether CloudFormation can make a type of resource in this region; yes, where it does not say."""
    try:
        client("cloudformation").describe_type(Type="RESOURCE", TypeName=kind)
    except ClientError as error:
        return code_of(error) != "TypeNotFoundException"
    except (BotoCoreError, ResponseParserError):
        return True
    return True


def endpoint(stage: str, outputs: Mapping[str, str], project: Path) -> str:
    """Return the API's address without a slash at its end; empty when there is none.

    It is the stack's output, or what `chalice deploy` has left word of.
    """
    address = outputs.get("ApiEndpoint") or outputs.get("EndpointURL")
    if not address:
        address = next((entry["rest_api_url"] for entry in made_by_chalice(stage, project) if "rest_api_url" in entry), "")
    return address.rstrip("/")


def chalice_record(stage: str, project: Path) -> Path:
    """Return the file in which `chalice deploy` keeps what it has made."""
    return project / ".chalice" / "deployed" / f"{stage}.json"


def made_by_chalice(stage: str, project: Path) -> list[dict[str, Any]]:
    """Return what that file names; nothing where it is missing. `OperateError` if it can't be read: nothing may replace it."""
    record = chalice_record(stage, project)
    try:
        return list(json.loads(record.read_text())["resources"])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OperateError(
            f"{record} says what Chalice has deployed, and can't be read ({error}). Bring it back, as from version "
            "control; or delete it, if Chalice has deployed nothing."
        ) from error


def queue_depths(stage: str) -> dict[str, int]:
    """Return how many messages each queue of the stage holds; a queue that is not there is not in it."""
    sqs, depths = client("sqs"), {}
    for name in (queue.format(stage) for queue in QUEUES):
        with refusals(f"look at the queue {name}"):
            try:
                url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
                answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_WAITING))["Attributes"]
            except ClientError as error:
                if is_missing(error):
                    continue
                raise
        depths[name] = sum(int(answer[count]) for count in _WAITING)
    return depths


def alarms(stage: str) -> dict[str, str]:
    """Return the state of each alarm of the stage, by its name."""
    pages = client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack_name(stage)}-")
    with refusals("look at the alarms"):
        found = [alarm for page in pages for alarm in (*page.get("MetricAlarms", ()), *page.get("CompositeAlarms", ()))]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}


def billing_mode(table: str) -> str:
    """Return how the table is paid for, as PAY_PER_REQUEST; empty when there is no such table."""
    described = described_table(table)
    return str(described.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")) if described else ""


def described_table(table: str) -> Mapping[str, Any]:
    """Return what DynamoDB says of a table; nothing when there is no such table."""
    with refusals(f"look at the table {table}"):
        try:
            return dict(client("dynamodb").describe_table(TableName=table)["Table"])
        except ClientError as error:
            if is_missing(error):
                return {}
            raise


def table_of(stage: str) -> str:
    return f"PAI-Conversations-{stage}"


def stack_of(stage: str) -> Stack:
    return Stack(stack_name(stage))


def log_groups(stage: str) -> list[str]:
    """Return the log groups of the stage that are there: under the names of the docs, and those that Lambda makes itself."""
    return list(dict.fromkeys(_groups(stage)))


def _groups(stage: str) -> Iterator[str]:
    logs = client("logs")
    own = [name.format(stage) for name in GROUPS]
    made = [f"/aws/lambda/{stack_name(stage)}{suffix}" for suffix in FUNCTIONS]
    for name in (*own, *made):
        with refusals("list the log groups"):
            found = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        yield from (group["logGroupName"] for group in found if group["logGroupName"] == name)


def _function(here: Any, name: str) -> Function | None:
    with refusals(f"look at the function {name}"):
        try:
            found = here.get_function_configuration(FunctionName=name)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
    return Function(
        name,
        found.get("State", "Active"),
        found["MemorySize"],
        found["Timeout"],
        found["LastModified"],
        found.get("Environment", {}).get("Variables", {}),
    )
