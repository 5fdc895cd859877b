"""What can't be enforced in a schema is left out by itself, and everything else stays."""

from __future__ import annotations

from typing import Any

import pytest

from grammars import compiler
from grammars.errors import WrongSchema
from grammars.relaxed import relaxed


@pytest.mark.parametrize(
    ("schema", "kept", "places"),
    [
        ({"type": "object"}, {"type": "object"}, []),
        (
            {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
            {"type": "object", "properties": {"a": {"type": "array"}}},
            ["/properties/a/uniqueItems"],
        ),
        (
            {"properties": {"a/b": {"not": {}, "maxLength": 3}, "c": {"format": "iri"}}},
            {"properties": {"a/b": {"maxLength": 3}, "c": {}}},
            ["/properties/a~1b/not", "/properties/c/format"],
        ),
        (
            {"items": {"anyOf": [{"pattern": "(?!a)"}, {"pattern": "^b"}]}},
            {"items": {"anyOf": [{}, {"pattern": "^b"}]}},
            ["/items/anyOf/0/pattern"],
        ),
        (
            {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            ["/oneOf"],
        ),
        (
            {"properties": {"a": {}, "b": {}}, "minProperties": 1},
            {"properties": {"a": {}, "b": {}}},
            ["/minProperties"],
        ),
        ({"$schema": "mine", "maxLength": 2}, {"maxLength": 2}, ["/$schema"]),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"contains": {}}}},
         {"$ref": "#/$defs/x", "$defs": {"x": {}}}, ["/$defs/x/contains"]),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"type": "object"}, [""]),
    ],
)  # fmt: skip
def test_the_rest_is_enforced(schema: Any, kept: Any, places: list[str]) -> None:
    assert relaxed(schema) == (kept, places)
    compiler.from_json_schema(kept)


def test_very_many_unsupported_keywords_are_left_out_each() -> None:
    properties: Any = {f"p{i}": {"type": "string", "nullable": True} for i in range(1000)}
    kept, places = relaxed({"type": "object", "properties": properties})
    assert kept["properties"] == {name: {"type": "string"} for name in properties}
    assert sorted(places) == sorted(f"/properties/{name}/nullable" for name in properties)


def test_a_schema_with_very_many_faults_is_free() -> None:
    properties = {f"p{i}": {"pattern": f"(?={i})"} for i in range(1000)}
    assert relaxed({"type": "object", "properties": properties}) == ({"type": "object"}, [""])


def test_a_schema_that_is_too_large_is_free() -> None:
    deep: Any = {"type": "integer"}
    for _ in range(20_000):
        deep = {"items": deep}
    for schema in ({"properties": {"a": deep}}, {"description": "x" * 2_000_000}):
        assert relaxed(schema) == ({"type": "object"}, [""])


@pytest.mark.parametrize("schema", [{"type": "text"}, {"enum": []}, {"properties": {"a": 1}}])
def test_wrong_schemas_are_refused(schema: Any) -> None:
    with pytest.raises(WrongSchema):
        relaxed(schema)
