"""The arguments of a constrained call are valid for the tool's schema, in every format."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from grammars import compiler
from grammars.errors import GrammarError
from grammars.json_schema.checker import check_schema
from server.parsers import formats
from server.parsers.events import CallArguments, CallStarted
from server.parsers.formats import HERMES, ToolFormat
from server.structured_output.arguments_schema import arguments_schema
from server.structured_output.tool_grammar import AnswerGrammar, CallRules, ToolSignature
from tests.support.byte_vocabulary import Bytes
from tests.support.walks import UnfinishedWalk, random_answer

Schema = Any

FAMILIES = {
    family.name: family
    for family in (*formats._FAMILIES, HERMES)
    if family.syntax.parameters is not None or family is HERMES
}


def called(family: ToolFormat, schema: Schema, seed: int, size: int = 1) -> tuple[str, str]:
    """A random answer with one call, and the call's arguments as the parser reads them."""
    tools = [ToolSignature("f", check_schema(schema))]
    rules = CallRules(syntax=family.syntax, tools=tools, is_required=True, is_single=True)
    lark = AnswerGrammar(Bytes()).write(calls=rules)
    text = random_answer(lark, family, random.Random(seed))
    parser = family.make_parser({"f": json.loads(tools[0].schema)})
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    events = [*(event for piece in pieces for event in parser.feed(piece)), *parser.finish()]
    assert [event.name for event in events if isinstance(event, CallStarted)] == ["f"], text
    return text, "".join(event.text for event in events if isinstance(event, CallArguments))


def check(schema: Schema, text: str, arguments: str) -> Any:
    """The arguments as a value, which the jsonschema package finds valid."""
    try:
        value = json.loads(arguments)
        jsonschema.Draft202012Validator(
            schema, format_checker=jsonschema.FormatChecker(["date", "uuid", "ipv4"])
        ).validate(value)
    except ValueError as error:
        raise AssertionError((text, arguments)) from error
    return value


