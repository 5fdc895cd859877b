"""The bounds of a body's numbers, read from its model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

_NAMES = {
    "minimum": "minimum",
    "ge": "minimum",
    "exclusiveMinimum": "above",
    "gt": "above",
    "maximum": "maximum",
    "le": "maximum",
    "exclusiveMaximum": "below",
    "lt": "below",
}
"""The words of JSON Schema, and pydantic's own where a validator comes first."""


@cache
def number_bounds(model: type[BaseModel]) -> dict[str, dict[str, float]]:
    """The least and the most of each field that is a number, by the name of the field."""
    properties = model.model_json_schema(by_alias=False)["properties"]
    found = {name: dict(_bounds(schema)) for name, schema in properties.items()}
    return {name: bounds for name, bounds in found.items() if bounds}


def _bounds(schema: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for option in (schema, *schema.get("anyOf", ())):
        yield from ((_NAMES[word], value) for word, value in option.items() if word in _NAMES)
