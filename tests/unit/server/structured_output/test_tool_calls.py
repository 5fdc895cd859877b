"""Tools and their calls, built through the sandbox: marks, outlines, and the bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from confined.child import Died, TooSlow
from confined.prepared import Question
from grammars import compiler
from grammars.sandbox import sandbox
from server.chat.request import ChatRequest
from server.chat.signatures import MAX_COSTLY, tool_signatures
from server.errors import InvalidRequest
from server.parsers.arguments import arguments_of, declared_arguments, outline_of
from server.parsers.formats import FAMILIES, HERMES, QWEN_CODER
from server.structured_output.tool_calls import ToolCalls
from server.structured_output.tool_grammar import AnswerGrammar, CallRules, ToolSignature
from server.structured_output.tool_jobs import AnswerSource, ToolSource
from tests.support.byte_vocabulary import Bytes

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


@pytest.mark.parametrize("has_control", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_constraint_is_that_of_the_grammar(name: str, has_control: bool) -> None:
    family = FAMILIES[name]
    vocabulary = Bytes(*sorted(set(family.syntax.marks()))) if has_control else Bytes()
    calls = ToolCalls(family, vocabulary)
    tools = [
        calls.signature(ToolSource(name, json.dumps(PARAMETERS), is_strict))
        for name, is_strict in (("a", True), ("b", False))
    ]
    found = calls.constraint(AnswerSource(family=name, tools=tools, is_required=True))
    rules = CallRules(syntax=family.syntax, tools=tools, is_required=True)
    assert found == compiler.from_lark(AnswerGrammar(vocabulary).write(calls=rules))


@pytest.mark.parametrize(
    "schema",
    [
        PARAMETERS,
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": True}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
        {
            "anyOf": [
                {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
                {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
            ]
        },
        {"properties": {"a": {"$ref": "#/$defs/t"}}, "$defs": {"t": {"enum": ["x", "y"]}}},
    ],
)
def test_an_outline_has_the_same_parameters(schema: dict[str, Any]) -> None:
    whole = arguments_of(schema)
    outline = declared_arguments(outline_of(whole))
    assert outline.names == whole.names
    for name in [*whole.names, "another"]:
        assert outline.is_text(name) == whole.is_text(name)


@pytest.mark.parametrize(
    "name", ["<weird>", "[ARGS]", "<|im_start|>", "</parameter>", "<tool_call>"]
)
def test_names_that_look_like_control_tokens(name: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    calls = ToolCalls(QWEN_CODER, Bytes())
    tool = calls.signature(ToolSource("f", json.dumps(schema), False))
    assert tool.left_out == ()
    calls.constraint(AnswerSource(family=QWEN_CODER.name, tools=[tool], is_required=True))


def request(num_tools: int, *, strict: bool = False) -> ChatRequest:
    tools = [
        {"type": "function", "function": {"name": f"f{i}", "strict": strict, "parameters": {}}}
        for i in range(num_tools)
    ]
    return ChatRequest.model_validate(
        {"messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    )


@pytest.mark.parametrize("breach", [TooSlow(), Died()])
def test_tools_that_cost_too_much(monkeypatch: pytest.MonkeyPatch, breach: Exception) -> None:
    asked = []

    def ask(question: Question) -> bytes:
        asked.append(question)
        raise breach

    monkeypatch.setattr(sandbox.pool, "ask", ask)
    monkeypatch.setattr(sandbox.memo, "get", lambda key: None)
    calls = ToolCalls(HERMES, Bytes())
    anything = [ToolSignature(f"f{i}", '{"type":"object"}', ("",)) for i in range(MAX_COSTLY)]
    assert tool_signatures(request(MAX_COSTLY), calls) == anything
    asked.clear()
    with pytest.raises(InvalidRequest, match=rf"tools\.{MAX_COSTLY}\.function\.parameters"):
        tool_signatures(request(100), calls)
    assert len(asked) == MAX_COSTLY + 1
    with pytest.raises(InvalidRequest, match=r"tools\.0\.function\.parameters"):
        tool_signatures(request(1, strict=True), calls)
