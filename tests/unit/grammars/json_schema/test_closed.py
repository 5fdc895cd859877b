"""Objects have only the properties that their schema declares, unless it asks for others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grammars.json_schema.checker import check_schema

A: Any = {"a": {"type": "integer"}}


def checked(schema: object) -> Any:
    return json.loads(check_schema(schema))


def test_declared_properties_are_all_there_are() -> None:
    nested = {
        "properties": {"b": {"type": "object", "properties": A}},
        "$defs": {"c": {"properties": A}},
    }
    kept = checked({**nested, "properties": {**nested["properties"], "c": {"$ref": "#/$defs/c"}}})
    assert kept["additionalProperties"] is False
    assert kept["properties"]["b"]["additionalProperties"] is False
    assert kept["$defs"]["c"]["additionalProperties"] is False


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"properties": A, "additionalProperties": True},
        {"properties": A, "additionalProperties": {"type": "string"}},
        {"properties": A, "patternProperties": {"^x": {}}},
        {"properties": A, "required": ["b"]},
        {"properties": A, "minProperties": 2},
        {"properties": A, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"allOf": [{"properties": A}, {"properties": {"b": {}}}]},
        {"$defs": {"x": {"properties": A}}, "$ref": "#/$defs/x", "properties": {"b": {}}},
    ],
)  # fmt: skip
def test_what_asks_for_others_has_them(schema: Any) -> None:
    kept = checked(schema)
    assert kept.get("additionalProperties") == schema.get("additionalProperties")


def test_alternatives_are_closed_each() -> None:
    options = checked({"anyOf": [{"properties": A}, {"properties": {"b": {}}}]})["anyOf"]
    assert [option["additionalProperties"] for option in options] == [False, False]


def test_json_schemas_own_default_on_request() -> None:
    assert "additionalProperties" not in json.loads(check_schema({"properties": A}, is_open=True))
