"""`python infrastructure/wire.py STAGE [FILE]`: write the one file for `chalice package --merge-template`, to FILE or here.

It is resources.yaml with what Chalice does not know about its own functions and API: their names and logs, environment by
reference, what each may do (.chalice/policies), who is told of a worker that failed, throttling and the form of errors.
Chalice merges dictionaries key by key, and replaces lists; a name that is wrong here makes a resource without a type there,
which checks.py looks for.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESOURCES = ROOT / "infrastructure" / "resources.yaml"
POLICIES = ROOT / ".chalice" / "policies"
API_STAGE = "api"
"""What Chalice calls API Gateway's stage (`api_gateway_stage` in .chalice/config.json)."""
THROTTLE = {"ThrottlingRateLimit": 25, "ThrottlingBurstLimit": 50}
"""Requests in a second that all keys together may make, in the long run and at once."""
WORKER_RETRIES, WORKER_EVENT_AGE_S = 0, 60
"""A worker that failed has said so, and whoever asked may ask again; one that starts too late is not waited for any more."""
PARTIAL_BATCHES = ["ReportBatchItemFailures"]
Json = dict[str, Any]
NOTHING = {"Ref": "AWS::NoValue"}


# ---- The functions ----


@dataclass(frozen=True)
class Function:
    """A function as Chalice makes it: `resource` and `role` are its names in the template, `queue` is what it works on."""

    suffix: str
    resource: str
    role: str
    policy: str
    logs: str
    queue: str = ""
    recursive: bool = False
    """It sends itself what is left of a long document, which AWS would take for a loop and stop after 16 times."""


FUNCTIONS = (
    Function("", "APIHandler", "ApiHandlerRole", "chatbot", "ChatbotLogs"),
    Function("-authorizer", "Authorizer", "AuthorizerRole", "authorizer", "AuthorizerLogs"),
    Function("-worker", "Worker", "WorkerRole", "worker", "ChatbotLogs"),
    Function("-documents", "Documents", "DocumentsRole", "documents", "DocumentsLogs", "DocumentsQueue", recursive=True),
    Function("-documents_dead", "DocumentsDead", "DocumentsDeadRole", "documents_dead", "DocumentsLogs", "DeadLetters"),
)

# ---- What API Gateway answers itself ----


@dataclass(frozen=True)
class GatewayError:
    """An error on the wire. Without a `status` it keeps API Gateway's; without a `message`, its words too."""

    code: str
    message: str = ""
    status: str = ""
    headers: Mapping[str, str] | None = None


_NO_ROUTE = GatewayError("RouteNotFound", "There is no such address here. GET /openapi.json lists those there are.", "404")
_LATE = GatewayError(
    "Unavailable",
    "No answer within 29 seconds. Ask again with `Prefer: respond-async`, and follow the answer at the address that you get.",
    "503",
    {"Retry-After": "5"},
)
_AUTHORIZER = GatewayError("InternalError", "The API keys could not be checked. `pai logs` shows why.", "500")
GATEWAY_ERRORS: Mapping[str, GatewayError] = {
    "UNAUTHORIZED": GatewayError(
        "Unauthorized",
        "Send an API key, as `Authorization: Bearer <key>`; `pai keys create` makes one.",
        "401",
        {"WWW-Authenticate": "Bearer"},
    ),
    "ACCESS_DENIED": GatewayError(
        "Forbidden", "This API key is not valid: it is unknown, expired or disabled. `pai keys list` shows them.", "403"
    ),
    # What API Gateway says of an address that it does not know: it takes the request for one that wants signing.
    "MISSING_AUTHENTICATION_TOKEN": _NO_ROUTE,
    "RESOURCE_NOT_FOUND": _NO_ROUTE,
    "REQUEST_TOO_LARGE": GatewayError("TooLarge", "The request is larger than the 10 MB that API Gateway takes.", "413"),
    "THROTTLED": GatewayError("RateLimited", "Too many requests at once. Try again in a moment.", "429", {"Retry-After": "1"}),
    "INTEGRATION_TIMEOUT": _LATE,
    "AUTHORIZER_FAILURE": _AUTHORIZER,
    "AUTHORIZER_CONFIGURATION_ERROR": _AUTHORIZER,
    "DEFAULT_4XX": GatewayError("BadRequest"),
    "DEFAULT_5XX": GatewayError("InternalError", "PAI made a mistake. `pai logs` has the details beside this RequestId."),
}


def gateway_responses() -> Json:
    """Return GATEWAY_ERRORS as API Gateway's extension of Swagger has them."""
    return {name: gateway_response(error) for name, error in GATEWAY_ERRORS.items()}


