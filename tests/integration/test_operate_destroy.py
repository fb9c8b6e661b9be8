"""Taking a stage away: what may be in the way, what AWS still shows when it is gone, and what is left."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from pai.operate.account import Account
from pai.operate.destroy import destroy
from pai.operate.storage import DeploymentBucket
from tests.integration.operating import Pai, account, bedrock, pai  # noqa: F401 - fixtures
from tests.standins.intervening import Answer, Intervening

CLUSTER = {
    "Type": "AWS::RDS::DBCluster",
    "Properties": {"DBClusterIdentifier": "pai-dev", "Engine": "aurora-postgresql", "MasterUsername": "pai", "Tags": []},
}
FUNCTIONS_ROLE = {"Principal": {"Service": "lambda.amazonaws.com"}, "Effect": "Allow", "Action": "sts:AssumeRole"}
PEOPLES_ROLE = {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Effect": "Allow", "Action": "sts:AssumeRole"}
ACCOUNT = Account("123456789012", "us-east-1")


def fault(code: str) -> str:
    return f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"


def left(clone: Path, limit_s: float = 0) -> list[str]:
    """Destroy dev and return what is left of it."""
    return [str(one) for one in destroy("dev", clone, limit_s, pause_s=0.01)]


def tagged(*arns: str) -> Answer:
    """What the list by tag answers, but for keys."""
    mappings: list[dict[str, Any]] = [{"ResourceARN": arn, "Tags": []} for arn in arns]
    body = json.dumps({"PaginationToken": "", "ResourceTagMappingList": mappings})
    return Answer(('"Values": ["pai"]}]}',), body, content_type="application/x-amz-json-1.1")


def role(name: str, statement: dict[str, Any]) -> None:
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)


def budget(name: str) -> None:
    limit = {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": "1", "Unit": "USD"}}
    boto3.client("budgets").create_budget(AccountId=ACCOUNT.id, Budget={"BudgetName": name, **limit})


@pytest.mark.parametrize("code", ["InvalidDBClusterStateFault", "DBClusterNotFoundFault"])
def test_a_database_that_is_going_or_gone_is_in_nobodys_way(pai: Pai, account: str, code: str) -> None:  # noqa: F811
    template = json.dumps({"Resources": {"Cluster": CLUSTER}})
    boto3.client("cloudformation").create_stack(StackName="pai-dev", TemplateBody=template)
    with Intervening(account, Answer(("Action=ModifyDBCluster",), fault(code), status=400)) as between:
        gone = pai("destroy", "--stage", "dev", "--yes", AWS_ENDPOINT_URL_RDS=between.url)

    assert any("ModifyDBCluster" in request for request in between.requests)
    assert (gone.returncode, gone.stdout) == (0, ""), gone.stderr
    assert not boto3.client("rds").describe_db_clusters()["DBClusters"]


def test_a_database_whose_protection_stays_is_told(pai: Pai, account: str) -> None:  # noqa: F811
    template = json.dumps({"Resources": {"Cluster": CLUSTER}})
    boto3.client("cloudformation").create_stack(StackName="pai-dev", TemplateBody=template)
    with Intervening(account, Answer(("Action=ModifyDBCluster",), fault("AccessDenied"), status=403)) as between:
        refused = pai("destroy", "--stage", "dev", "--yes", AWS_ENDPOINT_URL_RDS=between.url)

    assert refused.returncode == 1
    assert "Allow `ModifyDBCluster`" in refused.stderr


# ---- What AWS still shows ----


def test_a_network_that_the_list_by_tag_remembers_is_gone(pai: Pai, account: str) -> None:  # noqa: F811
    place = "arn:aws:ec2:us-east-1:123456789012:"
    ghosts = (f"{place}vpc/vpc-1", f"{place}subnet/subnet-1", f"{place}security-group/sg-1")
    with Intervening(account, tagged(*ghosts)) as between:
        gone = pai("destroy", "--stage", "dev", "--yes", AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API=between.url)

    assert between.answers[0].having[0] in "".join(between.requests)
    assert (gone.returncode, gone.stdout) == (0, ""), gone.stderr


def test_a_network_that_is_there_is_left(account: str, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/24")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/25")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="x", Description="x", VpcId=vpc)["GroupId"]
    things = (f"vpc/{vpc}", f"subnet/{subnet}", f"security-group/{group}", "natgateway/nat-1")
    arns = [f"arn:aws:ec2:us-east-1:123456789012:{thing}" for thing in things]
    with Intervening(account, tagged(*arns)) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API", between.url)
        assert left(clone) == [f"ec2 {arn}" for arn in arns]


def shown_queue(times: int | None = None) -> Answer:
    body = json.dumps({"QueueUrls": ["https://sqs.us-east-1.amazonaws.com/123456789012/PAI-documents-dev"]})
    return Answer(("QueueNamePrefix",), body, content_type="application/x-amz-json-1.0", times=times)


def test_what_aws_shows_for_a_while_is_waited_for(
    account: str,  # noqa: F811
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Intervening(account, shown_queue(times=2)) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", between.url)
        assert left(clone, limit_s=60) == []

    assert len(between.requests) == 3
    assert "what is left: waited for what AWS still showed: queue PAI-documents-dev (" in capsys.readouterr().err


def test_what_aws_shows_all_the_time_is_left(account: str, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    with Intervening(account, shown_queue()) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", between.url)
        assert left(clone) == ["queue PAI-documents-dev"]


# ---- What is found by its name ----


def test_roles_of_functions_are_left_and_people_s_own_are_passed_over(account: str, clone: Path) -> None:  # noqa: F811
    for name in ("pai-dev-worker", "pai-dev-DocumentsDeadRole-1ABCDEFGHIJKL", "pai-prod-worker"):
        role(name, FUNCTIONS_ROLE)
    role("pai-dev-github", PEOPLES_ROLE)
    assert set(left(clone)) == {"role pai-dev-DocumentsDeadRole-1ABCDEFGHIJKL", "role pai-dev-worker"}


def test_a_budget_is_left(account: str, clone: Path) -> None:  # noqa: F811
    budget("pai-dev")
    budget("pai-prod")
    assert left(clone) == ["budget pai-dev"]


@pytest.mark.parametrize(
    ("service", "answer"),
    [
        ("BUDGETS", Answer(("AccountId",), '{"__type": "AccessDeniedException"}', status=400)),
        ("IAM", Answer(("Action=ListRoles",), fault("AccessDenied"), status=403)),
    ],
)
def test_who_may_not_look_at_budgets_or_roles_may_destroy(
    account: str,  # noqa: F811
    clone: Path,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    answer: Answer,
) -> None:
    with Intervening(account, answer) as between:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", between.url)
        assert left(clone) == []
    assert between.requests


def test_regions_without_budgets_have_none(account: str, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("AWS_ENDPOINT_URL_BUDGETS", "http://127.0.0.1:9")
    assert left(clone) == []


def test_an_api_without_a_tag_is_known_by_the_stage_s_name(account: str, clone: Path) -> None:  # noqa: F811
    made = {name: boto3.client("apigateway").create_rest_api(name=name)["id"] for name in ("pai-dev", "pai", "pai-prod")}
    assert left(clone) == [f"API pai-dev ({made['pai-dev']})"]


# ---- Parameters and the deployment bucket ----


@pytest.fixture
def parameters(clone: Path) -> Iterator[Path]:
    """The file of dev's parameters, put back afterwards: a clone is copied once."""
    path = clone / "infrastructure" / "parameters" / "dev.json"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def test_a_broken_file_of_parameters_is_told_before_anything_is_deleted(pai: Pai, parameters: Path) -> None:  # noqa: F811
    parameters.write_text("{}x")
    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/pai-chatbot-dev")

    refused = pai("destroy", "--stage", "dev", "--yes")

    assert refused.returncode == 2
    assert "dev.json is not a list of the form" in refused.stderr
    assert boto3.client("logs").describe_log_groups()["logGroups"]


