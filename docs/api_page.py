"""chalicelib/openapi.json → the part of docs/api.md that people read. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
WIDTH = 110
FIELDS = ["| member | what it may be | what it is |", "|---|---|---|"]


class Page:
    """The page of one description."""

    def __init__(self, description: Json) -> None:
        self._description = description
        self._schemas: Json = description["components"]["schemas"]
        self._exemplified: set[str] = set()

    def text(self) -> str:
        return "\n\n".join([*self._beginning(), *self._operations(), *self._objects()])

    def _beginning(self) -> Iterator[str]:
        yield self._description["info"]["description"]
        yield "## Errors"
        yield "These may come from every operation that lists their status. What an operation adds to them stands with it."
        responses = self._description["components"]["responses"]
        statuses = sorted(
            {(status, name) for operation in self._all() for status, name in _errors(operation) if not name.startswith("V1")}
        )
        rows = [f"| {status} | {responses[name]['description']} |" for status, name in statuses]
        yield "\n".join(["| status | what it says |", "|---|---|", *rows])
        yield "\n".join([*FIELDS, *self._rows(self._schemas["Error"])])

    def _all(self) -> Iterator[Json]:
        for path in self._description["paths"].values():
            yield from (operation for method, operation in path.items() if method in METHODS)

    def _operations(self) -> Iterator[str]:
        for tag in self._description["tags"]:
            yield f"## {tag['name']}"
            yield tag["description"]
            for path, item in self._description["paths"].items():
                for method, operation in item.items():
                    if method in METHODS and tag["name"] in operation["tags"]:
                        yield f"### `{method.upper()} {path}`"
                        yield from self._operation(operation, item.get("parameters", []))

    def _operation(self, operation: Json, shared: list[Json]) -> Iterator[str]:
        yield operation["summary"] + (" Public: no key." if operation.get("security") == [] else "")
        if "description" in operation:
            yield operation["description"]
        parameters = [self._found(parameter) for parameter in [*shared, *operation.get("parameters", [])]]
        if parameters:
            yield "\n".join(
                ["| parameter | in | what it may be | what it is |", "|---|---|---|---|", *map(self._parameter, parameters)]
            )
        if "requestBody" in operation:
            yield from self._asked(operation["requestBody"])
        yield from self._replies(operation["responses"])

    def _parameter(self, parameter: Json) -> str:
        what = f"{parameter['description']}{_default(parameter['schema'])}"
        return f"| `{parameter['name']}` | {parameter['in']} | {self._kind(parameter['schema'])} | {what} |"

    def _asked(self, body: Json) -> Iterator[str]:
        [content] = body["content"].values()
        if "schema" not in content:
            yield f"Body: {body['description'][0].lower()}{body['description'][1:]}"
            return
        schema = self._found(content["schema"])
        yield f"Body{'' if body.get('required') else ', which may be left out'}: {schema.get('description', 'an object.')}"
        yield "\n".join([*FIELDS, *self._rows(schema, asked=True)])
        if "example" in content:
            yield _example(content["example"])

    def _replies(self, responses: Json) -> Iterator[str]:
        usual = [status for status, response in responses.items() if _is_usual(status, response)]
        told = {status: self._found(response) for status, response in responses.items() if status not in usual}
        yield "\n".join(["| status | what it says | body |", "|---|---|---|", *(self._reply(*one) for one in told.items())])
        if usual:
            yield f"Also {', '.join(usual)}: see [Errors](#errors)."
        for status, response in told.items():
            if int(status) < 400 and self._is_first(responses[status]):
                yield from (_example(content["example"]) for content in response["content"].values() if "example" in content)

    def _is_first(self, response: Json) -> bool:
        """Whether a response's example has not been shown yet, with another operation."""
        name = _name(response)
        is_first = not name or name not in self._exemplified
        self._exemplified.add(name)
        return is_first

    def _reply(self, status: str, response: Json) -> str:
        bodies = [self._body(media_type, content["schema"]) for media_type, content in response["content"].items()]
        headers = "".join(f" `{name}`: {_plain(self._found(header))}" for name, header in _headers(status, response))
        return f"| {status} | {response['description']}{headers} | {' or '.join(bodies)} |"

    def _body(self, media_type: str, schema: Json) -> str:
        kind = self._kind(schema) if "$ref" in schema or "anyOf" in schema else ""
        if media_type == "application/json":
            return kind or "object"
        return f"`{media_type}`" + (f" of {kind}" if kind else "")

    def _objects(self) -> Iterator[str]:
        """Yield what bodies are made of, but for what stands with its one operation."""
        bodies = {
            _name(content["schema"]) for operation in self._all() for content in _contents(operation) if "schema" in content
        }
        yield "## Objects"
        for name, schema in self._schemas.items():
            if name in bodies or not self._is_object(schema) or name == "Error":
                continue
            yield f"### {name}"
            if "description" in schema:
                yield schema["description"]
            yield from self._alternatives(schema)

    def _alternatives(self, schema: Json) -> Iterator[str]:
        members = schema.get("items", schema) if schema.get("type") == "array" else schema
        if members.get("properties"):
            yield "\n".join([*FIELDS, *self._rows(members)])
        for one in members.get("anyOf", []):
            if "title" in one:
                yield f"*{one['title']}*" + (f": {one['description']}" if "description" in one else "")
                yield "\n".join([*FIELDS, *self._rows(one)])

    def _is_object(self, schema: Json) -> bool:
        """Whether a schema has a heading of its own on the page; what has none is told where it is used."""
        titled = any("title" in one for one in schema.get("anyOf", []))
        return titled or "properties" in schema or "properties" in schema.get("items", {})

    def _rows(self, schema: Json, prefix: str = "", *, asked: bool = False) -> Iterator[str]:
        """Yield a row for each member, those of objects within under their dotted names."""
        for name, member in schema.get("properties", {}).items():
            place = f"{prefix}{name}"
            told = self._found(member)
            must = " **Required.**" if asked and name in schema.get("required", []) else ""
            kind = self._kind(member, asked=asked)
            what = _plain(member if kind.startswith("[") else told)  # what has a heading of its own says it there
            yield f"| `{place}` | {kind} | {f'{what}{_default(told)}{must}'.strip()} |"
            if "$ref" not in member:
                inner = told.get("contentSchema") or told.get("items", told)
                yield from self._rows(inner, f"{place}[]." if told.get("type") == "array" else f"{place}.", asked=asked)

    def _kind(self, schema: Json, *, asked: bool = False) -> str:
        """Return what a value may be, in words. null is left out of what is `asked`: it is as good as nothing."""
        if "$ref" in schema and self._is_object(self._found(schema)):
            name = _name(schema)
            return "[Error](#errors)" if name == "Error" else f"[{name}](#{name.lower()})"
        schema = self._found(schema)
        if "anyOf" in schema and "properties" not in schema:
            return " or ".join(dict.fromkeys(kind for one in schema["anyOf"] if (kind := self._kind(one, asked=asked))))
        kinds = [_words(schema, kind, self._kind) for kind in _types(schema) if not (asked and kind == "null")]
        return " or ".join(kinds) or "null"

    def _found(self, part: Json) -> Json:
        """Return what a reference names, with what stands beside it."""
        if "$ref" not in part:
            return part
        found: Any = self._description
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return {**found, **{name: value for name, value in part.items() if name != "$ref"}}


