from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest

from grammars import compiler, limits
from grammars.acceptance import Acceptance, accept
from grammars.constraint import LLGuidanceGrammar
from grammars.errors import GrammarError


def verdict(schema: object, text: str) -> Acceptance:
    constraint = compiler.from_json_schema(schema)
    assert isinstance(constraint, LLGuidanceGrammar)
    return accept(constraint, text)


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        (3, "", "an object or a boolean"),
        (False, "", "nothing is valid"),
        ({"properties": {"a": {"not": {}}}}, "/properties/a/not", "'not' is not supported"),
        ({"items": {"uniqueItems": True}}, "/items/uniqueItems", "'uniqueItems'"),
        ({"anyOf": [{}, {"if": {}, "then": {}}]}, "/anyOf/1/if", "'if'"),
        ({"$defs": {"x": {"contains": {}}}}, "/$defs/x/contains", "'contains'"),
        ({"nullable": True}, "/nullable", "'nullable'"),
        ({"properties": {"a/b~c": {"not": {}}}}, "/properties/a~1b~0c/not", "'not'"),
        ({"$ref": "http://example.org/x"}, "/$ref", "outside of this schema"),
        ({"$ref": "other.json"}, "/$ref", "outside of this schema"),
        ({"items": {"$ref": "#/$defs/no"}}, "/items/$ref", "does not exist"),
        ({"$ref": "#/x/y", "x": {"y": {"not": {}}}}, "/x/y/not", "'not'"),
        ({"minlength": 3}, "/minlength", "is 'minLength' meant"),
        ({"additional_properties": False}, "/additional_properties", "'additionalProperties'"),
        ({"type": "text"}, "/type", "one or more of"),
        ({"minLength": -1}, "/minLength", "a count"),
        ({"minLength": True}, "/minLength", "a count"),
        ({"enum": []}, "/enum", "not empty"),
        ({"anyOf": []}, "/anyOf", "not empty"),
        ({"properties": []}, "/properties", "an object"),
        ({"properties": {"a": 1}}, "/properties/a", "an object or a boolean"),
        ({"multipleOf": 0}, "/multipleOf", "above zero"),
        ({"type": "string", "format": "iri"}, "/format", "'iri' is not supported"),
        ({"items": {"pattern": "(?=a)b"}}, "/items", "look-around"),
        (
            {"items": {"anyOf": [{"type": "null"}, {"pattern": "("}]}},
            "/items/anyOf/1",
            "unclosed group",
        ),
        ({"properties": {"x": {"oneOf": [{}, {}]}}}, "/properties/x", "oneOf"),
        ({"x-guidance": {"lenient": True}}, "/x-guidance/lenient", "'lenient'"),
        ({"const": float("nan")}, "/const", "not a JSON number"),
        ({"const": "\ud800"}, "/const", "not valid Unicode"),
        ({"const": {1}}, "/const", "a set is not a JSON value"),
        ({"items": {"$ref": "#", "$id": "x"}}, "/items", "beside"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "", "infinite"),
        ({"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}}, "", "infinite"),
    ],
)
def test_refusals_name_the_place(schema: object, path: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        compiler.from_json_schema(schema)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"uniqueItems": False, "nullable": False, "propertyNames": {"type": "string"}},
        {"if": {}, "minContains": 2, "dependentRequired": {}},
        {"type": "integer", "format": "int32"},
        {"type": "string", "format": "password"},
        {"type": "string", "minLength": 2.0},
        {"title": "t", "x-other": 1, "example": [], "$comment": "c", "discriminator": {}},
        {"const": {"not": 1, "minlength": 2}},
        {"properties": {"not": {}, "minlength": {}}},
        {"$id": "https://example.org/root", "$defs": {"a": {"$anchor": "b"}}, "$ref": "#b"},
    ],
)
def test_what_excludes_nothing_is_taken(schema: object) -> None:
    compiler.from_json_schema(schema)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, ""),
        ({"type": "object", "additionalProperties": {"$ref": "#"}, "required": ["a"]}, ""),
        ({"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}, ""),
        ({"items": {"allOf": [{"$ref": "#/items"}]}}, "/items"),
    ],
)
def test_infinite_json_is_refused(schema: object, path: str) -> None:
    with pytest.raises(GrammarError, match="only infinite JSON") as caught:
        compiler.from_json_schema(schema)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": ["array", "null"], "items": {"$ref": "#"}, "minItems": 1},
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]},
        {"type": "object", "required": ["a"], "properties": {"a": {"items": {"$ref": "#"}}}},
    ],
)
def test_recursion_with_an_end_is_taken(schema: object) -> None:
    compiler.from_json_schema(schema)