def test_a_deployment_bucket_stays_if_it_was_there_before_or_holds_something_else(account: str) -> None:  # noqa: F811
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="was-there")
    for name in ("was-there", "made-empty", "made-shared"):
        bucket = DeploymentBucket(ACCOUNT, name)
        bucket.ensure()
        bucket.upload("dev", b"x", ".zip")
    s3.put_object(Bucket="made-shared", Key="mine", Body=b"")

    for name in ("was-there", "made-empty", "made-shared"):
        assert DeploymentBucket(ACCOUNT, name).clear("dev") == 1

    assert {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]} == {"made-shared", "was-there"}


def test_a_deployment_bucket_in_another_region_is_refused_before_anything_is_uploaded(pai: Pai) -> None:  # noqa: F811
    there = boto3.client("s3", region_name="eu-west-1")
    there.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    refused = pai("deploy", "--stage", "dev", "--base-only", S3_BUCKET_NAME="far-away")

    assert refused.returncode == 1
    assert "far-away is in eu-west-1, and this deployment goes to us-east-1" in refused.stderr
    assert "AWS_REGION=eu-west-1" in refused.stderr
    assert there.list_objects_v2(Bucket="far-away")["KeyCount"] == 0


@pytest.mark.parametrize(
    ("region", "address"),
    [
        ("eu-west-1", "https://b.s3.eu-west-1.amazonaws.com/k"),
        ("us-gov-west-1", "https://b.s3.us-gov-west-1.amazonaws.com/k"),
        ("cn-north-1", "https://b.s3.cn-north-1.amazonaws.com.cn/k"),
        ("eusc-de-east-1", "https://b.s3.eusc-de-east-1.amazonaws.eu/k"),
    ],
)
def test_a_template_is_read_at_the_addresses_of_its_part_of_aws(account: str, region: str, address: str) -> None:  # noqa: F811
    assert DeploymentBucket(Account("1", region), "b").url("k") == address
