"""Finds schemas that only infinite JSON would satisfy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from grammars.conditions import Conditions
from grammars.json_schema.places import Place

Schema = dict[str, Any]


class EndlessSearch:
    """Finds the schemas of a document that have a finite instance.

    A schema counts as finite until its keywords rule that out. Keywords rule it out if the schema
    allows only objects or arrays and requires properties or items without a finite instance.
    """

    def __init__(self) -> None:
        self._schemas: list[tuple[Place, Schema, object]] = []
        self._conditions = Conditions()
        self._finite: dict[int, int] = {}
        """By a schema's id: the condition that the schema has a finite instance."""
        self._never = self._conditions.new()
        self._always = self._conditions.all_of(())

    def add(self, place: Place, schema: Schema, target: object | None) -> None:
        """Add a schema, its place, and the schema that its `$ref` leads to, if any."""
        self._schemas.append((place, schema, target))
        self._finite[id(schema)] = self._conditions.new()

    def first(self) -> Place | None:
        """The place of the first schema without a finite instance, or None."""
        for _, schema, target in self._schemas:
            self._conditions.link(self._finite[id(schema)], self._condition(schema, target))
        holding = self._conditions.holding()
        endless = (p for p, schema, _ in self._schemas if self._finite[id(schema)] not in holding)
        return next(endless, None)

    def _of(self, schema: object) -> int:
        if not isinstance(schema, dict):
            return self._always
        return self._finite.get(id(schema), self._never)

    def _all(self, schemas: Iterable[object]) -> int:
        return self._conditions.all_of(map(self._of, schemas))

    def _condition(self, schema: Schema, target: object | None) -> int:
        groups = [schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema]
        return self._conditions.all_of(
            [
                self._of(target),
                self._all(schema.get("allOf", [])),
                *(self._conditions.any_of(map(self._of, group)) for group in groups),
                self._structure(schema),
            ]
        )

    def _structure(self, schema: Schema) -> int:
        if "const" in schema or "enum" in schema:
            return self._always
        types = schema.get("type", [])
        match types if isinstance(types, str) else "/".join(sorted(types)):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "array/object":
                return self._conditions.any_of([self._object(schema), self._array(schema)])
            case _:
                return self._always

    def _object(self, schema: Schema) -> int:
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return self._all(properties.get(name, others) for name in schema.get("required", []))

    def _array(self, schema: Schema) -> int:
        items = schema.get("items", True)
        if isinstance(items, list):
            first, others = items, schema.get("additionalItems", True)
        else:
            first, others = schema.get("prefixItems", []), items
        least = schema.get("minItems", 0)
        return self._all([*first[:least], *([others] if least > len(first) else [])])
