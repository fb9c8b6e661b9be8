"""Buckets: the one that deployments are uploaded to, and emptying any with all its versions."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from botocore.regions import EndpointResolver
from botocore.session import Session

from chalicelib.platform.aws.clients import client
from pai.operate.account import Account, OperateError, code_of, refusals, tag_list, tags
from pai.operate.troubles import NO_BUCKET

_BATCH = 1000
"""What one DeleteObjects takes."""
_ELSEWHERE = (
    "The S3 bucket {name} is in {region}, and this deployment goes to {here}: Lambda takes code only from a bucket of its own "
    "region. Name one in {here} (S3BucketName in infrastructure/parameters/<stage>.json, or $S3_BUCKET_NAME), or name none: "
    "`pai deploy` then makes {default}. If {region} is where the stage is to be, set AWS_REGION={region}."
)
_FOREIGN = "S3 bucket not found: {name!r} is not one of this account's. {what_to_do}"


class DeploymentBucket:
    """Where packages and templates lie while CloudFormation works with them, under pai/<stage>/ each."""

    def __init__(self, account: Account, name: str = "") -> None:
        """`name` is the owner's own choice; empty is pai-deployment-<account>-<region>."""
        self.name = name or account.deployment_bucket
        self._account = account
        self._client = s3()

    def ensure(self) -> bool:
        """See to it that the bucket is there, in this region; return whether it was made now."""
        with refusals(f"find or make the S3 bucket {self.name}"):
            try:
                self._refuse_elsewhere(self._client.head_bucket(Bucket=self.name))
                return False
            except ClientError as error:
                if code_of(error) in {"403", "301", "AccessDenied"}:
                    raise OperateError(self._foreign()) from error
                if code_of(error) not in {"404", "NoSuchBucket"}:
                    raise
            self._create()
        return True

    def upload(self, stage: str, content: bytes, suffix: str) -> str:
        """Upload something under its own SHA-256, unless it is there already; return its key."""
        key = f"pai/{stage}/{hashlib.sha256(content).hexdigest()}{suffix}"
        with refusals(f"upload to the S3 bucket {self.name}"):
            try:
                self._client.head_object(Bucket=self.name, Key=key)
            except ClientError as error:
                if code_of(error) not in {"404", "NoSuchKey"}:
                    raise
                self._client.put_object(Bucket=self.name, Key=key, Body=content)
        return key

    def upload_file(self, stage: str, path: Path) -> str:
        return self.upload(stage, path.read_bytes(), path.suffix)

    def url(self, key: str) -> str:
        """Return the address that CloudFormation reads a template from."""
        return f"https://{self.name}.s3.{self._account.region}.{_dns_suffix(self._account.region)}/{key}"

    def clear(self, stage: str) -> int:
        """Delete what the stage has here, and the bucket with it when PAI made it and nothing else is in it."""
        try:
            gone = empty(self.name, f"pai/{stage}/")
        except OperateError as error:
            if _is_no_bucket(error):
                return 0
            raise
        with refusals(f"delete the S3 bucket {self.name}"):
            if self._ours() and not any(_versions(self._client, self.name, "")):
                self._client.delete_bucket(Bucket=self.name)
        return gone

    def _create(self) -> None:
        region = self._account.region
        place: Any = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._client.create_bucket(Bucket=self.name, **place)
        except ClientError as error:
            if code_of(error) == "BucketAlreadyExists":
                raise OperateError(self._foreign()) from error
            raise
        block = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self._client.put_public_access_block(Bucket=self.name, PublicAccessBlockConfiguration=dict.fromkeys(block, True))
        self._client.put_bucket_tagging(Bucket=self.name, Tagging={"TagSet": [tag_list("")[0]]})

    def _refuse_elsewhere(self, found: Any) -> None:
        """botocore follows S3 to a bucket's region by itself. Lambda and CloudFormation do not."""
        here, region = self._account.region, found.get("BucketRegion")
        if region and region != here:
            default = self._account.deployment_bucket
            raise OperateError(_ELSEWHERE.format(name=self.name, region=region, here=here, default=default))

    def _foreign(self) -> str:
        return _FOREIGN.format(name=self.name, what_to_do=NO_BUCKET.what_to_do)

    def _ours(self) -> bool:
        try:
            found = self._client.get_bucket_tagging(Bucket=self.name)["TagSet"]
        except ClientError as error:
            if code_of(error) == "NoSuchTagSet":
                return False
            raise
        return ("pai:app", tags("")["pai:app"]) in {(tag["Key"], tag["Value"]) for tag in found}


def _dns_suffix(region: str) -> str:
    """Return what the addresses of AWS end with there, as amazonaws.com."""
    session = Session()
    partition = session.get_partition_for_region(region)
    return str(EndpointResolver(session.get_data("endpoints")).get_partition_dns_suffix(partition))


def s3() -> Any:
    return client("s3", read_timeout=60, signature_version="s3v4")


def empty(bucket: str, prefix: str = "") -> int:
    """Delete everything in a bucket under a prefix, with all versions and delete markers; return how many."""
    here, gone = s3(), 0
    with refusals(f"empty the S3 bucket {bucket}"):
        batch: list[dict[str, str]] = []
        for version in _versions(here, bucket, prefix):
            batch.append(version)
            if len(batch) == _BATCH:
                gone += _delete(here, bucket, batch)
                batch = []
        return gone + _delete(here, bucket, batch)


def _versions(here: Any, bucket: str, prefix: str) -> Iterator[dict[str, str]]:
    for page in here.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            yield {"Key": entry["Key"], "VersionId": entry["VersionId"]}


def _delete(here: Any, bucket: str, batch: list[dict[str, str]]) -> int:
    if batch:
        answer = here.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        if refused := answer.get("Errors"):
            raise OperateError(
                f"S3 kept {len(refused)} objects of {bucket} ({refused[0]['Code']}). Allow s3:DeleteObjectVersion, and run it "
                "again."
            )
    return len(batch)


def _is_no_bucket(error: OperateError) -> bool:
    return isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "NoSuchBucket"
