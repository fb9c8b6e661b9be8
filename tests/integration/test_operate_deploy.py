"""`pai deploy`, as a program calls it, in an account of its own: packaged, again, half-way, with what goes wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib import keyring
from chalicelib.platform.aws.keys import SecretKeys
from chalicelib.records import ApiKey
from infrastructure.checks import statements
from tests.integration.deploying import postgres  # noqa: F401 - fixture
from tests.integration.operating import (  # noqa: F401 - fixtures
    HAIKU,
    SONNET,
    Pai,
    account,
    address,
    bedrock,
    execution_logs,
    package,
    pai,
)
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.bedrock_models import MODELS, PROFILES, listed_model, listed_profile
from tests.standins.data_api import DataApiStandIn
from tests.standins.intervening import Answer, Intervening

OWN = "an-own-key-of-forty-four-characters-1234567="


def deployed(pai: Pai, package: Path, *more: str, **variables: str) -> str:  # noqa: F811
    """Deploy dev and return all that was said."""
    done = pai("deploy", "--stage", "dev", "--package", str(package), *more, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def ring() -> list[ApiKey]:
    return list(SecretKeys(boto3.client("secretsmanager"), "pai/dev/keys", "").load().keys)


def variables(function: str = "pai-dev") -> dict[str, str]:
    found = boto3.client("lambda").get_function_configuration(FunctionName=function)
    return dict(found["Environment"]["Variables"])


def test_an_empty_account_becomes_a_deployment_that_says_how_to_ask_it(pai: Pai, package: Path) -> None:  # noqa: F811
    done = pai("deploy", "--stage", "dev", "--package", str(package))

    assert done.returncode == 0, done.stderr
    key, endpoint, curl = done.stdout.splitlines()
    assert endpoint == f"API_ENDPOINT={address()}"
    assert curl.startswith(f'curl -X POST {address()}/chat -H "Authorization: Bearer $API_KEY"')
    assert [one.sha256 for one in ring()] == [keyring.digest(key.removeprefix("API_KEY="))]

    told = [line for line in done.stderr.splitlines() if line[0] == "✔"]
    steps = ("account", "deployment bucket", "models", "model access", "package", "upload", "stack", "API key")
    assert [line[2:].partition(":")[0] for line in told] == list(steps)
    assert all(line.endswith(" s)") for line in told)

    for function in ("pai-dev", "pai-dev-worker"):
        assert variables(function)["PAI_MODEL"] == SONNET
        assert variables(function)["PAI_MODELS"] == HAIKU
        assert f"model={HAIKU}" in variables(function)["PAI_BUDGET"]


def test_functions_may_ask_the_pinned_models_and_no_others(pai: Pai, package: Path) -> None:  # noqa: F811
    deployed(pai, package)
    before = models_allowed()
    deployed(pai, package, "--model", "nova-lite")

    assert before >= {SONNET, SONNET.removeprefix("us."), HAIKU, HAIKU.removeprefix("us.")}
    assert {"us.amazon.nova-2-lite-v1:0", "amazon.nova-2-lite-v1:0"} <= models_allowed()
    assert not {name for name in before | models_allowed() if "*" in name or "opus" in name}
    assert SONNET not in models_allowed()


def models_allowed() -> set[str]:
    """Return the models and profiles that the functions may ask for words."""
    asking = [one for one in statements(deployed_resources()) if "bedrock:InvokeModelWithResponseStream" in one["Action"]]
    return {resource["Fn::Sub"].split("/", 1)[1] for one in asking for resource in one["Resource"]}


def test_deploying_again_changes_nothing_and_shows_no_key(pai: Pai, package: Path) -> None:  # noqa: F811
    deployed(pai, package)
    again = deployed(pai, package)

    assert "stack: no change" in again
    assert "API_KEY=" not in again
    assert len(ring()) == 1


def test_an_own_key_works_and_is_never_shown(pai: Pai, package: Path) -> None:  # noqa: F811
    said = deployed(pai, package, API_KEY=OWN) + deployed(pai, package, API_KEY=OWN)

    assert OWN not in said
    assert [key.sha256 for key in ring()] == [keyring.digest(OWN)]


def test_a_second_own_key_joins_the_first_and_says_how_to_end_it(pai: Pai, package: Path) -> None:  # noqa: F811
    deployed(pai, package, API_KEY=OWN)
    [first] = ring()

    said = deployed(pai, package, API_KEY=f"another-{OWN}")

    assert len(ring()) == 2
    assert f"pai keys disable {first.id} --stage dev" in said


def test_an_own_key_that_can_be_guessed_is_refused_without_being_repeated(pai: Pai, package: Path) -> None:  # noqa: F811
    done = pai("deploy", "--stage", "dev", "--package", str(package), API_KEY="hunter2")

    assert done.returncode != 0
    assert "20 to 512" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_a_newer_model_is_told_with_its_price_and_taken_only_by_command(
    pai: Pai,  # noqa: F811
    package: Path,  # noqa: F811
    bedrock: BedrockStandIn,  # noqa: F811
) -> None:
    deployed(pai, package)
    bedrock.models = [*MODELS, listed_model("anthropic.claude-sonnet-5", "Claude Sonnet 5", launched="2026-09-01")]
    bedrock.profiles = [*PROFILES, listed_profile("us.anthropic.claude-sonnet-5", "us-east-1", "us-east-2", "us-west-2")]

    kept = deployed(pai, package)
    assert variables()["PAI_MODEL"] == SONNET
    assert "us.anthropic.claude-sonnet-5 ($2.2 asked, $11 answered" in kept
    assert f"{SONNET} ($3.3 asked, $16.5 answered" in kept

    changed = deployed(pai, package, "--model", "claude-sonnet")
    assert variables()["PAI_MODEL"] == "us.anthropic.claude-sonnet-5"
    assert f"The model changes from {SONNET} ($3.3" in changed


def test_a_model_that_may_not_be_used_yet_is_told_and_the_rest_goes_on(
    pai: Pai,  # noqa: F811
    package: Path,  # noqa: F811
    bedrock: BedrockStandIn,  # noqa: F811
) -> None:
    bedrock.script(Behaviour("haiku", error="AccessDeniedException", message="aws-marketplace:Subscribe"))
    said = deployed(pai, package)

    assert "✔ model access: 1 of 2 answer" in said
    assert f"{HAIKU} does not answer you yet" in said
    assert "pai doctor --stage dev" in said
    assert {asked["modelId"] for asked in bedrock.asked("ConverseStream")} == {SONNET, HAIKU}


def test_a_region_without_budgets_gets_all_the_rest(pai: Pai, package: Path, account: str) -> None:  # noqa: F811
    unknown = "<Error><Type>Sender</Type><Code>TypeNotFoundException</Code><Message>There is none.</Message></Error>"
    refusal = Answer(("Action=DescribeType",), f"<ErrorResponse>{unknown}</ErrorResponse>", status=404)
    with Intervening(account, refusal) as between:
        said = deployed(pai, package, AWS_ENDPOINT_URL_CLOUDFORMATION=between.url)

    assert "Budgets can't be made" in said
    assert "MonthlyBudget" not in deployed_resources()
    deployed(pai, package)
    assert "MonthlyBudget" in deployed_resources()


def deployed_resources() -> dict[str, Any]:
    """Return the resources of the template that was last deployed."""
    body = boto3.client("cloudformation").get_template(StackName="pai-dev")["TemplateBody"]
    return dict((json.loads(body) if isinstance(body, str) else body)["Resources"])


def test_the_region_is_the_one_that_aws_s_own_terminal_takes(pai: Pai, account: str) -> None:  # noqa: F811
    said = pai("deploy", "--stage", "dev", "--base-only", AWS_REGION="eu-west-1").stderr
    assert "✔ account: 123456789012 in eu-west-1" in said


def test_a_chosen_model_stays_chosen(pai: Pai, package: Path) -> None:  # noqa: F811
    deployed(pai, package, "--model", "nova-lite")
    deployed(pai, package)
    assert variables()["PAI_MODEL"] == "us.amazon.nova-2-lite-v1:0"


def test_bedrock_out_of_reach_stops_the_first_deployment_but_no_later_one(pai: Pai, package: Path) -> None:  # noqa: F811
    gone = {"AWS_ENDPOINT_URL_BEDROCK": "http://127.0.0.1:9"}
    first = pai("deploy", "--stage", "dev", "--package", str(package), **gone)
    assert first.returncode == 1
    assert "Traceback" not in first.stderr

    deployed(pai, package)
    deployed(pai, package, **gone)
    assert variables()["PAI_MODEL"] == SONNET


def test_the_named_bucket_is_made_and_closed_to_the_public(pai: Pai, package: Path) -> None:  # noqa: F811
    deployed(pai, package, S3_BUCKET_NAME="my-own-bucket")

    s3 = boto3.client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="my-own-bucket")["Contents"]]
    assert sorted(key.rpartition(".")[2] for key in keys) == ["json", "zip"]
    assert all(key.startswith("pai/dev/") for key in keys)
    assert all(s3.get_public_access_block(Bucket="my-own-bucket")["PublicAccessBlockConfiguration"].values())


def test_somebody_elses_bucket_is_said_in_the_words_people_look_for(pai: Pai, account: str) -> None:  # noqa: F811
    with Intervening(account, Answer(("HEAD /taken",), status=403)) as between:
        done = pai("deploy", "--stage", "dev", "--base-only", AWS_ENDPOINT_URL_S3=between.url, S3_BUCKET_NAME="taken")

    assert done.returncode == 1
    assert "S3 bucket not found" in done.stderr
    assert "infrastructure/parameters/" in done.stderr


def test_documents_bring_the_schema_and_stay_on(pai: Pai, package: Path, data_api: DataApiStandIn) -> None:  # noqa: F811
    assert "database schema: up to date" in deployed(pai, package, "--rag")
    assert variables()["PAI_RETRIEVER"] == "pgvector"
    assert "database schema: up to date" in deployed(pai, package)

    off = pai("deploy", "--stage", "dev", "--package", str(package), "--no-rag")
    assert off.returncode == 2
    assert "nobody to ask" in off.stderr


def test_the_missing_logging_role_is_told_and_set_by_the_script_s_program(pai: Pai, package: Path) -> None:  # noqa: F811
    from pai.operate import gateway

    assert "CloudWatch Logs role ARN must be set" in deployed(pai, package)
    arn = gateway.set_logging_role()

    assert gateway.set_logging_role() == arn
    assert boto3.client("apigateway").get_account()["cloudwatchRoleArn"] == arn
    assert "CloudWatch Logs role" not in deployed(pai, package)
    [group] = boto3.client("logs").describe_log_groups(logGroupNamePrefix=execution_logs())["logGroups"]
    assert group["retentionInDays"] == 30


def test_the_log_level_is_set_on_the_stage(account: str) -> None:  # noqa: F811
    from pai.operate import gateway

    api = boto3.client("apigateway")  # moto's CloudFormation makes an API no stage
    api_id = api.create_rest_api(name="pai")["id"]
    root = api.get_resources(restApiId=api_id)["items"][0]["id"]
    api.put_method(restApiId=api_id, resourceId=root, httpMethod="GET", authorizationType="NONE")
    api.put_integration(restApiId=api_id, resourceId=root, httpMethod="GET", type="MOCK")
    api.create_deployment(restApiId=api_id, stageName="api")
    gateway.set_log_level(api_id, "api", "INFO")

    assert api.get_stage(restApiId=api_id, stageName="api")["methodSettings"]["*/*"]["loggingLevel"] == "INFO"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no AWS credentials"),
        ({"AWS_DEFAULT_REGION": ""}, "AWS_REGION"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Check the network"),
    ],
)
def test_what_is_missing_to_begin_with_is_named(pai: Pai, variables: dict[str, str], words: str) -> None:  # noqa: F811
    done = pai("deploy", "--stage", "dev", "--base-only", **variables)

    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_package_says_how_to_make_one(pai: Pai, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "empty").mkdir()
    done = pai("deploy", "--stage", "dev", "--package", str(tmp_path / "empty"))
    assert done.returncode == 1
    assert "make package STAGE=dev" in done.stderr


def test_a_package_of_another_kind_is_not_deployed(pai: Pai, package: Path, tmp_path: Path) -> None:  # noqa: F811
    shutil.copy(package / "deployment.zip", tmp_path)
    (tmp_path / "template.json").write_text('{"Resources": {}}')
    done = pai("deploy", "--stage", "dev", "--package", str(tmp_path))
    assert done.returncode == 1
    assert "no model could be pinned" in done.stderr
