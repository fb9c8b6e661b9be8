"""The template that is deployed: what AWS makes of it is whole, closed and encrypted, and the checks that say so see it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cfnlint.api import lint
from chalice.deploy.swagger import TemplatedSwaggerGenerator

import app as product
from chalicelib.http import HEADERS_READ
from chalicelib.ingest.trigger import SPARE_S
from chalicelib.platform import MOST_RECEIVES
from chalicelib.settings import Settings
from infrastructure import checks, wire
from tests.standins.processes import ROOT
from tests.standins.templates import sam_template

Json = dict[str, Any]


@pytest.fixture(scope="module", params=["dev", "prod"])
def sam(request: pytest.FixtureRequest) -> Json:
    return sam_template(request.param)


@pytest.fixture(scope="module")
def translated(sam: Json) -> Json:
    return checks.translate(sam)


@pytest.fixture
def template(translated: Json) -> Json:
    """A copy that a test may break."""
    return dict(json.loads(json.dumps(translated)))


def found(template: Json, name: str) -> Json:
    return dict(template["Resources"][name]["Properties"])


def test_it_is_clean_as_it_is_and_as_aws_translates_it(sam: Json, translated: Json) -> None:
    assert [str(match) for match in lint(json.dumps(sam))] == []
    assert [str(match) for match in lint(json.dumps(translated))] == []


def test_the_base_is_a_valid_stack_by_itself() -> None:
    assert [str(match) for match in lint(wire.RESOURCES.read_text())] == []
    assert checks.problems(wire.load_resources()) == []


def test_nothing_in_it_is_public_unencrypted_too_wide_or_waits_for_itself(translated: Json) -> None:
    assert checks.problems(translated) == []


def break_cycle(template: Json) -> None:
    template["Resources"]["DocumentsQueuePolicy"]["DependsOn"] = "Bucket"


def drop(name: str, *path: str) -> Callable[[Json], None]:
    def change(template: Json) -> None:
        place = template["Resources"][name]["Properties"]
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]

    return change


def put(name: str, key: str, value: Any) -> Callable[[Json], None]:
    return lambda template: template["Resources"][name]["Properties"].update({key: value})


def allow(role: str, action: str, resource: str) -> Callable[[Json], None]:
    statement = {"Sid": "Added", "Effect": "Allow", "Action": [action], "Resource": resource}
    policy = {"PolicyName": "added", "PolicyDocument": {"Statement": [{"Fn::If": ["Rag", statement, wire.NOTHING]}]}}
    return lambda template: template["Resources"][role]["Properties"]["Policies"].append(policy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (break_cycle, "Cycle: "),
        (lambda template: template["Resources"].update({"Wrong": {"Properties": {}}}), "Wrong has no type"),
        (drop("ConversationsTable", "SSESpecification"), "ConversationsTable: names no key"),
        (drop("DocumentsQueue", "KmsMasterKeyId"), "DocumentsQueue: names no key"),
        (drop("Topic", "KmsMasterKeyId"), "Topic: names no key"),
        (drop("ChatbotLogs", "KmsKeyId"), "ChatbotLogs: names no key"),
        (put("Cluster", "StorageEncrypted", False), "Cluster: its storage is not encrypted"),
        (drop("Bucket", "PublicAccessBlockConfiguration"), "Bucket: public access is not blocked"),
        (put("ClusterInstance", "PubliclyAccessible", True), "ClusterInstance: is reachable"),
        (put("DatabaseSecurityGroup", "SecurityGroupIngress", [{"CidrIp": "0.0.0.0/0"}]), "lets somebody in"),
        (put("SubnetA", "MapPublicIpOnLaunch", True), "SubnetA: gives out public addresses"),
        (drop("AuthorizerInvokePermission", "SourceArn"), "lets anybody call"),
        (lambda template: template["Resources"].update({"Nat": {"Type": "AWS::EC2::NatGateway"}}), "Nat: there should be no"),
        (allow("WorkerRole", "s3:*", "arn:aws:s3:::x"), "WorkerRole: Added allows s3:*"),
        (allow("WorkerRole", "s3:GetObject", "*"), "WorkerRole: Added is about every resource"),
        (
            put(
                "BucketPolicy",
                "PolicyDocument",
                {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}]},
            ),
            "is for anybody",
        ),
        (drop("RestAPI", "Body", "paths", "/chat", "post", "security"), "POST /chat does not ask the authorizer"),
        (put("RestAPI", "Body", {"paths": {"/a": {"get": {"security": [{"api_key": []}]}}}}), "GET /a does not ask"),
    ],
)
def test_what_opens_it_is_seen(template: Json, change: Callable[[Json], None], says: str) -> None:
    change(template)

    assert any(says in problem for problem in checks.problems(template)), checks.problems(template)


def test_every_function_of_the_app_has_its_policy_its_logs_and_its_name(translated: Json, sam: Json) -> None:
    stage = sam["Parameters"]["Environment"]["Default"]
    functions = {name for name, entry in translated["Resources"].items() if entry["Type"] == "AWS::Lambda::Function"}

    assert functions == {function.resource for function in wire.FUNCTIONS}
    for function in wire.FUNCTIONS:
        properties = found(translated, function.resource)
        [policy] = found(translated, function.role)["Policies"]
        assert properties["FunctionName"] == f"pai-{stage}{function.suffix}"
        assert properties["LoggingConfig"] == {"LogGroup": {"Ref": function.logs}}
        assert properties["Architectures"] == ["arm64"]
        assert policy["PolicyName"] == function.policy


def test_only_the_authorizer_decides_who_may_ask(translated: Json) -> None:
    schemes = found(translated, "RestAPI")["Body"]["securityDefinitions"]

    [(_, scheme)] = schemes.items()
    assert (scheme["name"], scheme["x-amazon-apigateway-authorizer"]["type"]) == ("Authorization", "token")
    assert "${Authorizer.Arn}" in scheme["x-amazon-apigateway-authorizer"]["authorizerUri"]["Fn::Sub"]


def test_what_chalice_deploys_by_itself_asks_the_authorizer_too() -> None:
    swagger = TemplatedSwaggerGenerator().generate_swagger(product.app)

    assert list(checks.open_routes(swagger)) == []


def test_api_gateway_has_one_stage_that_is_throttled(translated: Json) -> None:
    stages = [entry["Properties"] for entry in translated["Resources"].values() if entry["Type"] == "AWS::ApiGateway::Stage"]
    deployments = [entry for entry in translated["Resources"].values() if entry["Type"] == "AWS::ApiGateway::Deployment"]

    [stage] = stages
    assert (
        stage["StageName"]
        == wire.API_STAGE
        == json.loads((ROOT / ".chalice" / "config.json").read_text())["api_gateway_stage"]
    )
    assert wire.THROTTLE.items() <= stage["MethodSettings"][0].items()
    assert all("StageName" not in deployment["Properties"] for deployment in deployments)


def test_errors_of_api_gateway_have_the_products_form(translated: Json) -> None:
    responses = found(translated, "RestAPI")["Body"]["x-amazon-apigateway-gateway-responses"]

    for name, response in responses.items():
        body = response["responseTemplates"]["application/json"].replace("$context.error.messageString", '"words"')
        exposed = response["responseParameters"]["gatewayresponse.header.Access-Control-Expose-Headers"].strip("'")
        assert list(json.loads(body)) == ["Code", "Message", "RequestId"], name
        assert exposed.split(",") == HEADERS_READ


def test_the_queue_waits_longer_than_its_function_and_gives_up_when_the_product_thinks_it_does(translated: Json) -> None:
    timeout, queue = found(translated, "Documents")["Timeout"], found(translated, "DocumentsQueue")

    assert timeout >= Settings().read_s + SPARE_S
    assert queue["VisibilityTimeout"] == 6 * timeout
    assert queue["RedrivePolicy"]["maxReceiveCount"] == MOST_RECEIVES
    assert found(translated, "DeadLetters")["VisibilityTimeout"] >= found(translated, "DocumentsDead")["Timeout"]
    assert found(translated, "Worker")["Timeout"] > Settings().worker_deadline_s


def test_a_document_of_many_ranges_is_no_loop(translated: Json) -> None:
    assert found(translated, "Documents")["RecursiveLoop"] == "Allow"


def test_what_holds_data_is_kept_when_the_stack_goes_but_not_when_it_never_came(translated: Json) -> None:
    kept = {name for name, entry in translated["Resources"].items() if entry.get("DeletionPolicy") == "RetainExceptOnCreate"}

    assert kept == {"Bucket", "ConversationsKey", "ConversationsTable", "KeyRing"}


def test_tags_name_the_stage_on_all_that_takes_them(translated: Json, sam: Json) -> None:
    stage = sam["Parameters"]["Environment"]["Default"]
    tagged = [entry["Properties"]["Tags"] for entry in translated["Resources"].values() if "Tags" in entry["Properties"]]

    assert len(tagged) > 30
    for tags in tagged:
        values = {tag["Key"]: tag["Value"] for tag in tags}
        assert values["pai:app"] == "pai"
        assert values["pai:stage"] in (stage, {"Ref": "Environment"})


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_parameters_file_names_parameters_of_the_template_and_no_key(stage: str) -> None:
    entries = json.loads((ROOT / "infrastructure" / "parameters" / f"{stage}.json").read_text())
    values = {entry["ParameterKey"]: entry["ParameterValue"] for entry in entries}

    assert values["Environment"] == stage
    assert values.keys() - {"ApiKeyValue", "S3BucketName"} == wire.load_resources()["Parameters"].keys()
    assert values["ApiKeyValue"].startswith("your-")
