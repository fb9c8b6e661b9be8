"""moto's server with what it lacks for PAI's stack, both ways to deploy it: `serve()`.

Of CloudFormation: moto runs a change set without making the stack's outputs, and knows no RetainExceptOnCreate. Here a change
set does what CreateStack and UpdateStack do, what is retained but on creation is retained, one name has one stack, and a
key's policy and tags are what KMS takes. Then SAM's transformation; the types AWS::SecretsManager::Secret, AWS::RDS::DBCluster
(whose secret is that of the Data API's stand-in) with its AWS::RDS::DBInstance, and AWS::Lambda::EventInvokeConfig.

An API's body is Swagger 2 without a description, where moto takes OpenAPI 3 alone, though it reads paths and methods of both
alike, and it outlives its stack. PutFunctionRecursionConfig is answered and forgotten. Of AWS's own IAM policies, all of which
take a second to load, there is the one that PAI attaches. Templates are read by the YAML reader in C: moto's takes most of the
time that a deployment does.
"""

import json
from functools import cache
from typing import Any

import yaml
from moto.apigateway.models import APIGatewayBackend, RestAPI, apigateway_backends
from moto.awslambda import urls
from moto.awslambda.models import lambda_backends
from moto.awslambda.responses import LambdaResponse
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.parsing import ResourceMap
from moto.cloudformation.utils import yaml_tag_constructor
from moto.core.common_models import CloudFormationModel
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend
from moto.kms.models import Key, KmsBackend
from moto.rds.models import rds_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.server import main

from infrastructure import checks
from pai.operate.gateway import POLICY
from tests.standins.data_api import SECRET

_load, _update, _delete, _create_key = ResourceMap.load, ResourceMap.update, ResourceMap.delete, KmsBackend.create_key
_put_rest_api = APIGatewayBackend.put_rest_api
_import_rest_api = APIGatewayBackend.import_rest_api
_create_api = RestAPI.create_from_cloudformation_json.__func__  # type: ignore[attr-defined]


class Kept:
    """A resource by its name; `attributes` are what Fn::GetAtt gives of it."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.attributes[attribute_name]


class Secret(Kept, CloudFormationModel):
    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SecretsManager::Secret"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **__: Any
    ) -> "Secret":
        backend, properties = secretsmanager_backends[account_id][region_name], cloudformation_json["Properties"]
        secret, _ = backend._add_secret(resource_name, kms_key_id=properties["KmsKeyId"], tags=properties["Tags"])
        return cls(secret.arn, {})

    def delete(self, account_id: str, region_name: str) -> None:
        secretsmanager_backends[account_id][region_name].delete_secret(self.name, None, True)


class DBCluster(Kept, CloudFormationModel):
    @staticmethod
    def cloudformation_name_type() -> str:
        return "DBClusterIdentifier"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::RDS::DBCluster"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> "DBCluster":
        properties = cloudformation_json["Properties"]
        cluster = rds_backends[account_id][region_name].create_db_cluster(
            {
                "db_cluster_identifier": resource_name,
                "engine": properties["Engine"],
                "master_username": properties["MasterUsername"],
                "manage_master_user_password": True,
                "tags": properties["Tags"],
            }
        )
        # moto reads `!GetAtt Cluster.MasterUserSecret.SecretArn` as far as the second dot.
        secrets = dict.fromkeys(("MasterUserSecret", "MasterUserSecret.SecretArn"), SECRET)
        return cls(resource_name, {"DBClusterArn": cluster.db_cluster_arn, **secrets})

    def delete(self, account_id: str, region_name: str) -> None:
        rds_backends[account_id][region_name].delete_db_cluster(self.name)


class DBInstance(Kept, CloudFormationModel):
    """In place of moto's, which is none of a cluster."""

    @staticmethod
    def cloudformation_name_type() -> str:
        return "DBInstanceIdentifier"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::RDS::DBInstance"

    @classmethod
    def create_from_cloudformation_json(cls, resource_name: str, *_: Any, **__: Any) -> "DBInstance":
        return cls(resource_name, {})

    def delete(self, *_: Any) -> None:
        pass


class EventInvokeConfig(Kept, CloudFormationModel):
    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::EventInvokeConfig"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> "EventInvokeConfig":
        properties = cloudformation_json["Properties"]
        lambda_backends[account_id][region_name].put_function_event_invoke_config(properties["FunctionName"], properties)
        return cls(resource_name, {})

    def delete(self, *_: Any) -> None:
        pass