def gateway_response(error: GatewayError) -> Json:
    from chalicelib.http import HEADERS_READ  # as a program of its own, `main` has to say first where that is

    # messageString comes with quotes; the others are put in as they are.
    message = json.dumps(error.message) if error.message else "$context.error.messageString"
    body = f'{{"Code": "{error.code}", "Message": {message}, "RequestId": "$context.requestId"}}'
    readable = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": ",".join(HEADERS_READ)}
    headers = {**readable, **(error.headers or {})}
    return {
        **({"statusCode": error.status} if error.status else {}),
        "responseParameters": {f"gatewayresponse.header.{name}": f"'{value}'" for name, value in headers.items()},
        "responseTemplates": {"application/json": body},
    }


ACCESS_LOG = json.dumps(
    {
        "requestId": "$context.requestId",
        "time": "$context.requestTime",
        "method": "$context.httpMethod",
        "path": "$context.resourcePath",
        "status": "$context.status",
        "bytes": "$context.responseLength",
        "latency_ms": "$context.responseLatency",
        "error": "$context.error.responseType",
    }
)
"""A line of the access log: routes and figures, never addresses, keys or content."""


# ---- The policies ----


def policy(name: str, values: Mapping[str, Any]) -> Json:
    """Return a policy of .chalice/policies with its statements for a deployment by CloudFormation.

    `values` are the outputs of resources.yaml, by name: what `${Name}` in a resource stands for. Statements called Library…
    are for documents only; those called Chalice… are for what `chalice deploy` alone does.
    """
    document = load_policy(name)
    statements = [_sub(entry, values) for entry in document["Statement"] if not entry["Sid"].startswith("Chalice")]
    return {**document, "Statement": [_if_library(entry) for entry in statements]}


def load_policy(name: str) -> Json:
    return dict(json.loads((POLICIES / f"{name}.json").read_text()))


def _if_library(statement: Json) -> Json:
    return {"Fn::If": ["Rag", statement, NOTHING]} if statement["Sid"].startswith("Library") else statement