def test_separators_are_fixed() -> None:
    schema = {"properties": {"a": {"type": "array"}}, "required": ["a"]}
    assert verdict(schema, '{"a": [1, 2]}').is_accepted
    assert not verdict(schema, '{"a":[1, 2]}').is_accepted
    assert not verdict(schema, '{"a": [1,2]}').is_accepted
    assert not verdict(schema, '{ "a": [1, 2]}').is_accepted


def test_a_schema_may_choose_its_separators() -> None:
    options = {"whitespace_flexible": True, "item_separator": ",", "key_separator": ":"}
    schema = {"type": "object", "x-guidance": options}
    assert verdict(schema, '{ "a":[1,2] }').is_accepted


def test_any_object_may_be_indented() -> None:
    constraint = compiler.from_json_object()
    assert isinstance(constraint, LLGuidanceGrammar)
    for text in ('{"a": [1, 2]}', '{"a":[1,2]}', '{\n  "a": [\n    1\n  ]\n}', "{}"):
        assert accept(constraint, text).is_accepted
    for text in ("[]", '{"a": 1} ', "{" + " " * 9 + "}", '{"a": 01}'):
        assert not accept(constraint, text).is_accepted


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("date", ["2024-02-29", "2023-12-31"], ["2023-02-29", "2024-04-31", "2024-2-1"]),
        ("time", ["23:59:59Z", "00:00:00.5+02:00"], ["24:00:00Z", "12:00:60Z", "12:00:00"]),
        ("date-time", ["2024-02-29T12:00:00Z"], ["2023-02-29T12:00:00Z", "2024-02-29 12:00:00Z"]),
        ("ipv4", ["127.0.0.1"], ["256.0.0.1"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
    ],
)
def test_formats(name: str, accepted: list[str], refused: list[str]) -> None:
    schema = {"type": "string", "format": name}
    assert all(verdict(schema, f'"{text}"').is_accepted for text in accepted)
    assert not any(verdict(schema, f'"{text}"').is_accepted for text in refused)


def test_a_format_and_a_pattern_both_hold() -> None:
    schema = {"type": "string", "format": "date", "pattern": "^2024"}
    assert verdict(schema, '"2024-02-29"').is_accepted
    assert not verdict(schema, '"2023-02-28"').is_accepted