def _errors(operation: Json) -> Iterator[tuple[str, str]]:
    """Yield status and name of an operation's errors that have one."""
    for status, response in operation["responses"].items():
        if int(status) >= 400 and "$ref" in response:
            yield status, _name(response)


def _is_usual(status: str, response: Json) -> bool:
    return int(status) >= 400 and "$ref" in response and "description" not in response and not _name(response).startswith("V1")


def _headers(status: str, response: Json) -> Iterator[tuple[str, Json]]:
    """Yield the headers that a reply has beyond what all errors may have."""
    if int(status) < 400:
        yield from response.get("headers", {}).items()


def _contents(operation: Json) -> Iterator[Json]:
    yield from operation.get("requestBody", {}).get("content", {}).values()


def _name(part: Json) -> str:
    return str(part.get("$ref", "")).rpartition("/")[2]


def _types(schema: Json) -> list[str]:
    if "enum" in schema:
        return ["enum", *(["null"] if None in schema["enum"] else [])]
    kinds = schema.get("type", "const" if "const" in schema else "")
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _words(schema: Json, kind: str, within: Any) -> str:
    match kind:
        case "string" if schema.get("contentMediaType") == "application/json":
            inner = schema.get("contentSchema", {})
            return f"JSON of {within(inner)}" if "$ref" in inner else "JSON"
        case "string":
            return {"date-time": "time", "date": "day"}.get(schema.get("format", ""), "text") + _range(
                schema, "Length", " characters"
            )
        case "integer" | "number":
            return {"integer": "whole number", "number": "number"}[kind] + _range(schema, "imum", "")
        case "boolean":
            return "true or false"
        case "array" if schema.get("maxItems") == 0:
            return "`[]`"
        case "array":
            return f"list of {within(schema['items'])}" + _range(schema, "Items", " items")
        case "enum":
            return ", ".join(f"`{_json(value)}`" for value in schema["enum"] if value is not None)
        case "const":
            return f"`{_json(schema['const'])}`"
        case "object" if "maxProperties" in schema:
            return "`{}`"
    return kind


def _range(schema: Json, of: str, unit: str) -> str:
    least, most = (f"{schema[name]:,}" if (name := f"{bound}{of}") in schema else "" for bound in ("min", "max"))
    if not most:
        return f", {least} or more" if least not in ("", "0", "1") else ""
    return f", {least} to {most}{unit}" if least else f", {most}{unit} at most"


def _default(schema: Json) -> str:
    return f" By default `{_json(schema['default'])}`." if "default" in schema else ""


def _json(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(part: Json) -> str:
    return str(part.get("description", "")).replace("\n", " ").replace("|", "\\|")


def _example(example: object) -> str:
    return f"```\n{example.rstrip()}\n```" if isinstance(example, str) else f"```json\n{_lines(example)}\n```"


def _lines(value: Any, indent: str = "") -> str:
    """Return a value as JSON: on one line where that is short, else a member or item on each."""
    whole = json.dumps(value, ensure_ascii=False)
    if len(indent + whole) <= WIDTH or not isinstance(value, dict | list):
        return whole
    within = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(within + _lines(item, within) for item in value) + f"\n{indent}]"
    return (
        "{\n"
        + ",\n".join(f"{within}{json.dumps(name)}: {_lines(item, within)}" for name, item in value.items())
        + f"\n{indent}}}"
    )
