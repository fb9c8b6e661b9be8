"""A stage that is deployed: looked at, followed, and taken away again."""

import json
import re
import time
from pathlib import Path

import boto3
import pytest

from chalicelib.metering.ledger import Amount, Ledger, Line, Reservation, date_of
from chalicelib.records import Usage
from chalicelib.settings import Settings
from chalicelib.store import dynamodb
from tests.integration.operating import (  # noqa: F401 - fixtures
    SONNET,
    Pai,
    account,
    address,
    api_of,
    bedrock,
    execution_logs,
    package,
    pai,
    write_package,
)
from tests.standins.intervening import Answer, Intervening


@pytest.fixture
def dev(pai: Pai, package: Path) -> str:  # noqa: F811
    """Stage dev, deployed, with its key; returns the key."""
    done = pai("deploy", "--stage", "dev", "--package", str(package))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0].removeprefix("API_KEY=")


def test_status_tells_of_everything_that_runs(pai: Pai, dev: str) -> None:  # noqa: F811
    seen = pai("status", "--stage", "dev", "--json")
    lines = {line["name"]: line for line in json.loads(seen.stdout)}

    assert seen.returncode == 0
    assert "CloudWatch Logs role ARN must be set" in lines["API logs"]["said"]
    assert lines["stack"]["said"] == "CREATE_COMPLETE"
    assert lines["endpoint"]["said"] == address()
    assert lines["model"]["said"] == SONNET
    assert lines["function pai-dev-worker"]["said"].startswith("Active, 512 MB, 360 s")
    assert lines["queue PAI-documents-dev"]["said"] == "0 messages"
    assert lines["documents"]["said"] == "off"