def nested(depth: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def chain(length: int) -> Any:
    """Definitions in a chain, each of which refers to the next one."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for i in range(1, length):
        definitions[f"d{i}"] = {"properties": {"a": {"$ref": f"#/$defs/d{i - 1}"}}}
    return {"$ref": f"#/$defs/d{length - 1}", "$defs": definitions}


def doubling(levels: int) -> Any:
    """Definitions that need 2^levels copies when all references are expanded."""
    definitions: dict[str, Any] = {"d0": {"type": "string", "minLength": 1}}
    for i in range(1, levels):
        below = {"$ref": f"#/$defs/d{i - 1}"}
        definitions[f"d{i}"] = {"allOf": [below, {"properties": {"a": below, "b": below}}]}
    return {"$ref": f"#/$defs/d{levels - 1}", "$defs": definitions}


NASTY: dict[str, Any] = {
    "deep": nested(90),
    "too deep": nested(100_000),
    "long chain": chain(2000),
    "too long chain": chain(20_000),
    "exponential": doubling(40),
    "circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#"}}, "$ref": "#/$defs/a"},
    "huge enumeration": {"enum": [f"value {i}" for i in range(40_000)]},
    "10 MB": {"description": "x" * 10_000_000},
    "many properties": {"properties": {f"p{i}": {} for i in range(20_000)}},
    "many options": {"anyOf": [{"properties": {f"p{i}": {"type": "null"}}} for i in range(9000)]},
    "optional characters": {"type": "string", "pattern": "a?" * 4000},
    "nested counts": {"type": "string", "pattern": "((((a{0,99}){0,99}){0,99}){0,99}){0,99}"},
    "many patterns": {"allOf": [{"type": "string", "pattern": f"a{{{i}}}"} for i in range(100)]},
    "backtracking": {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"},
    "large bounds": {"type": "array", "minItems": 10**9, "items": {"minLength": 10**9}},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NASTY))
def test_nasty_schemas_take_bounded_time(name: str) -> None:
    start = time.monotonic()
    with contextlib.suppress(GrammarError):
        compiler.from_json_schema(NASTY[name])
    assert time.monotonic() - start < limits.MAX_CHECK_WAIT_SECONDS + 2


def test_property_names_from_a_list_or_of_a_form() -> None:
    for names in ({"enum": ["a", "b"]}, {"type": "string", "pattern": "^[ab]$"}):
        schema = {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": {"type": "integer"},
        }
        assert verdict(schema, '{"a": 1}').is_accepted
        assert verdict(schema, '{"a": 1, "b": 2}').is_accepted
        assert not verdict(schema, '{"c": 1}').is_accepted
        assert not verdict(schema, '{"a": "1"}').is_accepted
    with pytest.raises(GrammarError, match="'propertyNames' is not supported"):
        compiler.from_json_schema({"propertyNames": {"maxLength": 3}})


def test_the_schema_is_not_changed() -> None:
    schema = {"type": "string", "format": "date", "uniqueItems": False}
    before = json.dumps(schema)
    compiler.from_json_schema(schema)
    assert json.dumps(schema) == before


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("^.$", "a\u00e9\U0001f600\t\x0b\x85", "\n\r\u2028\u2029"),
        ("^a.{2}b$", ["a..b", "a\U0001f600\u00e9b"], ["a\n.b", "a.\u2028b", "a.b"]),
        ("^(?:x|.)+$", ["xyx", "."], ["x\rx", "\u2029", ""]),
        (r"^\.[.]$", [".."], [".x", "x.", ".\n"]),
        (r"^[^.\]]\\.$", ["a\\b"], [".\\b", "a\\\n", "]\\b"]),
        ("^(?s:.)$", "a\n\u2028", ["", "ab"]),
        (r"^\d\w$", ["1a", "0_"], ["\u0663a", "1\u00e9"]),
        (r"^[\d\W]$", "1-\u00e9", "aZ_"),
        ("^[^]{2}$", ["a\n", "\u2028."], ["a", ""]),
        ("^(a|[])$", ["a"], ["", "b"]),
        (r"^\cJ[\cI\b]\0$", ["\n\t\0", "\n\b\0"], ["JI0", "\nb\0"]),
        (r"^\ud83d\uDE00$", ["\U0001f600"], ["", "\U0001f601"]),
        ("^[[a&&b~~]$", "[a&b~", ["[a", "c", "]"]),
        ("^[+--]$", "+,-", ["*", "."]),
        (r"^[^\s\-a][-a]$", ["x-", "\u00e9a"], ["--", "xb", " a"]),
        (r"^\s\S$", [" x", "\ufeffx", "\u2028x"], ["\x85x", "  ", "x "]),
    ],
)
def test_patterns_are_those_of_ecma_262(pattern: str, matched: Any, others: Any) -> None:
    for schema, form in (
        ({"type": "string", "pattern": pattern}, "{}"),
        (
            {"patternProperties": {pattern: {"const": 1}}, "additionalProperties": False},
            "{{{}: 1}}",
        ),
    ):
        for text in matched:
            assert verdict(schema, form.format(json.dumps(text, ensure_ascii=False))).is_accepted
        for text in others:
            written = form.format(json.dumps(text, ensure_ascii=False))
            assert not verdict(schema, written).is_accepted


@pytest.mark.parametrize(
    ("schema", "accepted", "refused"),
    [
        ({"type": "integer"}, ["0", "-12", "1000000000000000000"], ["1" * 20, "-" + "1" * 20]),
        ({"type": ["integer", "null"]}, ["null", "7"], ["1" * 20]),
        ({"type": "integer", "minimum": 5}, ["5", "999"], ["4", "1" * 20]),
        ({"type": "integer", "maximum": 5}, ["5", "-999"], ["6", "-" + "1" * 20]),
        ({"type": "integer", "multipleOf": 7}, ["14", "-7"], ["15", "7" * 20]),
        ({"type": "number"}, ["1" * 25, "1.5"], []),
        ({"type": ["integer", "number"]}, ["1" * 25, "1.5"], []),
        ({"type": "integer", "enum": [12]}, ["12"], ["1"]),
    ],
)
def test_integers_end(schema: Any, accepted: list[str], refused: list[str]) -> None:
    assert [verdict(schema, text).is_accepted for text in accepted] == [True] * len(accepted)
    assert [verdict(schema, text).is_accepted for text in refused] == [False] * len(refused)