def _sub(value: Any, values: Mapping[str, Any]) -> Any:
    """Put Fn::Sub wherever a text has a placeholder."""
    if isinstance(value, dict):
        return {key: _sub(entry, values) for key, entry in value.items()}
    if isinstance(value, list):
        return [_sub(entry, values) for entry in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    used = {name: values[name] for name in placeholders(value) if name in values}
    if not used:
        return {"Fn::Sub": value}
    [(name, whole)] = used.items() if value == f"${{{next(iter(used))}}}" else [("", None)]
    return whole if name else {"Fn::Sub": [value, used]}


def placeholders(text: str) -> list[str]:
    return re.findall(r"\$\{([\w:]+)\}", text)


# ---- The template ----


def merge_template(stage: str) -> Json:
    """Return what `chalice package --merge-template` is to merge into the template of this stage."""
    template = load_resources()
    outputs = {name: output["Value"] for name, output in template["Outputs"].items()}
    template["Parameters"]["Environment"] = {"Type": "String", "AllowedValues": [stage], "Default": stage}
    template["Parameters"]["ApiLogLevel"] = {
        "Type": "String",
        "AllowedValues": ["OFF", "ERROR", "INFO"],
        "Default": "OFF",
        "Description": "What API Gateway logs. But for OFF it needs the role of scripts/setup-apigateway-logging.sh.",
    }
    template["Conditions"]["HasApiLogs"] = {"Fn::Not": [{"Fn::Equals": [{"Ref": "ApiLogLevel"}, "OFF"]}]}
    for function in FUNCTIONS:
        template["Resources"][function.resource] = {"Properties": _function(function, stage)}
        template["Resources"][function.role] = {"Properties": _role(function, stage, outputs)}
    template["Resources"]["RestAPI"] = {"Properties": _api(stage)}
    template["Outputs"]["ApiEndpoint"] = {
        "Value": {"Fn::Sub": f"https://${{RestAPI}}.execute-api.${{AWS::Region}}.${{AWS::URLSuffix}}/{API_STAGE}"}
    }
    return template


def function_name(function: Function, stage: str) -> str:
    return f"pai-{stage}{function.suffix}"


def log_group(resource: str, stage: str) -> str:
    """Return the name of a log group of resources.yaml."""
    name = load_resources()["Resources"][resource]["Properties"]["LogGroupName"]["Fn::Sub"]
    return str(name.replace("${Environment}", stage))


def _function(function: Function, stage: str) -> Json:
    properties = {
        "FunctionName": function_name(function, stage),
        "Environment": {"Variables": {**_environment(stage), **({"PAI_PARTIAL_BATCHES": "1"} if function.queue else {})}},
        "LoggingConfig": {"LogGroup": {"Ref": function.logs}},
        "Tags": _tags(stage),
    }
    if function.resource == "Worker":
        failed = {"Type": "SQS", "Destination": {"Fn::GetAtt": ["WorkerDeadLetters", "Arn"]}}
        properties["EventInvokeConfig"] = {
            "MaximumRetryAttempts": WORKER_RETRIES,
            "MaximumEventAgeInSeconds": WORKER_EVENT_AGE_S,
            "DestinationConfig": {"OnFailure": failed},
        }
    if function.queue:
        mapping = {
            # Fn::Sub in place of Chalice's own: two functions in one place would be merged.
            "Queue": {"Fn::Sub": f"${{{function.queue}.Arn}}"},
            "FunctionResponseTypes": PARTIAL_BATCHES,
            # Polling a queue costs something. Without documents, what happens to files waits until there are some.
            "Enabled": {"Fn::If": ["Rag", True, False]},
        }
        properties["Events"] = {f"{function.resource}SqsEventSource": {"Properties": mapping}}
    if function.recursive:
        properties["RecursiveLoop"] = "Allow"
    return properties


def _environment(stage: str) -> Json:
    return {
        "PAI_TABLE": {"Ref": "ConversationsTable"},
        "PAI_KMS_KEY": {"Fn::GetAtt": ["ConversationsKey", "Arn"]},
        "PAI_KEYS_SECRET": {"Ref": "KeyRing"},
        "PAI_JOB_FUNCTION": f"pai-{stage}",
        "PAI_BUCKET": {"Ref": "Bucket"},
        "PAI_QUEUE_URL": {"Ref": "DocumentsQueue"},
        "PAI_RETRIEVER": {"Fn::If": ["Rag", "pgvector", "none"]},
        "PAI_DATABASE_CLUSTER": {"Fn::If": ["Rag", _cluster_that_answers(), ""]},
        "PAI_DATABASE_SECRET": {"Fn::If": ["Rag", {"Fn::GetAtt": ["Cluster", "MasterUserSecret.SecretArn"]}, ""]},
        "PAI_DATABASE_NAME": "pai",
    }


def _cluster_that_answers() -> Json:
    """Return the cluster's ARN once it has its instance: nobody is to ask it before. A DependsOn knows no conditions."""
    both = {"Fn::Sub": "${Cluster.DBClusterArn} ${ClusterInstance}"}
    return {"Fn::Select": [0, {"Fn::Split": [" ", both]}]}


def _role(function: Function, stage: str, outputs: Mapping[str, Any]) -> Json:
    return {
        "Policies": [{"PolicyName": function.policy, "PolicyDocument": policy(function.policy, outputs)}],
        "Tags": _tag_list(stage),
    }


def _api(stage: str) -> Json:
    access_log = {"DestinationArn": {"Fn::GetAtt": ["ApiLogs", "Arn"]}, "Format": ACCESS_LOG}
    every_method = {"ResourcePath": "/*", "HttpMethod": "*", "LoggingLevel": {"Ref": "ApiLogLevel"}, "DataTraceEnabled": False}
    return {
        "Name": f"pai-{stage}",
        # Without it SAM makes a second stage, "Stage", that nothing here applies to.
        "OpenApiVersion": "2.0",
        "EndpointConfiguration": {"Type": "REGIONAL"},
        "MethodSettings": [{**every_method, **THROTTLE}],
        "AccessLogSetting": {"Fn::If": ["HasApiLogs", access_log, NOTHING]},
        "Tags": _tags(stage),
        "DefinitionBody": {
            "info": {"title": f"pai-{stage}"},
            "x-amazon-apigateway-gateway-responses": gateway_responses(),
        },
    }


def _tags(stage: str) -> dict[str, str]:
    return {"pai:app": "pai", "pai:stage": stage}


def _tag_list(stage: str) -> list[Json]:
    return [{"Key": name, "Value": value} for name, value in _tags(stage).items()]


def load_resources() -> Json:
    """Return resources.yaml, with CloudFormation's functions in their long form."""
    from pai.operate.template import load_template  # as a program of its own, `main` has to say first where that is

    return load_template(RESOURCES)


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a piece of a template."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from texts(entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("dev", "prod"))
    parser.add_argument("file", type=Path, nargs="?")
    options = parser.parse_args()
    sys.path.append(str(ROOT))
    text = json.dumps(merge_template(options.stage), indent=2)
    if options.file:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        options.file.write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
