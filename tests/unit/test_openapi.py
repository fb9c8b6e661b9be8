"""The description of the API: what app.py has is in it and nothing else, and its examples are such as they say."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import validate

import app as product
from chalicelib import errors
from chalicelib.description import description
from chalicelib.health import VERSION

METHODS = ("get", "post", "put", "patch", "delete")
CODE = re.compile(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`")
NO_CODES = ("RequestId",)

Json = dict[str, Any]


def operations() -> Iterator[tuple[str, str, Json]]:
    """Yield path, method and description of every operation."""
    for path, item in description()["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def found(part: Json) -> Json:
    """Return what a reference names, with what stands beside it."""
    if "$ref" not in part:
        return part
    target: Any = description()
    for name in part["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    return {**target, **part}


def examples(part: Any, at: str = "") -> Iterator[tuple[str, str, Json, Any]]:
    """Yield place, media type, schema and value of every example in a part of the description."""
    if isinstance(part, list):
        for number, item in enumerate(part):
            yield from examples(item, f"{at}/{number}")
    elif isinstance(part, dict):
        for name, item in part.items():
            if name == "example":
                yield at, at.rpartition("content/")[2], part["schema"], item
            else:
                yield from examples(item, f"{at}/{name}")


def check(schema: Json, value: Any) -> None:
    """Raise ValidationError for a value that a schema does not take."""
    whole = {**schema, "components": description()["components"]}
    Draft202012Validator(whole, validate_formats=True).validate(value)


def events(stream: str) -> Iterator[dict[str, str]]:
    """Yield the events of a stream as a browser reads them."""
    for block in stream.strip().split("\n\n"):
        yield {"event": "message", **dict(line.split(": ", 1) for line in block.split("\n"))}


def test_description_is_valid_openapi() -> None:
    validate(description())


def test_every_route_is_described_in_its_place_and_nothing_else_is() -> None:
    routes = [(path, method) for path, methods in product.app.routes.items() for method in methods]

    assert sorted((path, method) for path, method, _ in operations()) == sorted(routes)
    assert list(description()["paths"]) == list(product.app.routes)


def test_what_wants_no_key_is_described_so() -> None:
    public = {(path, method) for path, method, operation in operations() if operation.get("security") == []}

    assert public == {
        (path, method)
        for path, methods in product.app.routes.items()
        for method, route in methods.items()
        if route.authorizer is None
    }


def test_parts_of_the_page_stand_in_the_order_of_the_operations() -> None:
    used = [tag for _, _, operation in operations() for tag in operation["tags"]]

    assert [tag["name"] for tag in description()["tags"]] == list(dict.fromkeys(used))


def test_description_has_the_products_version() -> None:
    assert description()["info"]["version"] == VERSION


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("at", "media_type", "schema", "value"), [pytest.param(*one, id=one[0]) for one in examples(description())]
)
def test_example_is_what_its_schema_says(at: str, media_type: str, schema: Json, value: Any) -> None:
    if media_type != "text/event-stream":
        check(schema, value)
        return
    for event in events(value):
        check(schema, event)
        if event["data"] != "[DONE]":
            said = next(
                one["properties"]["data"]["contentSchema"]
                for one in found(schema)["anyOf"]
                if one["properties"].get("event", {"const": "message"})["const"] == event["event"]
            )
            check(said, json.loads(event["data"]))


def test_errors_are_described_with_their_statuses() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            for name in CODE.findall(found(response)["description"]):
                if name not in NO_CODES:
                    assert getattr(errors, name).status == int(status), (path, method, name)
