"""Taking a stage out of an account: the stack, what CloudFormation keeps, and a list of what is left. Twice does no harm."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.platform.aws.clients import client
from pai.operate import by_chalice
from pai.operate import leftovers as left
from pai.operate.account import Account, OperateError, code_of, find_account, is_missing, refusals, stack_name
from pai.operate.deployed import table_of
from pai.operate.gateway import execution_logs, keep_execution_logs
from pai.operate.leftovers import LIMIT_S, PAUSE_S, Left, what_stays
from pai.operate.parameters import load_parameters
from pai.operate.stack import Resource, Stack
from pai.operate.steps import step
from pai.operate.storage import DeploymentBucket, empty

DAYS = 7
"""Until a key is gone for good: the fewest that KMS takes."""


def destroy(stage: str, project: Path, limit_s: float = LIMIT_S, pause_s: float = PAUSE_S) -> list[Left]:
    """Delete all of a stage, for good; return what is left, which should be the key alone, until its date.

    What AWS still shows then is looked for again every `pause_s`, until `limit_s` are over.
    """
    parameters = load_parameters(project, stage)  # what is wrong with them is to be said while everything is there
    with step("account") as say:
        account = find_account()
        say(f"{account.id} in {account.region}")
    _refuse_elsewhere(stage, project, account)
    api_logs = execution_logs(stage, project)
    with suppress(OperateError):  # so that a run that goes on from here finds them by their tag
        keep_execution_logs(stage, project)
    if by_chalice.is_deployed(project, stage):
        _delete_functions(stage, project)
    by_chalice.clear(project, stage)
    stack = Stack(stack_name(stage))
    resources = stack.resources()
    keys = {resource.id for resource in resources if resource.type == "AWS::KMS::Key" and resource.id}
    _empty_buckets(stage, account.id, resources)
    with step("stack") as say:
        stack.settle(say)
        _unprotect(resources)
        stack.delete(say)
    _delete_kept(stage, account.id, api_logs)
    _schedule_keys(stage, keys)
    with step("deployment objects") as say:
        bucket = DeploymentBucket(account, parameters.bucket)
        say(f"{bucket.clear(stage)} deleted from {bucket.name}")
    with step("what is left") as say:
        return what_stays(stage, say, limit_s, pause_s)


def _refuse_elsewhere(stage: str, project: Path, account: Account) -> None:
    """Refuse a stage of another region: S3 would be followed there, and its documents be gone while all else stays."""
    for region in (_region_of(documents_bucket(stage, account.id)), by_chalice.region_of(project, stage)):
        if region and region != account.region:
            raise OperateError(f"{stage} is deployed in {region}, and this is {account.region}. Set AWS_REGION={region}.")


def _region_of(bucket: str) -> str:
    """Return where a bucket is; empty where there is none, or it is somebody else's."""
    with refusals(f"look at the S3 bucket {bucket}"):
        try:
            return str(client("s3").head_bucket(Bucket=bucket).get("BucketRegion", ""))
        except ClientError as error:
            if is_missing(error) or code_of(error) in {"403", "AccessDenied"}:
                return ""
            raise


def _delete_functions(stage: str, project: Path) -> None:
    with step("functions of chalice deploy") as say:
        command = [sys.executable, "-c", "from chalice.cli import main; main()", "delete", "--stage", stage]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OperateError(f"chalice delete --stage {stage} failed: {(done.stderr or done.stdout).strip()[-800:]}")
        say("deleted")


def _empty_buckets(stage: str, account_id: str, resources: Iterable[Resource]) -> None:
    """Empty the stage's buckets with all versions, so that they can be deleted."""
    named = {resource.id for resource in resources if resource.type == "AWS::S3::Bucket" and resource.id}
    with step("documents") as say:
        gone = sum(_emptied(bucket) for bucket in sorted(named | {documents_bucket(stage, account_id)}))
        say(f"{gone} versions deleted")


def documents_bucket(stage: str, account_id: str) -> str:
    return f"pai-{stage}-documents-{account_id}"


def _emptied(bucket: str) -> int:
    try:
        return empty(bucket)
    except OperateError as error:
        if isinstance(error.__cause__, ClientError) and is_missing(error.__cause__):
            return 0
        raise


def _unprotect(resources: Iterable[Resource]) -> None:
    """Take the protection against deletion off the database; with it a stack can't go."""
    for resource in resources:
        if resource.type == "AWS::RDS::DBCluster" and resource.id:
            with refusals("take off the database's protection against deletion"):
                _unprotect_cluster(resource.id)


def _unprotect_cluster(name: str) -> None:
    try:
        client("rds").modify_db_cluster(DBClusterIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
    except ClientError as error:
        # It is being deleted, by a run that was killed, or gone. Should it be in another state, the stack's deletion says so.
        if code_of(error) not in {"InvalidDBClusterStateFault", "DBClusterNotFoundFault"}:
            raise


def _delete_kept(stage: str, account_id: str, api_logs: str) -> None:
    """Delete what the stack leaves on purpose, because it holds what can't be had again, and what was made beside it."""
    with step("data, secrets and logs") as say, refusals("delete what the stack has kept"):
        gone = [name for name, delete in _kept(stage, account_id, api_logs) if _gone(delete)]
        say(", ".join(gone) or "nothing was left")


def _kept(stage: str, account_id: str, api_logs: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what may be left after the stack, with what deletes it."""
    table, bucket = table_of(stage), documents_bucket(stage, account_id)
    yield table, partial(_delete_table, table)
    yield bucket, partial(client("s3").delete_bucket, Bucket=bucket)
    for secret in list(left.secrets(stage)):
        yield secret, partial(client("secretsmanager").delete_secret, SecretId=secret, ForceDeleteWithoutRecovery=True)
    for group in sorted({*left.log_groups(stage), *filter(None, [api_logs])}):
        yield group, partial(client("logs").delete_log_group, logGroupName=group)
    for snapshot in list(left.snapshots(stage)):
        yield snapshot, partial(client("rds").delete_db_cluster_snapshot, DBClusterSnapshotIdentifier=snapshot)


def _delete_table(name: str) -> None:
    here = client("dynamodb")
    # A table that has backups when it is deleted leaves one for 35 days; without, nothing.
    off = {"PointInTimeRecoveryEnabled": False}
    here.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=off)
    if here.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
        here.update_table(TableName=name, DeletionProtectionEnabled=False)
    here.delete_table(TableName=name)
    here.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 3})


def _gone(delete: Callable[[], object]) -> bool:
    """Delete something; return False where it was not there."""
    try:
        delete()
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True


def _schedule_keys(stage: str, keys: Iterable[str]) -> None:
    """Have the stage's keys deleted: with them goes whatever backups still hold."""
    kms = client("kms")
    with step("key") as say, refusals("schedule the key's deletion"):
        arns = {_arn(kms, key) for key in keys} | {key.name for key in left.keys(stage)}
        for arn in filter(None, arns):
            key = kms.describe_key(KeyId=arn)["KeyMetadata"]
            if not key.get("DeletionDate"):
                kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=DAYS)
        with suppress(ClientError):  # the alias goes with the stack; without one, by hand
            kms.delete_alias(AliasName=f"alias/{stack_name(stage)}")
        dates = [key.until[:10] for key in left.keys(stage)]
        say(f"to be deleted {', '.join(dates)}" if dates else "none was left")


def _arn(kms: Any, key: str) -> str:
    try:
        return str(kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"])
    except ClientError as error:
        if is_missing(error):
            return ""
        raise
