"""Objects have the properties that their schema declares, and no others unless it asks for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

_ELSEWHERE = frozenset({"properties", "$ref", "allOf", "anyOf", "oneOf"})
"""Keywords by which properties may be declared in another place."""

_DECIDED = frozenset(
    {"additionalProperties", "patternProperties", "propertyNames", "minProperties"}
)
"""Keywords that tell, or need, other properties."""


def close_objects(schemas: Iterable[Schema]) -> None:
    """Set `additionalProperties` to false in a document's schemas where it is left open.

    JSON Schema would allow any further properties then. Who writes a schema for a model means
    the declared ones, as OpenAI's strict mode and llama.cpp take it; a model left free goes on
    inventing keys, and what could be forced isn't. `"additionalProperties": true` allows them.
    Documents that combine objects of parts are left alone: closing a part would close the whole.
    """
    schemas = list(schemas)
    if any(map(_is_combined, schemas)):
        return
    for schema in schemas:
        declared = schema.get("properties")
        if declared and not schema.keys() & _DECIDED and declared.keys() >= _required(schema):
            schema["additionalProperties"] = False


def _required(schema: Schema) -> set[str]:
    return set(schema.get("required", ()))


def _is_combined(schema: Schema) -> bool:
    """Whether an object that is valid here may have to satisfy several schemas."""
    if "properties" in schema and schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        return True
    parts = [part for part in schema.get("allOf", ()) if isinstance(part, dict)]
    return len(parts) > 1 and any(part.keys() & _ELSEWHERE for part in parts)
