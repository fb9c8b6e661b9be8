"""What API Gateway keeps beside the stack: who may write its logs, and what its authorizer has decided.

`python -m pai.operate.gateway [dev|prod]` lets API Gateway write logs, once for an account and region, and sets the log level
of a stage that is deployed.
"""

import argparse
import json
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.platform.aws.clients import client
from pai.operate import adopt_region
from pai.operate.account import OperateError, code_of, find_account, refusals, tag_list, tags
from pai.operate.deployed import endpoint, stack_of
from pai.stage import project_folder

ROLE = "pai-apigateway-logs"
POLICY = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "apigateway.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
EXECUTION_LOGS = "API-Gateway-Execution-Logs_"
RETENTION_DAYS = 30
"""As resources.yaml has it of the other log groups."""
_ADDRESS = re.compile(r"https?://([a-z0-9]+)\.execute-api\.[^/]+/([\w-]+)")
_TRIES = 10
"""IAM takes some seconds until everybody knows a new role."""


def logging_role() -> str:
    """Return the ARN of the role that API Gateway writes logs with in this account and region; empty when there is none."""
    with refusals("look at API Gateway's account settings"):
        return str(client("apigateway").get_account().get("cloudwatchRoleArn") or "")


def may_log() -> bool:
    """Tell whether API Gateway has such a role; no, where that may not be looked at."""
    with suppress(OperateError):
        return bool(logging_role())
    return False


def set_logging_role(pause_s: float = 2.0) -> str:
    """Give API Gateway a role to write logs with, unless it has one; return the role's ARN."""
    if found := logging_role():
        return found
    with refusals("make the role that API Gateway writes logs with"):
        arn = _role(client("iam"))
        for left in reversed(range(_TRIES)):
            try:
                change = {"op": "replace", "path": "/cloudwatchRoleArn", "value": arn}
                client("apigateway").update_account(patchOperations=[change])
                return arn
            except ClientError as error:
                if code_of(error) != "BadRequestException" or not left:
                    raise
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def set_log_level(api_id: str, api_stage: str, level: str) -> None:
    """Have a deployed stage write execution logs of this level (INFO, ERROR or OFF), without bodies."""
    changes = {"/*/*/logging/loglevel": level, "/*/*/logging/dataTrace": "false"}
    operations = [{"op": "replace", "path": path, "value": value} for path, value in changes.items()]
    with refusals("set the log level of the API"):
        client("apigateway").update_stage(restApiId=api_id, stageName=api_stage, patchOperations=operations)


def deployed_api(stage: str, project: Path) -> tuple[str, str] | None:
    """Return the id of the stage's API and the name of API Gateway's stage; None when it is not deployed."""
    found = _ADDRESS.match(endpoint(stage, stack_of(stage).outputs(), project))
    return (found[1], found[2]) if found else None


def execution_logs(stage: str, project: Path) -> str:
    """Return the name of the log group that API Gateway makes for a deployed stage by itself; empty where there is none."""
    found = deployed_api(stage, project)
    return f"{EXECUTION_LOGS}{found[0]}/{found[1]}" if found else ""


def keep_execution_logs(stage: str, project: Path) -> None:
    """Have those logs end as all others do, and be known as the stage's: API Gateway makes a group that lasts for ever."""
    logs, name = client("logs"), execution_logs(stage, project)
    with refusals("look after API Gateway's execution logs"):
        if name:
            with suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_group(logGroupName=name)
            logs.put_retention_policy(logGroupName=name, retentionInDays=RETENTION_DAYS)
            logs.tag_log_group(logGroupName=name, tags=tags(stage))


def flush_decisions(stage: str, project: Path) -> bool:
    """Have the authorizer decide anew about every key, at once; False where nothing is deployed, or it can't be asked."""
    try:
        found = deployed_api(stage, project)
        if found is None:
            return False
        client("apigateway").flush_stage_authorizers_cache(restApiId=found[0], stageName=found[1])
    except (BotoCoreError, ClientError, click.ClickException):
        return False
    return True


def _role(iam: Any) -> str:
    try:
        made = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST), Tags=tag_list("")[:1])
        arn = str(made["Role"]["Arn"])
    except ClientError as error:
        if code_of(error) != "EntityAlreadyExists":
            raise
        arn = str(iam.get_role(RoleName=ROLE)["Role"]["Arn"])
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=POLICY)
    return arn


def main() -> None:
    adopt_region()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", choices=("dev", "prod"))
    parser.add_argument("--level", choices=("INFO", "ERROR", "OFF"), default="INFO")
    options = parser.parse_args()
    try:
        account = find_account()
        print(f"API Gateway of account {account.id} in {account.region} writes logs as {set_logging_role()}.")
        if options.stage:
            print(_set_level(options.stage, options.level))
    except click.ClickException as error:
        sys.exit(error.format_message())


def _set_level(stage: str, level: str) -> str:
    found = deployed_api(stage, project_folder())
    if found is None:
        return (
            f"Stage {stage} is not deployed yet: its level is set when this is run again after `pai deploy --stage {stage}`."
        )
    set_log_level(*found, level)
    return f"Stage {stage} writes execution logs of level {level}."


if __name__ == "__main__":
    main()