INTEGER: Schema = {"type": "integer", "minimum": 0, "maximum": 99}
A: Schema = {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]}
B: Schema = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
CASES: dict[str, tuple[Schema, set[str]]] = {
    "a reference": ({"$ref": "#/$defs/x", "$defs": {"x": A}}, {"a"}),
    "a chain of references": (
        {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/y"}, "y": B}},
        {"b"},
    ),
    "all of two": ({"allOf": [A, B]}, {"a", "b"}),
    "all of one, with own properties": ({**A, "allOf": [B]}, {"a", "b"}),
    "any of two": ({"anyOf": [A, B]}, set()),
    "one of two": (
        {
            "oneOf": [
                {"properties": {"k": {"const": "x"}, **A["properties"]}, "required": ["k", "a"]},
                {"properties": {"k": {"const": "y"}, **B["properties"]}, "required": ["k", "b"]},
            ]
        },
        {"k"},
    ),
    "a text here, a number there": (
        {
            "anyOf": [
                {"properties": {"v": INTEGER, "n": INTEGER}, "required": ["v", "n"]},
                {"properties": {"v": {"type": "string"}}, "required": ["v"]},
            ]
        },
        {"v"},
    ),
    "a map of texts": ({"additionalProperties": {"type": "string"}, "minProperties": 1}, set()),
    "a map of numbers": ({"additionalProperties": INTEGER, "minProperties": 1}, set()),
    "a map beside properties": ({**A, "additionalProperties": {"type": "string"}}, {"a"}),
    "a map of named kinds": (
        {"patternProperties": {"^s": {"type": "string"}, "^n": INTEGER}, "minProperties": 1},
        set(),
    ),
    "a map with a list of names": (
        {"propertyNames": {"enum": ["p", "q"]}, "additionalProperties": INTEGER},
        set(),
    ),
    "at least one": ({**A, "minProperties": 2, "additionalProperties": INTEGER}, {"a"}),
    "at most one": ({"maxProperties": 1, "additionalProperties": INTEGER}, set()),
    "an undeclared name": ({**A, "required": ["a", "z"]}, {"a", "z"}),
    "undeclared names alone": ({"required": ["y", "z"]}, {"y", "z"}),
    "a pattern and a length": (
        {"properties": {"a": {"type": "string", "pattern": "^[ab]*$", "maxLength": 3}},
         "required": ["a"]},
        {"a"},
    ),
    "a format and a length": (
        {"properties": {"a": {"type": "string", "format": "uuid", "maxLength": 40,
                              "pattern": "^[0-9]"}}, "required": ["a"]},
        {"a"},
    ),
    "a list and a length": (
        {"properties": {"a": {"type": "string", "enum": ["abcd", "ab", "x"], "maxLength": 2}},
         "required": ["a"]},
        {"a"},
    ),
    "a text and one of": (
        {"properties": {"a": {"type": "string", "oneOf": [{"const": "x"}, {"const": "yy"}]}},
         "required": ["a"]},
        {"a"},
    ),
    "a text and any of": (
        {"properties": {"a": {"type": "string", "anyOf": [{"pattern": "^a"}, {"maxLength": 1}]}},
         "required": ["a"]},
        {"a"},
    ),
    "a text and all of": (
        {"properties": {"a": {"type": "string", "allOf": [{"minLength": 2}, {"maxLength": 3}]}},
         "required": ["a"]},
        {"a"},
    ),
    "a text and a reference": (
        {"properties": {"a": {"type": "string", "$ref": "#/$defs/u"}}, "required": ["a"],
         "$defs": {"u": {"enum": ["C", "F", 3]}}},
        {"a"},
    ),
    "a reference to a property": (
        {"properties": {"a": INTEGER, "b": {"$ref": "#/properties/a"},
                        "c": {"$ref": "#/properties/d/items"},
                        "d": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}},
         "required": ["b", "c"]},
        {"b", "c"},
    ),
    "a tree": (
        {"properties": {"v": INTEGER, "next": {"$ref": "#"}}, "required": ["v"]},
        {"v"},
    ),
    "a list of itself": (
        {"properties": {"v": INTEGER, "l": {"type": "array", "items": {"$ref": "#"},
                                            "maxItems": 1}}, "required": ["v", "l"]},
        {"v", "l"},
    ),
    "an anchor": (
        {"properties": {"a": {"$ref": "#n"}}, "required": ["a"],
         "$defs": {"n": {"$anchor": "n", **INTEGER}}},
        {"a"},
    ),
    "names with marks": (
        {"properties": {name: {"type": "string"} for name in
                        ["a>b", " a", "a ", 'q"r', "<c>", "</d>", "e=f", "", "g\nh", "\n"]},
         "required": ["a>b", " a", "a ", 'q"r', "<c>", "</d>", "e=f", "", "g\nh", "\n"]},
        {"a>b", " a", "a ", 'q"r', "<c>", "</d>", "e=f", "", "g\nh", "\n"},
    ),
    "names that begin others": (
        {"properties": {"a": {"type": "string"}, "a>": {"type": "string"},
                        "a>x": {"enum": ["x", ">", "=b"]}, 'a">y': {"type": "string"},
                        "a>\nb": {"type": "string"}},
         "required": ["a", "a>", "a>x", "a>\nb"]},
        {"a", "a>", "a>x", "a>\nb"},
    ),
    "names that are words of Python": (
        {"properties": dict.fromkeys(["from", "in", "a-b", "$x", "é", "None"], INTEGER),
         "required": ["from", "in", "a-b", "$x", "é", "None"]},
        {"from", "in", "a-b", "$x", "é", "None"},
    ),
    "texts with line breaks around them": (
        {"properties": {"a": {"const": "\nx\n"}, "b": {"type": "string", "minLength": 1,
                                                      "maxLength": 2}},
         "required": ["a", "b"]},
        {"a", "b"},
    ),
    "texts in JSON": (
        {"properties": {"a": {"type": "array", "items": {"type": "string"}, "minItems": 2,
                              "maxItems": 3}}, "required": ["a"]},
        {"a"},
    ),
    "no parameters": ({"properties": {}}, set()),
    "a constant": ({"const": {"a": 1, "b": "x"}}, {"a", "b"}),
    "a property that is forbidden": (
        {"properties": {"a": INTEGER, "b": False}, "required": ["a"]},
        {"a"},
    ),
    "a property that nothing satisfies": (
        {"properties": {"a": INTEGER, "b": {"type": "string", "pattern": "^a{4}$",
                                            "maxLength": 2}}, "required": ["a"]},
        {"a"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FAMILIES)
def test_arguments_follow_the_schema(name: str, case: str) -> None:
    part, required = CASES[case]
    schema = arguments_schema(part)
    compiler.from_json_schema(schema)
    for seed in range(2):
        text, arguments = called(FAMILIES[name], schema, seed, size=1 + 6 * seed)
        assert check(schema, text, arguments).keys() >= required


names = st.sampled_from(
    ["a", "b", "a>b", " a", "x y", "a-b", "in", 'k"', "é", "a</b", "c=d", "a>", "a>x"]
)
texts = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 3),
        st.integers(0, 4),
    ),
    st.builds(
        lambda pattern, bound: {"type": "string", "pattern": pattern, "maxLength": bound},
        st.sampled_from(["^[ab]+$", "x", "^a|b$", "^(a|b.)*$", "[^a]$", "^.b"]),
        st.integers(2, 8),
    ),
    st.builds(
        lambda values, bound: {"type": "string", "enum": values, "maxLength": bound},
        st.lists(st.sampled_from(["a", "bb", "\nc", "d\n", "e/f", "</x>", 'g"', 1]), min_size=1),
        st.integers(1, 3),
    ),
    st.sampled_from(
        [
            {"type": "string", "format": "date"},
            {"type": "string", "format": "ipv4", "maxLength": 9},
            {"type": "string", "anyOf": [{"maxLength": 2}, {"pattern": "^a"}]},
            {"type": "string", "oneOf": [{"const": "a"}, {"const": "b"}]},
            {"type": "string", "allOf": [{"minLength": 1}, {"pattern": "^[ab]*$"}]},
            {"type": "string", "$ref": "#/$defs/unit"},
            {"$ref": "#/$defs/word"},
            {"const": "a b"},
            {"type": ["string"], "maxLength": 3},
        ]
    ),
)
values = st.one_of(
    texts,
    st.sampled_from(
        [
            {"type": "integer"},
            {"type": "number", "minimum": 0, "maximum": 9},
            {"type": "boolean"},
            {"enum": ["a", 1, None]},
            {"type": ["string", "null"], "maxLength": 4},
            {"type": "array", "items": {"type": "string"}, "maxItems": 2},
            {"$ref": "#/$defs/pair"},
            {"$ref": "#/$defs/unit"},
            {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
            {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
            {},
        ]
    ),
)
DEFINITIONS = {
    "unit": {"enum": ["C", "F", 3]},
    "word": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
    "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"$ref": "#/$defs/unit"}],
             "items": False, "minItems": 2},
}  # fmt: skip


@st.composite
def objects(draw: st.DrawFn) -> Schema:
    properties = draw(st.dictionaries(names, values, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    required += draw(st.sampled_from([[], [], [], ["z"]]))
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    others = draw(st.sampled_from([None, None, False, True, {"type": "string"}, INTEGER]))
    if others is not None and not (others is False and "z" in required):
        schema["additionalProperties"] = others
    if draw(st.integers(0, 4)) == 0 and {*required} >= {*properties}:
        schema["maxProperties"] = len(required) + draw(st.integers(0, 2))
    return schema


roots = st.one_of(
    objects(),
    objects().map(lambda schema: {"$ref": "#/$defs/root", "$defs": {"root": schema}}),
    st.tuples(objects(), objects()).map(lambda pair: {"allOf": [*pair]}),
    st.tuples(objects(), objects()).map(lambda pair: {"anyOf": [*pair]}),
    st.tuples(objects(), objects()).map(lambda pair: {**pair[0], "anyOf": [pair[1], {}]}),
    values.map(lambda schema: {"additionalProperties": schema}),
    st.tuples(values, values).map(
        lambda pair: {"patternProperties": {"^s": pair[0], "^n": pair[1]}}
    ),
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(root=roots, name=st.sampled_from(sorted(FAMILIES)), seed=st.integers(0, 1 << 32))
def test_generated_arguments_follow_the_schema(root: Schema, name: str, seed: int) -> None:
    definitions = {**DEFINITIONS, **root.get("$defs", {})}
    parameters = {**root, "$defs": definitions}
    schema = arguments_schema(parameters)
    try:
        compiler.from_json_schema(schema)
    except GrammarError as error:
        # The schema may be empty by chance, or count properties that aren't all required.
        assume(not re.search("nsatisfiable|infinite|min/maxProp|circular", error.message))
        raise
    try:
        text, arguments = called(FAMILIES[name], schema, seed)
    except UnfinishedWalk:
        reject()
    check(schema, text, arguments)
