"""What Schemathesis can't know from the description alone, in the words of its hooks."""

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import schemathesis
from hypothesis import strategies as st

from chalicelib import wire

EXAMPLE_KEY = "1b671a64-40d5-491e-99b0-da01ff1f3341"
_uses = count()
PRINTABLE = st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=200)

schemathesis.openapi.format("cursor", st.text(st.characters(codec="ascii"), max_size=40).map(wire.cursor))
schemathesis.openapi.format("event-id", st.builds("{}-{}".format, st.integers(0, 10**15 - 1), st.integers(0, 10**6 - 1)))
schemathesis.openapi.format("filename", PRINTABLE.map(lambda name: re.sub(r"[/\\]", "-", name) + ".txt"))
schemathesis.openapi.format("idempotency-key", PRINTABLE)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Have a member of a reply that is not described be a failure."""
    schemas = raw_schema["components"]["schemas"]
    operations = [
        operation for path in raw_schema["paths"].values() for operation in path.values() if "responses" in operation
    ]
    asked = set(_named([operation.get("requestBody") for operation in operations], schemas))
    schemas.update({name: _closed(schema) for name, schema in schemas.items() if name not in asked})
    raw_schema["components"]["responses"] = _closed(raw_schema["components"]["responses"])
    for operation in operations:
        operation["responses"] = _closed(operation["responses"])


def _named(part: Any, schemas: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the schemas that a part of the description refers to, those within them too."""
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(part)):
        yield name
        yield from _named(schemas[name], schemas)


def _closed(schema: Any, *, whole: bool = True) -> Any:
    """Return a schema whose objects have described members only. What is not `whole` is one of several alternatives."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {
        key: [_closed(one, whole=False) for one in value] if key == "anyOf" else _closed(value)
        for key, value in schema.items()
    }
    if (
        whole
        and schema.get("type") == "object"
        and "additionalProperties" not in schema
        and {"properties", "anyOf"} & schema.keys()
    ):
        parts["unevaluatedProperties"] = False
    return parts


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Let query parameters that are not known here be passed over, as the description says."""
    return "unexpected properties" not in failure.message


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Put what this deployment has in place of names and numbers that are as good, and that nobody could guess."""
    here = {"model": "hashed", "dimensions": 256} if context.operation.path == "/v1/embeddings" else {"model": "echo"}
    if not isinstance(body, dict) or context.operation.path == "/v1/chat/completions":
        return body
    return {name: here[name] if name in here and _is_guess(value) else value for name, value in body.items()}


def _is_guess(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and len(value) <= wire.LABEL_CHARS
    return type(value) in (int, float) and 1 <= value <= 10**6 and value % 1 == 0


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Use each Idempotency-Key that is given as an example twice only: else all later requests are refused for it."""
    if case.headers and case.headers.get("Idempotency-Key") == EXAMPLE_KEY:
        case.headers["Idempotency-Key"] = f"{EXAMPLE_KEY}-{next(_uses) // 2}"