def execute_change_set(self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
    change = self.describe_change_set(change_set_name)
    assert change is not None, change_set_name
    change.execution_status = "EXECUTE_COMPLETE"
    before = self.stacks[change.stack_id]
    if change.change_set_type == "UPDATE":
        before.update(change.template, change.role_arn, change.parameters, change.tags)
        return
    stack = Stack(  # type: ignore[abstract]
        before.stack_id,
        before.name,
        change.template,
        change.parameters,
        self.account_id,
        self.region_name,
        tags=change.tags,
        cross_stack_resources=self.exports,
    )
    for other in [one.stack_id for one in self.stacks.values() if one.name == stack.name]:
        del self.stacks[other]
    self.stacks[stack.stack_id] = stack
    stack._add_stack_event("CREATE_IN_PROGRESS", resource_status_reason="User Initiated")
    stack.create_resources()


def delete(self: Any) -> None:
    for resource in self._resource_json_map.values():
        if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
            resource["DeletionPolicy"] = "Retain"
    _delete(self)


def create_key(
    self: KmsBackend, policy: Any, key_usage: str, key_spec: str, description: str, tags: Any, *more: Any, **named: Any
) -> Key:
    text = policy if isinstance(policy, str | None) else json.dumps(policy)
    own = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} if "Key" in tag else tag for tag in tags or ()]
    return _create_key(self, text, key_usage, key_spec, description, own, *more, **named)


def load(self: Any) -> None:
    """Do what AWS::Serverless does before a template is read."""
    _translate(self._template)
    self._resource_json_map = self._template.get("Resources", {})  # a change set begins with none
    _load(self)


def update(self: Any, template: dict[str, Any], parameters: dict[str, Any] | None = None) -> None:
    _translate(template)
    _update(self, template, parameters)


def _translate(template: dict[str, Any]) -> None:
    if "Transform" in template:
        translated = checks.translate(template)
        template.clear()
        template.update(translated)


def put_rest_api(self: APIGatewayBackend, function_id: str, api_doc: dict[str, Any], *arguments: Any, **named: Any) -> RestAPI:
    body = {name: value for name, value in api_doc.items() if name != "swagger"}
    preflights = {"options"}  # they have no function behind them, which moto asks for
    paths = {
        path: {name: one for name, one in methods.items() if name not in preflights} for path, methods in body["paths"].items()
    }
    return _put_rest_api(self, function_id, {**body, "openapi": "3.0.1", "paths": paths}, *arguments, **named)


def import_rest_api(self: APIGatewayBackend, api_doc: dict[str, Any], fail_on_warnings: bool) -> RestAPI:
    return _import_rest_api(self, {**api_doc, "info": {"description": "", **api_doc["info"]}}, fail_on_warnings)


def put_function_recursion_config(self: LambdaResponse) -> str:
    return json.dumps({"RecursiveLoop": self.json_body["RecursiveLoop"]})


def create_api(cls: Any, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any) -> RestAPI:
    api: RestAPI = _create_api(cls, resource_name, cloudformation_json, account_id, region_name)
    backend = apigateway_backends[account_id][region_name]
    return backend.put_rest_api(api.id, cloudformation_json["Properties"]["Body"], False)


def delete_api(self: RestAPI, account_id: str, region_name: str) -> None:
    apigateway_backends[account_id][region_name].delete_rest_api(self.id)


@cache
def _aws_policies() -> dict[str, Any]:
    return dict(json.loads(aws_managed_policies_data))


def init_aws_policies(self: IAMBackend) -> list[AWSManagedPolicy]:
    name = POLICY.rpartition("/")[2]
    return [AWSManagedPolicy.from_data(name, self.account_id, self.region_name, _aws_policies()[name])]


def apply() -> None:
    yaml.CLoader.add_multi_constructor("", yaml_tag_constructor)
    yaml.Loader = yaml.CLoader  # type: ignore[misc, assignment]
    IAMBackend._init_aws_policies = init_aws_policies  # type: ignore[method-assign, assignment]
    LambdaResponse.put_function_recursion_config = put_function_recursion_config  # type: ignore[attr-defined]
    urls.url_paths[r"{0}/(?P<api_version>[^/]+)/functions/(?P<name>[\w_:%-]+)/recursion-config$"] = LambdaResponse.dispatch
    APIGatewayBackend.put_rest_api = put_rest_api  # type: ignore[method-assign]
    APIGatewayBackend.import_rest_api = import_rest_api  # type: ignore[method-assign]
    RestAPI.create_from_cloudformation_json = classmethod(create_api)  # type: ignore[assignment, arg-type]
    RestAPI.delete = delete_api  # type: ignore[attr-defined]
    CloudFormationBackend.execute_change_set = execute_change_set  # type: ignore[method-assign]
    KmsBackend.create_key = create_key  # type: ignore[method-assign]
    ResourceMap.delete = delete  # type: ignore[method-assign]
    ResourceMap.load = load  # type: ignore[method-assign]
    ResourceMap.update = update  # type: ignore[method-assign]


def serve() -> None:
    """Serve, with the arguments of moto's own server. Not as `__main__`: moto wants its types in a package."""
    apply()
    main()