def test_status_fails_where_something_is_wrong_and_says_what_to_do(pai: Pai, dev: str) -> None:  # noqa: F811
    sqs = boto3.client("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="PAI-documents-dead-dev")["QueueUrl"], MessageBody="{}")
    boto3.client("cloudwatch").put_metric_alarm(
        AlarmName="pai-dev-test", MetricName="x", Namespace="y", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    boto3.client("cloudwatch").set_alarm_state(AlarmName="pai-dev-test", StateValue="ALARM", StateReason="test")
    boto3.client("dynamodb").update_table(
        TableName="PAI-Conversations-dev",
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    )

    seen = pai("status", "--stage", "dev")

    assert seen.returncode == 1
    assert "✘ queue PAI-documents-dead-dev: 1 messages" in seen.stdout
    assert "✘ alarm pai-dev-test: ALARM" in seen.stdout
    assert "✘ table: DynamoDB throttling" in seen.stdout
    assert "--billing-mode PAY_PER_REQUEST" in seen.stdout


def test_status_of_what_is_not_deployed_says_how_to_deploy_it(pai: Pai) -> None:  # noqa: F811
    seen = pai("status", "--stage", "prod")
    assert seen.returncode == 1
    assert "pai deploy --stage prod" in seen.stdout


def test_doctor_uses_each_part_of_what_is_deployed(pai: Pai, dev: str) -> None:  # noqa: F811
    seen = pai("doctor", "--stage", "dev", "--json")
    findings = {finding["name"]: finding for finding in json.loads(seen.stdout)}

    assert seen.returncode == 0, seen.stdout
    assert SONNET in findings["model access"]["detail"]
    assert {"store", "cipher"} <= findings.keys()


def test_open_gives_a_program_the_address_alone(pai: Pai, dev: str) -> None:  # noqa: F811
    assert pai("open", "--stage", "dev").stdout == f"{address()}\n"
    missing = pai("open", "--stage", "prod")
    assert (missing.returncode, missing.stdout) == (1, "")


def write_log(group: str, *messages: str, ago_s: float = 1) -> None:
    logs = boto3.client("logs")
    logs.create_log_stream(logGroupName=group, logStreamName=f"s{time.time_ns()}")
    stream = logs.describe_log_streams(logGroupName=group)["logStreams"][-1]["logStreamName"]
    events = [{"timestamp": int((time.time() - ago_s) * 1000), "message": message} for message in messages]
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def test_logs_come_from_all_groups_in_the_order_of_time(pai: Pai, dev: str) -> None:  # noqa: F811
    write_log("/aws/lambda/pai-chatbot-dev", "second", ago_s=20)
    write_log("/aws/lambda/pai-authorizer-dev", "first", ago_s=40)
    write_log("/aws/apigateway/pai-dev", "third", ago_s=10)

    lines = pai("logs", "--stage", "dev").stdout.splitlines()

    assert [line.split()[-1] for line in lines] == ["first", "second", "third"]
    assert [line.split()[1] for line in lines] == ["pai-authorizer-dev", "pai-chatbot-dev", "pai-dev"]


def test_a_line_of_a_known_trouble_is_followed_by_what_to_do(pai: Pai, dev: str) -> None:  # noqa: F811
    troubles = {
        "2026-11-27T10:00:00Z 1234 Task timed out after 29.03 seconds": "Lambda timeout errors",
        '{"message": "failed", "Code": "ModelThrottled"}': "Rate limit exceeded",
        "ProvisionedThroughputExceededException: Throughput exceeds the current capacity": "DynamoDB throttling",
        '{"status": 401, "Code": "Unauthorized"}': "Unauthorized",
    }
    for ago_s, line in zip(range(50, 10, -10), troubles, strict=True):
        write_log("/aws/lambda/pai-chatbot-dev", line, line, ago_s=ago_s)

    assert re.findall(r"→ ([^:]+):", pai("logs", "--stage", "dev").stderr) == list(troubles.values())


def test_following_shows_each_line_once_and_goes_on(account: str) -> None:  # noqa: F811
    from pai.operate import watch

    boto3.client("logs").create_log_group(logGroupName="/aws/lambda/pai-chatbot-dev")
    write_log("/aws/lambda/pai-chatbot-dev", "one")
    lines = watch.follow(["/aws/lambda/pai-chatbot-dev", "/gone"], int((time.time() - 60) * 1000), poll_s=0.01)

    assert next(lines).text == "one"
    write_log("/aws/lambda/pai-chatbot-dev", "two")
    assert next(lines).text == "two"


def test_logs_of_what_is_not_deployed_and_a_span_that_is_none(pai: Pai) -> None:  # noqa: F811
    assert "pai deploy --stage prod" in pai("logs", "--stage", "prod").stderr
    assert pai("logs", "--stage", "dev", "--since", "soon").returncode == 2


def test_disabling_a_key_has_the_gateway_forget_what_it_decided(pai: Pai, dev: str, account: str) -> None:  # noqa: F811
    flush = Answer((f"DELETE /restapis/{api_of()}/stages/api/cache/authorizers",), status=202)
    with Intervening(account, flush) as between:
        said = pai("keys", "disable", "first", "--stage", "dev", AWS_ENDPOINT_URL_API_GATEWAY=between.url)

    assert said.returncode == 0, said.stderr
    assert [request.split("\n")[0] for request in between.requests] == [flush.having[0]]
    assert "has forgotten" in said.stderr
    assert "120 seconds" in said.stderr


def test_a_gateway_that_does_not_forget_does_not_keep_a_key_enabled(pai: Pai, dev: str, account: str) -> None:  # noqa: F811
    with Intervening(account, Answer(("DELETE /restapis",), status=403)) as between:
        said = pai("keys", "disable", "first", "--stage", "dev", AWS_ENDPOINT_URL_API_GATEWAY=between.url)

    assert said.returncode == 0, said.stderr
    assert "is disabled" in said.stdout
    assert "has forgotten" not in said.stderr
    assert "120 seconds" in said.stderr


def test_cost_tells_of_idleness_and_of_what_this_month_has_counted(pai: Pai, dev: str) -> None:  # noqa: F811
    store = dynamodb.build(Settings(table="PAI-Conversations-dev"))
    today = date_of(time.time())
    counted = Line("me", "k_1", SONNET, Usage(1000, 200), 3, 2_500_000_000)
    unknown = Line("me", "k_1", "unheard-of", Usage(10, 2), 1, None)
    for line in (counted, unknown):
        Ledger(store, time.time).settle(Reservation("", today, "k_1"), Amount(0, 0), line)

    told = json.loads(pai("cost", "--stage", "dev", "--json").stdout)
    shown = pai("cost", "--stage", "dev")

    assert told["idle"]["off"]["dollars"] < told["idle"]["on"]["dollars"] < 10
    assert (told["month"]["answers"], told["month"]["model"]) == (4, 2.5)
    assert told["month"]["aws"] == pytest.approx(4 * told["month"]["aws_per_answer"])
    assert told["month"]["unpriced"] == ["unheard-of"]
    assert "KMS key\t$1.00\t1 keys × $1" in shown.stdout
    assert "model\t$2.5000\t4 answers, as counted" in shown.stdout
    assert "unheard-of" in shown.stderr


def test_cost_of_what_is_not_deployed_says_what_is_missing(pai: Pai) -> None:  # noqa: F811
    seen = pai("cost", "--stage", "prod")
    assert seen.returncode == 1
    assert "Traceback" not in seen.stderr


def put_versions(bucket: str) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})  # moto leaves it out of a stack
    for version in range(3):
        s3.put_object(Bucket=bucket, Key="documents/me/1", Body=str(version).encode())
    s3.delete_object(Bucket=bucket, Key="documents/me/1")


