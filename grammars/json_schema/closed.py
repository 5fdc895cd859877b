"""Closes objects: an object has only declared properties, unless its schema asks for others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

_ELSEWHERE = frozenset({"properties", "$ref", "allOf", "anyOf", "oneOf"})
"""Keywords by which properties may be declared in another place."""

_DECIDED = frozenset(
    {"additionalProperties", "patternProperties", "propertyNames", "minProperties"}
)
"""Keywords that allow, forbid or need undeclared properties."""


def close_objects(schemas: Iterable[Schema]) -> None:
    """Set `additionalProperties` to false in a document's schemas where the keyword is absent.

    JSON Schema would allow any further properties there. An author who writes a schema for a model
    means the declared properties; OpenAI's strict mode and llama.cpp read schemas that way too. A
    model that is left free keeps inventing keys, and the fixed parts can't be forced.
    `"additionalProperties": true` allows further properties. Empty `properties` declare that there
    are none; an object without `properties` is free.

    Documents that combine several schemas into one object are left alone: closing one part would
    close the whole.
    """
    schemas = list(schemas)
    if any(map(_is_combined, schemas)):
        return
    for schema in schemas:
        declared = schema.get("properties")
        if (
            isinstance(declared, dict)
            and not schema.keys() & _DECIDED
            and declared.keys() >= _required(schema)
        ):
            schema["additionalProperties"] = False


def _required(schema: Schema) -> set[str]:
    return set(schema.get("required", ()))


def _is_combined(schema: Schema) -> bool:
    """Whether an object that is valid here may have to satisfy several schemas."""
    if "properties" in schema and schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        return True
    parts = [part for part in schema.get("allOf", ()) if isinstance(part, dict)]
    return len(parts) > 1 and any(part.keys() & _ELSEWHERE for part in parts)
