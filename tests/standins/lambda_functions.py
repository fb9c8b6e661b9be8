"""The functions of a stage as Lambda would run them: with the environment that they were deployed with, and real events.

What each asks of AWS is recorded, with the actions that its policy must allow for it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import handlers
from botocore.model import OperationModel
from chalice.local import LambdaContext

import app as product
from chalicelib import wiring
from tests.contract.aws_standin import Answer, Request

Json = dict[str, Any]
ACCOUNT = "us-east-1:123456789012"


def deployed_environment(function: str) -> dict[str, str]:
    """Return the variables of a function that is deployed."""
    found = boto3.client("lambda").get_function_configuration(FunctionName=function)
    return dict(found["Environment"]["Variables"])


@contextmanager
def running(function: str, **more: str) -> Iterator[None]:
    """Give this process the function's environment, with `more` of its owner's, and none of PAI's else, for the block."""
    before = {name: value for name, value in os.environ.items() if name.startswith("PAI_")}
    for name in before:
        del os.environ[name]
    given = {**deployed_environment(function), **more}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            del os.environ[name]
        os.environ.update(before)


@dataclass
class Invoked:
    """Lambda's API as the functions call it: what they invoke is kept, and runs when the test says so."""

    payloads: list[tuple[str, Json]] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        function = urlsplit(request.path).path.split("/")[3]
        self.payloads.append((function, json.loads(request.body)))
        return Answer(202)


def http_event(method: str, resource: str, body: Json | None = None, **path: str) -> Json:
    """Return the event that API Gateway gives the API's function for a request of owner `me`."""
    return {
        "resource": resource,
        "path": resource.format(**path),
        "httpMethod": method,
        "headers": {"content-type": "application/json", "host": "x.execute-api.us-east-1.amazonaws.com"},
        "multiValueHeaders": {},
        "multiValueQueryStringParameters": None,
        "pathParameters": path or None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "resourcePath": resource,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "authorizer": {"principalId": "me", "key_id": "key_1"},
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def context(function: str) -> LambdaContext:
    return LambdaContext(function, 512)


def ask(
    method: str, resource: str, body: Json | None = None, *, headers: Mapping[str, str] | None = None, **path: str
) -> Json:
    """Call the API's function as API Gateway does; return its JSON, with HTTP's status as `http`."""
    event = http_event(method, resource, body, **path)
    event["headers"] |= headers or {}
    answer = product.app(event, context("pai-dev"))
    return {"http": answer["statusCode"], **json.loads(answer["body"] or "{}")}


def forget() -> None:
    """Let the next call be the first of a new process."""
    wiring.parts.cache_clear()


# ---- What is asked of AWS ----


@dataclass(frozen=True)
class Right:
    """What a policy must allow: an action on a resource, by its ARN."""

    action: str
    resource: str


@dataclass
class Recorder:
    """The rights that the product's calls took, while one function ran after the other."""

    rights: dict[str, set[Right]] = field(default_factory=dict)
    _now: str = ""

    @contextmanager
    def during(self, function: str) -> Iterator[None]:
        self._now, before = function, self._now
        try:
            yield
        finally:
            self._now = before

    def begin(self, params: Mapping[str, Any], model: OperationModel, context: Mapping[str, Any], **_: Any) -> None:
        # The test's own clients are called otherwise. A form that is signed for a browser has no client, and takes the right.
        client = context.get("client_config")
        if self._now and (client is None or client.user_agent == "PAI"):
            self.rights.setdefault(self._now, set()).update(rights_of(model.service_model.service_name, model.name, params))


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Record what clients ask that are made in the block; botocore gives its handlers to each new session."""
    recorder = Recorder()
    entry = ("before-parameter-build", recorder.begin, handlers.REGISTER_LAST)
    handlers.BUILTIN_HANDLERS.append(entry)
    try:
        yield recorder
    finally:
        handlers.BUILTIN_HANDLERS.remove(entry)


_ACTIONS = {
    # What botocore calls a form that it signs; whoever sends it puts a file.
    ("s3", "CreateBucket"): "s3:PutObject",
    ("s3", "ListObjectVersions"): "s3:ListBucketVersions",
    ("s3", "DeleteObjects"): "s3:DeleteObjectVersion",
    ("bedrock-runtime", "ConverseStream"): "bedrock:InvokeModelWithResponseStream",
    ("bedrock-runtime", "InvokeModel"): "bedrock:InvokeModel",
    ("lambda", "Invoke"): "lambda:InvokeFunction",
}


def rights_of(service: str, operation: str, params: Mapping[str, Any]) -> Iterator[Right]:
    """Yield what IAM asks about for this call: https://docs.aws.amazon.com/service-authorization/latest/reference/."""
    action = _ACTIONS.get((service, operation), f"{service}:{operation}")
    for resource in _resources(service, operation, params):
        yield Right(action, resource)
    if service == "rds-data":
        yield Right("secretsmanager:GetSecretValue", params["secretArn"])
    if "guardrailConfig" in params:
        guardrail = params["guardrailConfig"]["guardrailIdentifier"]
        yield Right("bedrock:ApplyGuardrail", f"arn:aws:bedrock:{ACCOUNT}:guardrail/{guardrail}")
    if (service, operation) == ("s3", "GetObject"):
        # Who may not list is told 403, not 404, of what is not there.
        yield Right("s3:ListBucket", f"arn:aws:s3:::{params['Bucket']}")


def _resources(service: str, operation: str, params: Mapping[str, Any]) -> list[str]:
    match service:
        case "dynamodb":
            tables = list(params["RequestItems"]) if "RequestItems" in params else [params["TableName"]]
            index = f"/index/{params['IndexName']}" if "IndexName" in params else ""
            return [f"arn:aws:dynamodb:{ACCOUNT}:table/{table}{index}" for table in tables]
        case "s3" if operation == "DeleteObjects":
            return [f"arn:aws:s3:::{params['Bucket']}/{entry['Key']}" for entry in params["Delete"]["Objects"]]
        case "s3" if operation == "CreateBucket":
            return [f"arn:aws:s3:::{params['Bucket']}/documents/"]
        case "s3":
            return [f"arn:aws:s3:::{params['Bucket']}" + (f"/{params['Key']}" if "Key" in params else "")]
        case "sqs":
            return [f"arn:aws:sqs:{ACCOUNT}:{params['QueueUrl'].rpartition('/')[2]}"]
        case "bedrock-runtime" if params["modelId"].split(".")[0] in {"us", "global"}:
            return [f"arn:aws:bedrock:{ACCOUNT}:inference-profile/{params['modelId']}"]
        case "bedrock-runtime":
            return [f"arn:aws:bedrock:us-east-1::foundation-model/{params['modelId']}"]
        case "lambda":
            return [f"arn:aws:lambda:{ACCOUNT}:function:{params['FunctionName']}"]
    return [next((str(params[name]) for name in ("KeyId", "SecretId", "resourceArn") if name in params), "*")]


def granted(policy: Json) -> Iterator[Right]:
    """Yield each action of a policy on each resource, which may be a pattern."""
    for statement in policy["Statement"]:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        yield from (Right(action, resource) for action in statement["Action"] for resource in resources)


def covers(allowed: Right, right: Right) -> bool:
    return allowed.action == right.action and fnmatchcase(right.resource, allowed.resource)
