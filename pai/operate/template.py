"""CloudFormation templates as data: YAML's short forms read as the long ones, so that all may be written as JSON."""

import json
from pathlib import Path
from typing import Any

import yaml

from pai.operate.account import OperateError


# In C, where the package has that: 8 times as fast.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads `!Ref x` and its like, which Chalice's own reader loses inside lists, and leaves dates the texts they are."""


def load_template(path: Path) -> dict[str, Any]:
    """Return a template, from YAML or JSON."""
    try:
        template = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, yaml.YAMLError) as error:
        raise OperateError(f"{path} can't be read as a template: {error}") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise OperateError(f"{path} is no template: it has no Resources.")
    return template


def dump_template(template: Any) -> bytes:
    """Return a template as JSON, the same bytes for the same content."""
    return json.dumps(template, indent=1, sort_keys=True).encode()


def place_code(template: Any, bucket: str, key: str) -> None:
    """Say where the functions' code is: in place of each local path."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if isinstance(properties.get("CodeUri"), str) and not properties["CodeUri"].startswith("s3://"):
            properties["CodeUri"] = {"Bucket": bucket, "Key": key}
        elif isinstance(properties.get("Code"), str):
            properties["Code"] = {"S3Bucket": bucket, "S3Key": key}


def holds(template: Any, parameters: dict[str, str]) -> "Conditions":
    """Return the template's conditions under these parameters; its own defaults stand for those that are not named."""
    defaults = {name: str(entry.get("Default", "")) for name, entry in template.get("Parameters", {}).items()}
    return Conditions(template.get("Conditions", {}), {**defaults, **parameters})


class Conditions:
    """Which conditions hold. Knows Fn::Equals, Fn::And, Fn::Or, Fn::Not, Condition, Ref."""

    def __init__(self, conditions: dict[str, Any], parameters: dict[str, str]) -> None:
        self._conditions = conditions
        self._parameters = parameters

    def true(self, name: str) -> bool:
        return bool(self._value(self._conditions[name]))

    def resources(self, template: Any) -> dict[str, Any]:
        """Return the resources that there are under these parameters."""
        found = template["Resources"].items()
        return {name: entry for name, entry in found if "Condition" not in entry or self.true(entry["Condition"])}

    def _value(self, expression: Any) -> Any:
        if not isinstance(expression, dict):
            return expression
        [(function, argument)] = expression.items()
        if function == "Ref":
            return self._parameters.get(argument, "")
        if function == "Condition":
            return self.true(argument)
        values = [self._value(one) for one in argument]
        return _FUNCTIONS[function](values)


_FUNCTIONS: dict[str, Any] = {
    "Fn::Equals": lambda values: values[0] == values[1],
    "Fn::And": all,
    "Fn::Or": any,
    "Fn::Not": lambda values: not values[0],
}


def _long_form(loader: Any, suffix: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _long_form)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: str(node.value))
