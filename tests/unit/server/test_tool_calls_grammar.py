"""Grammars of answers accept what each format writes, with valid arguments, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from grammars import compiler
from grammars.constraint import LLGuidanceGrammar
from grammars.json_schema import check_schema
from server.reasoning import ReasoningMarkers
from server.tool_calls import formats
from server.tool_calls.control_tokens import control_token, control_tokens
from server.tool_calls.formats import GENERIC, HERMES, ToolFormat
from server.tool_calls.grammar import AnswerGrammar, CallRules, ThinkingRules, ToolSignature

THINK = ReasoningMarkers("<think>", "</think>")
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


class Bytes:
    """A vocabulary of bytes and, if asked for, control tokens."""

    n_vocab = 256
    bos: int | None = None
    eos: int | None = None
    end_tokens: frozenset[int] = frozenset()

    def __init__(self, *control: str) -> None:
        self._control = control

    def metadata(self, key: str) -> str | None:
        return None

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if parse_special and text in self._control:
            return [256 + self._control.index(text)]
        return list(text.encode())

    def piece(self, token: int, *, special: bool = False) -> bytes:
        if token < 256:
            return bytes([token])
        return self._control[token - 256].encode() if special else b""


def accepts(lark: str, text: str) -> bool:
    constraint = compiler.from_lark(lark)
    assert isinstance(constraint, LLGuidanceGrammar)
    matcher = LLMatcher(LLTokenizer("byte"), constraint.definition)
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


def grammar(family: ToolFormat, *, schema: str | None = None, **rules: Any) -> str:
    assert family.syntax is not None
    thinking = rules.pop("thinking", None)
    calls = CallRules(syntax=family.syntax, tools=TOOLS, **rules)
    return AnswerGrammar(Bytes()).write(thinking=thinking, calls=calls, schema=schema)


def written(family: ToolFormat, *calls: tuple[str, str]) -> str:
    assert family.syntax is not None
    return family.syntax.write(calls)


FAMILIES = {family.name: family for family in (*formats._FAMILIES, GENERIC)}
JSON_FAMILIES = [
    name for name, family in FAMILIES.items() if family.syntax and not family.syntax.parameters
]


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
    assert family.syntax is not None
    two = written(family, ROME, TIME)
    can_hold_two = family.syntax.separator is not None
    assert accepts(grammar(family, is_required=True), two) is can_hold_two
    assert not accepts(grammar(family, is_required=True, is_single=True), two)


@pytest.mark.parametrize(
    "name",
    [name for name in JSON_FAMILIES if not FAMILIES[name].syntax.is_bare],  # type: ignore[union-attr]
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
        assert not accepts(lark, text.replace("C<", "K<").replace("C\n", "K\n"))
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


def test_thinking_comes_first() -> None:
    call = written(HERMES, ROME)
    open_ = ThinkingRules(markers=THINK, is_open=True)
    lark = grammar(HERMES, is_required=True, thinking=open_)
    assert accepts(lark, "Hm <tool_call>?</think>\n\n" + call)
    assert not accepts(lark, call)
    lark = grammar(HERMES, is_required=True, thinking=ThinkingRules(markers=THINK, is_open=False))
    assert accepts(lark, call)
    assert accepts(lark, "<think>Hm</think>" + call)
    assert not accepts(lark, "<think>Hm" + call)


def test_schema_after_thinking() -> None:
    schema = check_schema({"type": "integer"})
    thinking = ThinkingRules(markers=THINK, is_open=False)
    lark = AnswerGrammar(Bytes()).write(thinking=thinking, schema=schema)
    assert accepts(lark, "42")
    assert accepts(lark, "<think>forty-two</think>\n\n42")
    assert not accepts(lark, "forty-two")


def test_schema_or_calls() -> None:
    lark = grammar(HERMES, schema=check_schema({"type": "integer"}))
    assert accepts(lark, "42")
    assert accepts(lark, written(HERMES, ROME))
    assert not accepts(lark, "forty-two")


def test_control_tokens_are_named_by_their_ids() -> None:
    tokenizer = Bytes("<tool_call>", "</tool_call>", "</think>")
    assert HERMES.syntax is not None
    calls = CallRules(syntax=HERMES.syntax, tools=TOOLS)
    thinking = ThinkingRules(markers=THINK, is_open=True)
    lark = AnswerGrammar(tokenizer).write(thinking=thinking, calls=calls)
    assert "<[256]>" in lark
    assert "<[257]>" in lark
    assert "<[258]>" in lark
    assert "tool_call>" not in lark


def test_control_tokens_of_a_vocabulary() -> None:
    tokenizer = Bytes("<|x|>")
    assert control_token("<|x|>", tokenizer) == 256
    assert control_token("<|y|>", tokenizer) is None
    assert control_token("y", tokenizer) is None
    assert control_tokens(["<|x|>", "<|y|>"], tokenizer) == {256}


def test_an_example_for_the_prompt() -> None:
    example = written(GENERIC, ("f", '{"a": 1}'))
    assert json.loads(example) == {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