def test_destroying_leaves_nothing_but_the_key_and_its_date_and_twice_is_fine(pai: Pai, dev: str) -> None:  # noqa: F811
    put_versions("pai-dev-documents-123456789012")
    for name in ("/aws/lambda/pai-dev-worker", execution_logs()):
        boto3.client("logs").create_log_group(logGroupName=name)
    unasked = pai("destroy", "--stage", "dev")
    assert (unasked.returncode, "--yes" in unasked.stderr) == (2, True)
    assert boto3.client("dynamodb").list_tables()["TableNames"] == ["PAI-Conversations-dev"]

    gone = pai("destroy", "--stage", "dev", "--yes")

    assert gone.returncode == 0, gone.stderr + gone.stdout
    assert re.fullmatch(r"key arn:aws:kms:\S+, to be deleted \d{4}-\d\d-\d\d\n", gone.stdout)
    assert "documents: 4 versions deleted" in gone.stderr
    assert not boto3.client("s3").list_buckets()["Buckets"]
    assert not boto3.client("dynamodb").list_tables()["TableNames"]
    assert not boto3.client("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"]
    assert not boto3.client("logs").describe_log_groups()["logGroups"]
    assert not boto3.client("lambda").list_functions()["Functions"]
    assert not boto3.client("sqs").list_queues().get("QueueUrls")
    again = pai("destroy", "--stage", "dev", "--yes")
    assert (again.returncode, again.stdout) == (0, gone.stdout)


def test_a_destruction_killed_after_the_stack_is_ended_by_the_next(pai: Pai, dev: str) -> None:  # noqa: F811
    put_versions("pai-dev-documents-123456789012")
    boto3.client("cloudformation").delete_stack(StackName="pai-dev")

    gone = pai("destroy", "--stage", "dev", "--yes")

    assert gone.returncode == 0, gone.stderr + gone.stdout
    assert gone.stdout.startswith("key ")
    assert not boto3.client("s3").list_buckets()["Buckets"]


def test_a_stage_is_not_destroyed_from_another_region(pai: Pai, dev: str) -> None:  # noqa: F811
    s3 = boto3.client("s3")
    s3.put_object(Bucket="pai-dev-documents-123456789012", Key="documents/me/1", Body=b"kept")

    refused = pai("destroy", "--stage", "dev", "--yes", AWS_REGION="eu-west-1")

    assert refused.returncode == 1
    assert "Set AWS_REGION=us-east-1" in refused.stderr
    assert s3.get_object(Bucket="pai-dev-documents-123456789012", Key="documents/me/1")["Body"].read() == b"kept"


def test_destroying_one_stage_leaves_the_other(pai: Pai, dev: str, tmp_path: Path) -> None:  # noqa: F811
    assert pai("deploy", "--stage", "prod", "--package", str(write_package(tmp_path / "prod", "prod"))).returncode == 0

    gone = pai("destroy", "--stage", "dev", "--yes")

    assert gone.returncode == 0, gone.stderr + gone.stdout
    assert "prod" not in gone.stdout
    assert json.loads(pai("status", "--stage", "prod", "--json").stdout)[0]["said"] == "CREATE_COMPLETE"
    kept = boto3.client("s3").list_objects_v2(Bucket="pai-deployment-123456789012-us-east-1")["Contents"]
    assert all(entry["Key"].startswith("pai/prod/") for entry in kept)


def test_what_stays_is_listed_and_fails_the_command(pai: Pai, dev: str) -> None:  # noqa: F811
    boto3.client("sns").create_topic(Name="pai-dev-mine")

    gone = pai("destroy", "--stage", "dev", "--yes", "--wait", "0")

    assert gone.returncode == 1
    assert "topic arn:aws:sns:us-east-1:123456789012:pai-dev-mine" in gone.stdout
