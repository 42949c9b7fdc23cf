"""Examples of the OpenAPI document, whole: FastAPI leaves out of it whatever is null, in examples too.

A member that a schema requires and that may be null is null in an example that does not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]


def complete_examples(document: dict[str, Any]) -> None:
    """Put back what is null into the examples of a document's schemas and of its bodies."""
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        if "examples" in schema:
            schema["examples"] = [_whole(example, schema, schemas) for example in schema["examples"]]
    for operations in document["paths"].values():
        for operation in operations.values():
            for body in (operation.get("requestBody", {}), *operation["responses"].values()):
                for media in body.get("content", {}).values():
                    _complete(media, schemas)


def _complete(media: dict[str, Any], schemas: Schema) -> None:
    schema = media.get("schema", {})
    if "example" in media:
        media["example"] = _whole(media["example"], schema, schemas)
    for example in media.get("examples", {}).values():
        example["value"] = _whole(example["value"], schema, schemas)


def _whole(value: Any, schema: Schema, schemas: Schema) -> Any:
    if isinstance(value, list):
        items = _meant(value, schema, schemas).get("items", {})
        return [_whole(item, items, schemas) for item in value]
    if not isinstance(value, dict):
        return value
    meant = _meant(value, schema, schemas)
    members: Schema = meant.get("properties", {})
    nulls = {name: None for name in meant.get("required", ()) if _may_be_null(members[name], schemas)}
    return nulls | {name: _whole(member, members.get(name, {}), schemas) for name, member in value.items()}


def _meant(value: Any, schema: Schema, schemas: Schema) -> Schema:
    """The first alternative of a schema that lacks in a value nothing but what may be null; empty where none does."""
    return next((one for one in _alternatives(schema, schemas) if _fits(value, one, schemas)), {})


def _fits(value: Any, one: Schema, schemas: Schema) -> bool:
    if isinstance(value, list):
        items = one.get("items", {})
        return one.get("type", "array") == "array" and all(_is_described(item, items, schemas) for item in value)
    if not isinstance(value, dict):
        return True
    members: Schema = one.get("properties", {})
    lacking = [name for name in one.get("required", ()) if name not in value]
    return (
        one.get("type", "object") == "object"
        and all(_may_be_null(members[name], schemas) for name in lacking)
        and all(_is_described(value[name], members[name], schemas) for name in value.keys() & members.keys())
    )


def _is_described(value: Any, schema: Schema, schemas: Schema) -> bool:
    return any(_fits(value, one, schemas) for one in _alternatives(schema, schemas))


def _may_be_null(schema: Schema, schemas: Schema) -> bool:
    return any(one.get("type") == "null" for one in _alternatives(schema, schemas))


def _alternatives(schema: Schema, schemas: Schema) -> list[Schema]:
    if "$ref" in schema:
        return _alternatives(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return [found for one in schema["anyOf"] for found in _alternatives(one, schemas)]
    return [schema]
