"""What must hold of a template that is deployed: nothing public, nothing unencrypted, no right that is wider than it need be.

Works on templates with CloudFormation's functions in their long form, after SAM's transformation: `translate` does it here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

PUBLIC = {("get", "/health"), ("get", "/openapi.json"), ("put", "/uploads/{token}")}
"""The routes that ask for no key. The last one is for one machine: it wants a token that nobody makes in the cloud."""
WITHOUT_ARN = {"bedrock:ListFoundationModels", "bedrock:ListInferenceProfiles"}
"""Actions for which IAM knows no resource but `*`:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrock.html"""
ENCRYPTED = {
    "AWS::DynamoDB::Table": ("SSESpecification", "KMSMasterKeyId"),
    "AWS::Logs::LogGroup": ("KmsKeyId",),
    "AWS::RDS::DBCluster": ("KmsKeyId",),
    "AWS::S3::Bucket": ("BucketEncryption",),
    "AWS::SNS::Topic": ("KmsMasterKeyId",),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
    "AWS::SecretsManager::Secret": ("KmsKeyId",),
}
"""Where each type of resource that keeps something names the key that it is kept under."""
DOORS = (
    "AWS::EC2::InternetGateway",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::VPCEndpoint",
    "AWS::Lambda::Url",
)
"""Types of resources that let somebody in or out, or cost something while nobody uses them."""


def translate(template: Json) -> Json:
    """Return what AWS's SAM transformation makes of a template. For developers: takes aws-sam-translator."""
    from boto3 import Session
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    text = json.dumps(template).replace('"./deployment.zip"', '{"Bucket": "deployment", "Key": "deployment.zip"}')
    translator = Translator({}, Parser(), boto_session=Session(region_name="us-east-1"))
    translated = translator.translate(json.loads(text), parameter_values={})
    translator.metrics.publish()  # to nobody; else it complains when the program ends
    return dict(translated)


def problems(template: Json) -> list[str]:
    """Return a sentence for each thing that should not be so."""
    resources: Mapping[str, Json] = template["Resources"]
    found = [f"{name} has no type: a name in wire.py is wrong." for name, entry in resources.items() if "Type" not in entry]
    for name, entry in resources.items():
        found += [f"{name}: {problem}" for problem in _of_resource(entry.get("Type", ""), entry.get("Properties", {}))]
    return found + [f"Cycle: {' → '.join(cycle)}" for cycle in cycles(resources)]


def _of_resource(kind: str, properties: Json) -> Iterator[str]:
    if kind in DOORS:
        yield f"there should be no {kind}."
    if kind in ENCRYPTED and not _at(properties, ENCRYPTED[kind]):
        yield f"names no key to be encrypted with ({'.'.join(ENCRYPTED[kind])})."
    if kind == "AWS::RDS::DBCluster" and properties.get("StorageEncrypted") is not True:
        yield "its storage is not encrypted."
    yield from _public(kind, properties)
    for statement in statements(properties):
        yield from _too_much(statement, key_policy=kind == "AWS::KMS::Key")


def _public(kind: str, properties: Json) -> Iterator[str]:
    if kind == "AWS::S3::Bucket" and set(properties.get("PublicAccessBlockConfiguration", {}).values()) != {True}:
        yield "public access is not blocked."
    if kind == "AWS::RDS::DBInstance" and properties.get("PubliclyAccessible") is not False:
        yield "is reachable from outside."
    if kind == "AWS::EC2::SecurityGroup" and properties.get("SecurityGroupIngress"):
        yield "lets somebody in."
    if kind == "AWS::EC2::Subnet" and properties.get("MapPublicIpOnLaunch"):
        yield "gives out public addresses."
    if kind == "AWS::Lambda::Permission" and (properties["Principal"] == "*" or "SourceArn" not in properties):
        yield "lets anybody call the function."
    if kind == "AWS::ApiGateway::RestApi":
        yield from open_routes(properties["Body"])


def open_routes(swagger: Json) -> Iterator[str]:
    schemes = swagger.get("securityDefinitions", {})
    asked = {name for name, scheme in schemes.items() if "x-amazon-apigateway-authorizer" in scheme}
    for path, methods in swagger["paths"].items():
        for method, operation in methods.items():
            security = {name for entry in operation.get("security", ()) for name in entry}
            if method != "options" and (method, path) not in PUBLIC and not (security and security <= asked):
                yield f"{method.upper()} {path} does not ask the authorizer."


def statements(value: Any) -> Iterator[Json]:
    """Yield every policy statement in a piece of a template."""
    if isinstance(value, dict):
        if "Effect" in value:
            yield value
        for entry in value.values():
            yield from statements(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from statements(entry)


def _too_much(statement: Json, *, key_policy: bool) -> Iterator[str]:
    if statement["Effect"] != "Allow":
        return
    name, actions = statement.get("Sid", "a statement"), _list(statement["Action"])
    if statement.get("Principal") in ("*", {"AWS": "*"}):
        yield f"{name} is for anybody."
    if stars := [action for action in actions if "*" in action]:
        yield f"{name} allows {', '.join(stars)}."
    # A key's policy is about that key, and calls it "*".
    if not key_policy and "*" in _list(statement.get("Resource", [])) and not set(actions) <= WITHOUT_ARN:
        yield f"{name} is about every resource."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name, {})
    return value


def cycles(resources: Mapping[str, Json]) -> list[list[str]]:
    """Return a way round for each resource that waits for itself, found first."""
    needs = {name: sorted(_needed(entry) & resources.keys()) for name, entry in resources.items()}
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, way: list[str]) -> None:
        if name in way:
            found.append([*way[way.index(name) :], name])
        elif name not in done:
            for other in needs[name]:
                visit(other, [*way, name])
            done.add(name)

    for name in resources:
        visit(name, [])
    return found


def _needed(value: Any) -> set[str]:
    """Return what a piece of a template refers to."""
    if isinstance(value, list):
        return set().union(*map(_needed, value))
    if not isinstance(value, dict):
        return set()
    needed = set().union(*map(_needed, value.values()))
    if isinstance(value.get("Ref"), str):
        needed.add(value["Ref"])
    if "Fn::GetAtt" in value:
        needed.add(value["Fn::GetAtt"][0] if isinstance(value["Fn::GetAtt"], list) else value["Fn::GetAtt"].partition(".")[0])
    if "Fn::Sub" in value:
        text = value["Fn::Sub"] if isinstance(value["Fn::Sub"], str) else value["Fn::Sub"][0]
        needed |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.:]+)\}", text)}
    return needed | set(_list(value.get("DependsOn", [])))
