"""Finds schemas that only infinite JSON would satisfy."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


class EndlessSearch:
    """Finds the schemas of a document that have a finite instance.

    A schema counts as finite until its keywords rule that out. Keywords rule it out if the schema
    allows only objects or arrays and requires properties or items without a finite instance.
    """

    def __init__(self) -> None:
        self._schemas: list[tuple[str, Schema]] = []
        self._targets: dict[int, object] = {}
        self._ending: set[int] = set()
        """The ids of schemas that are known to have a finite instance."""

    def add(self, path: str, schema: Schema, target: object | None) -> None:
        """Add a schema, its place, and the schema that its `$ref` leads to, if any."""
        self._schemas.append((path, schema))
        if target is not None:
            self._targets[id(schema)] = target

    def first(self) -> str | None:
        """The place of a schema without a finite instance, or None."""
        # the innermost schemas were added last, and are decided first
        waiting = self._schemas[::-1]
        while True:
            left = [(path, schema) for path, schema in waiting if not self._settle(schema)]
            if len(left) == len(waiting):
                return left[-1][0] if left else None
            waiting = left

    def _settle(self, schema: Schema) -> bool:
        if not self._has_finite(schema):
            return False
        self._ending.add(id(schema))
        return True

    def _ends(self, schema: object) -> bool:
        return not isinstance(schema, dict) or id(schema) in self._ending

    def _has_finite(self, schema: Schema) -> bool:
        target = self._targets.get(id(schema))
        options = [schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema]
        return (
            (target is None or self._ends(target))
            and all(self._ends(part) for part in schema.get("allOf", []))
            and all(any(self._ends(option) for option in group) for group in options)
            and self._has_finite_structure(schema)
        )

    def _has_finite_structure(self, schema: Schema) -> bool:
        if "const" in schema or "enum" in schema:
            return True
        types = schema.get("type", [])
        match types if isinstance(types, str) else "/".join(sorted(types)):
            case "object":
                return self._has_finite_object(schema)
            case "array":
                return self._has_finite_array(schema)
            case "array/object":
                return self._has_finite_object(schema) or self._has_finite_array(schema)
            case _:
                return True

    def _has_finite_object(self, schema: Schema) -> bool:
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        required = schema.get("required", [])
        return all(self._ends(properties.get(name, others)) for name in required)

    def _has_finite_array(self, schema: Schema) -> bool:
        items = schema.get("items", True)
        if isinstance(items, list):
            first, others = items, schema.get("additionalItems", True)
        else:
            first, others = schema.get("prefixItems", []), items
        least = schema.get("minItems", 0)
        needed = [*first[:least], *([others] if least > len(first) else [])]
        return all(self._ends(item) for item in needed)
