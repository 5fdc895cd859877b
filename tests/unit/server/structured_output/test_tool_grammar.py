# ruff: noqa: RUF001 - the markers of some models are made of full-width signs
"""Grammars of answers accept each format's calls with valid arguments, and nothing else."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from grammars import compiler
from grammars.constraint import LLGuidanceGrammar
from grammars.json_schema.checker import check_schema
from server.parsers import formats
from server.parsers.control_tokens import control_token, control_tokens
from server.parsers.events import CallArguments, CallStarted
from server.parsers.formats import GENERIC, HERMES, ToolFormat
from server.structured_output.tool_grammar import AnswerGrammar, CallRules, ToolSignature
from tests.support.byte_vocabulary import Bytes
from tests.support.steps import count_steps
from tests.support.walks import random_answer

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["C", "F"], "type": "string"},
    },
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [
    ToolSignature("get_weather", check_schema(WEATHER)),
    ToolSignature("get_time", check_schema({"type": "object"})),
]
ROME = ("get_weather", '{"city": "Rome", "days": 3, "unit": "C"}')
TIME = ("get_time", "{}")


def accepts(lark: str, text: str) -> bool:
    constraint = compiler.from_lark(lark)
    assert isinstance(constraint, LLGuidanceGrammar)
    matcher = LLMatcher(LLTokenizer("byte"), constraint.definition)
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


def grammar(family: ToolFormat, *, schema: str | None = None, **rules: Any) -> str:
    calls = CallRules(syntax=family.syntax, tools=TOOLS, **rules)
    return AnswerGrammar(Bytes()).write(calls=calls, schema=schema)


def written(family: ToolFormat, *calls: tuple[str, str]) -> str:
    return family.syntax.write(calls)


FAMILIES = {family.name: family for family in (*formats._FAMILIES, GENERIC)}
JSON_FAMILIES = [name for name, family in FAMILIES.items() if not family.syntax.parameters]


@pytest.mark.parametrize("name", JSON_FAMILIES)
def test_required_calls(name: str) -> None:
    family = FAMILIES[name]
    lark = grammar(family, is_required=True)
    text = written(family, ROME)
    assert accepts(lark, text)
    assert accepts(lark, written(family, TIME))
    assert not accepts(lark, "No.")
    assert not accepts(lark, text.replace("Rome", 'Rome", "x": "'))
    assert not accepts(lark, text.replace("get_weather", "get_lost"))
    assert not accepts(lark, text.replace('"city"', '"town"'))


@pytest.mark.parametrize("name", JSON_FAMILIES)
def test_number_of_calls(name: str) -> None:
    family = FAMILIES[name]
    two = written(family, ROME, TIME)
    can_hold_two = family.syntax.separator is not None
    assert accepts(grammar(family, is_required=True), two) is can_hold_two
    assert not accepts(grammar(family, is_required=True, is_single=True), two)


@pytest.mark.parametrize(
    "name",
    [name for name in JSON_FAMILIES if not FAMILIES[name].syntax.is_bare],
)
def test_calls_after_text(name: str) -> None:
    family = FAMILIES[name]
    lark = grammar(family)
    assert accepts(lark, "Any text, even {braces} and <b>marks</b>.")
    assert accepts(lark, "Let me see.\n" + written(family, ROME))
    assert not accepts(lark, written(family, ROME).replace('"city"', '"town"'))


PARAMETERS = {
    "qwen-coder": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n"
        "<parameter=days>\n3\n</parameter>\n<parameter=unit>\nC\n</parameter>\n"
        "</function>\n</tool_call>"
    ),
    "seed": (
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Rome</parameter>\n"
        "<parameter=days>3</parameter>\n<parameter=unit>C</parameter>\n"
        "</function>\n</seed:tool_call>"
    ),
    "minimax-m2": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n'
        '<parameter name="city">Rome</parameter>\n'
        '<parameter name="days">3</parameter>\n<parameter name="unit">C</parameter>\n'
        "</invoke>\n</minimax:tool_call>"
    ),
    "minicpm": (
        '<function name="get_weather"><param name="city">Rome</param>'
        '<param name="days">3</param><param name="unit">C</param></function>'
    ),
    "hunyuan": (
        "<tool_calls:opensource>\n<tool_call:opensource>get_weather<tool_sep:opensource>\n"
        "<arg_key:opensource>city</arg_key:opensource>\n"
        "<arg_value:opensource>Rome</arg_value:opensource>\n"
        "<arg_key:opensource>days</arg_key:opensource>\n"
        "<arg_value:opensource>3</arg_value:opensource>\n"
        "<arg_key:opensource>unit</arg_key:opensource>\n"
        "<arg_value:opensource>C</arg_value:opensource>\n"
        "</tool_call:opensource>\n</tool_calls:opensource>"
    ),
    "dsml-function-calls": (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_weather">\n'
        '<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="unit" string="true">C</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
    ),
    "gemma": (
        '<|tool_call>call:get_weather{city:<|"|>Rome<|"|>,days:3,unit:<|"|>C<|"|>}<tool_call|>'
    ),
    "glm": (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n"
        "<arg_key>unit</arg_key>\n<arg_value>C</arg_value>\n</tool_call>"
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    text = PARAMETERS[name]
    for lark in (grammar(FAMILIES[name], is_required=True), grammar(FAMILIES[name])):
        assert accepts(lark, text)
        assert accepts(lark, text.replace("Rome", "New\nYork </b>"))
        assert not accepts(lark, text.replace("3", "three"))
        assert not accepts(lark, re.sub(r"\bC(?=[<\n])", "K", text))
        assert not accepts(lark, text.replace("city", "town"))
        assert not accepts(lark, text.replace("get_weather", "get_lost"))


def test_line_breaks_that_only_some_models_write() -> None:
    lark = grammar(FAMILIES["glm"], is_required=True)
    assert accepts(lark, PARAMETERS["glm"].replace("\n", ""))


def test_optional_parameters_may_be_left_out() -> None:
    lark = grammar(FAMILIES["seed"], is_required=True)
    head, _, rest = PARAMETERS["seed"].partition("<parameter=days>")
    assert accepts(lark, head + rest.partition("</parameter>\n")[2])
    head, _, rest = PARAMETERS["seed"].partition("<parameter=city>")
    assert not accepts(lark, head + rest.partition("</parameter>\n")[2])


def test_what_may_stand_before_an_answer_in_channels() -> None:
    schema = check_schema({"type": "integer"})
    lark = AnswerGrammar(Bytes()).write(schema=schema, lead="<next>", before_schema="<final>")
    assert accepts(lark, "<final>42")
    assert accepts(lark, "<next><final>42")
    assert not accepts(lark, "42")


@pytest.mark.parametrize("name", ["gemma", "pythonic"])
def test_separated_parameters_may_be_left_out(name: str) -> None:
    """Whichever are there, something stands between any two of them and nowhere else."""
    family = FAMILIES[name]
    schema = {
        "type": "object",
        "properties": {key: {"type": "integer"} for key in "abc"},
        "required": ["b"],
    }
    rules = CallRules(
        syntax=family.syntax, tools=[ToolSignature("f", check_schema(schema))], is_required=True
    )
    lark = AnswerGrammar(Bytes()).write(calls=rules)
    around, is_ = {
        "gemma": ("<|tool_call>call:f{|}<tool_call|>", ":"),
        "pythonic": ("<|tool_call_start|>[f(|)]<|tool_call_end|>", "="),
    }[name]
    opening, _, closing = around.rpartition("|}") if name == "gemma" else around.rpartition("|)")
    closing = ("}" if name == "gemma" else ")") + closing
    comma = family.syntax.parameters.separator if family.syntax.parameters else ""
    for keys in ("b", "ab", "bc", "abc"):
        assert accepts(lark, opening + comma.join(f"{key}{is_}1" for key in keys) + closing)
    for wrong in ("", f"a{is_}1", f"b{is_}1{comma}", f"{comma}b{is_}1", f"b{is_}1c{is_}1"):
        assert not accepts(lark, opening + wrong + closing)


@pytest.mark.parametrize(
    ("pattern", "text", "is_accepted"),
    [
        ("^a.b$", "a-b", True),
        ("^a.b$", "a\rb", False),
        ("^a.b$", "a\u2029b", False),
        (r"^\w$", "\u00e9", False),
        (r"^\d+$", "\u0663", False),
        ("x.y", "..x\ny..x y", True),
        ("x.y", "..x\u2028y", False),
    ],
)
def test_patterns_of_plain_texts_are_those_of_ecma_262(
    pattern: str, text: str, is_accepted: bool
) -> None:
    city = {"type": "string", "pattern": pattern}
    schema = check_schema({"type": "object", "properties": {"city": city}, "required": ["city"]})
    syntax = FAMILIES["minicpm"].syntax
    calls = CallRules(syntax=syntax, tools=[ToolSignature("f", schema)], is_required=True)
    lark = AnswerGrammar(Bytes()).write(calls=calls)
    answer = f'<function name="f"><param name="city">{text}</param></function>'
    assert accepts(lark, answer) is is_accepted


RICH = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "short": {"type": "string", "minLength": 2, "maxLength": 5},
        "code": {"type": "string", "pattern": "^[A-Z]{2}/[0-9]{2}$"},
        "part": {"type": "string", "pattern": "x+y"},
        "day": {"type": "string", "format": "date"},
        "id": {"type": "string", "format": "uuid"},
        "mail": {"type": "string", "format": "email"},
        "kind": {"enum": ["a b", "c/d"]},
        "mixed": {"enum": ["a", 1, None]},
        "always": {"const": "this"},
        "count": {"type": "integer", "minimum": 3, "maximum": 40},
        "maybe": {"type": ["string", "null"], "maxLength": 4},
        "flag": {"type": "boolean"},
        "list": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "deep": {
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/number"}, "y": {"type": "string"}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
    "required": ["text", "code", "kind", "deep", "day", "always"],
    "additionalProperties": False,
    "$defs": {"number": {"type": "number", "minimum": 0, "maximum": 9}},
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FAMILIES)
def test_whatever_the_grammar_allows_is_read_as_a_valid_call(name: str, seed: int) -> None:
    family = FAMILIES[name]
    tools = [ToolSignature("do.it-1", check_schema(RICH))]
    rules = CallRules(syntax=family.syntax, tools=tools, is_required=True, is_single=True)
    text = random_answer(AnswerGrammar(Bytes()).write(calls=rules), family, random.Random(seed))
    parser = family.make_parser({"do.it-1": RICH})
    events = [*(event for char in text for event in parser.feed(char)), *parser.finish()]
    names = [event.name for event in events if isinstance(event, CallStarted)]
    assert names == ["do.it-1"], text
    written = "".join(event.text for event in events if isinstance(event, CallArguments))
    checker = jsonschema.Draft202012Validator(RICH, format_checker=jsonschema.FormatChecker())
    checker.validate(json.loads(written))


def test_schema_or_calls() -> None:
    lark = grammar(HERMES, schema=check_schema({"type": "integer"}))
    assert accepts(lark, "42")
    assert accepts(lark, written(HERMES, ROME))
    assert not accepts(lark, "forty-two")


def test_control_tokens_are_named_by_their_ids() -> None:
    tokenizer = Bytes("<tool_call>", "</tool_call>")
    calls = CallRules(syntax=HERMES.syntax, tools=TOOLS)
    lark = AnswerGrammar(tokenizer).write(calls=calls)
    assert "<[256]>" in lark
    assert "<[257]>" in lark
    assert '"<tool_call>' not in lark


def test_control_tokens_of_a_vocabulary() -> None:
    tokenizer = Bytes("<|x|>")
    assert control_token("<|x|>", tokenizer) == 256
    assert control_token("<|y|>", tokenizer) is None
    assert control_token("y", tokenizer) is None
    assert control_tokens(["<|x|>", "<|y|>"], tokenizer) == {256}


def test_an_example_for_the_prompt() -> None:
    example = written(GENERIC, ("f", '{"a": 1}'))
    assert json.loads(example) == {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}


def strangers(size: int) -> list[str]:
    return [f"name_{number}" for number in range(size)]


NAMES: dict[str, Callable[[int], list[str]]] = {
    "strangers": strangers,
    "siblings": lambda size: ["a", *(f'a">{number}' for number in range(size))],
    "a chain": lambda size: ["a" + '">a' * number for number in range(size)],
}


def many_texts(names: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def many_choices(names: list[str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "enum": ["a", "b"]} for name in names}
    properties[names[0]] = {"type": "string", "enum": names}
    return {"type": "object", "properties": properties, "required": names}


@pytest.mark.parametrize("make", [many_texts, many_choices])
@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("name", ["minimax-m2", "qwen-coder", "gemma"])
def test_many_parameters_take_linear_time(
    name: str,
    family: str,
    make: Callable[[list[str]], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = "server.structured_output.parameter_rules"
    monkeypatch.setattr(f"{rules}._is_possible", lambda schema: True)  # another process tells that
    syntax = FAMILIES[name].syntax

    def steps(size: int) -> int:
        tool = ToolSignature("f", json.dumps(make(NAMES[family](size))))
        calls = CallRules(syntax=syntax, tools=[tool], is_required=True)
        return count_steps(lambda: AnswerGrammar(Bytes()).write(calls=calls))

    assert steps(300) < 2.6 * steps(150)
