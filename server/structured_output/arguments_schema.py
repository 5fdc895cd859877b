"""The schema of a tool's arguments, read as its author means it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grammars.errors import GrammarError
from grammars.json_schema.keywords import SUPPORTED, UNSUPPORTED
from grammars.json_schema.references import resolve

_DECLARING = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "enum",
        "extends",
        "if",
        "minProperties",
        "not",
        "oneOf",
        "patternProperties",
        "properties",
        "propertyNames",
        "required",
        "unevaluatedProperties",
    }
)
"""Keywords by which a schema says something about an object's properties."""

_RESTRICTING = (SUPPORTED | UNSUPPORTED) - {"$defs", "definitions"}

_MAX_REFERENCES = 100


def arguments_schema(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The schema of the arguments, which are an object.

    A function that declares no parameters has none: its arguments are `{}`.
    """
    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    if not any(given.get(key) not in (None, []) for key in _DECLARING):
        given = {key: value for key, value in given.items() if key not in _DECLARING}
        given["properties"] = {}
    given = _without_outer_reference(given)
    types = given.get("type")
    is_object = types is None or (isinstance(types, list) and "object" in types)
    return {**given, "type": "object" if is_object else types}


def _without_outer_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a document leads to, if the document itself is only a `$ref`.

    Schemas of classes that contain themselves are written so. llguidance takes no such reference
    beside other keywords.
    """
    for _ in range(_MAX_REFERENCES):
        others = {key: value for key, value in schema.items() if key != "$ref"}
        if "$ref" not in schema or others.keys() & _RESTRICTING:
            return schema
        try:
            target = resolve(schema["$ref"], schema)
        except (GrammarError, AttributeError):
            return schema  # refused later, with its place
        if not isinstance(target, dict) or target.keys() & {"$defs", "definitions", "$id"}:
            return schema
        schema = {**others, **target}
    return schema
