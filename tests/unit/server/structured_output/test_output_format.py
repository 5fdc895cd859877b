"""Output formats: one for each body, whichever fields ask for one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from grammars import compiler
from server.chat.request import ChatRequest
from server.errors import InvalidRequest
from server.requests.body import parse_body
from server.requests.sampling_fields import SamplingFields
from server.requests.text_completion import TextCompletionRequest
from server.structured_output.compile import compile_request_format
from server.structured_output.output_format import ANY_OBJECT, PLAIN_TEXT, Kind, OutputFormat
from tests.support.fake_server import make_server

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WRAPPED = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
USER = [{"role": "user", "content": "x"}]


def native(**body: Any) -> OutputFormat:
    return parse_body(msgspec.json.encode(body), SamplingFields).output_format()


def completion(**body: Any) -> OutputFormat:
    content = msgspec.json.encode({"prompt": "x", **body})
    return parse_body(content, TextCompletionRequest).output_format()


def chat(**body: Any) -> OutputFormat:
    content = msgspec.json.encode({"messages": USER, **body})
    return parse_body(content, ChatRequest).output_format()


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        ({}, Kind.TEXT, ""),
        ({"grammar": ""}, Kind.TEXT, ""),
        ({"grammar": 'root ::= "a"'}, Kind.GRAMMAR, "grammar"),
        ({"grammar": "uuid"}, Kind.NAMED_GRAMMAR, "grammar"),
        ({"json_schema": SCHEMA}, Kind.JSON_SCHEMA, "json_schema"),
        ({"structured_outputs": {"json": SCHEMA}}, Kind.JSON_SCHEMA, "structured_outputs.json"),
        (
            {"structured_outputs": {"json_object": True}},
            Kind.JSON_OBJECT,
            "structured_outputs.json_object",
        ),
        ({"structured_outputs": {"regex": "a"}}, Kind.REGEX, "structured_outputs.regex"),
        (
            {"structured_outputs": {"choice": ["a"], "regex": None}},
            Kind.CHOICE,
            "structured_outputs.choice",
        ),
    ],
)
def test_each_field_has_its_kind(body: dict[str, Any], kind: Kind, param: str) -> None:
    for read in (native, completion, chat):
        found = read(**body)
        assert (found.kind, found.param) == (kind, param)


@pytest.mark.parametrize(
    ("format_", "kind", "param"),
    [
        ({"type": "text"}, Kind.TEXT, ""),
        ({"type": "json_object"}, Kind.JSON_OBJECT, "response_format.schema"),
        ({"type": "json_object", "schema": SCHEMA}, Kind.JSON_SCHEMA, "response_format.schema"),
        (WRAPPED, Kind.JSON_SCHEMA, "response_format.json_schema.schema"),
    ],
)
def test_response_format(format_: Any, kind: Kind, param: str) -> None:
    for read in (completion, chat):
        found = read(response_format=format_)
        assert (found.kind, found.param) == (kind, param)


@pytest.mark.parametrize(
    ("body", "first", "second"),
    [
        ({"grammar": "uuid", "json_schema": {}}, "json_schema", "grammar"),
        (
            {"structured_outputs": {"regex": "a"}, "json_schema": {}},
            "structured_outputs",
            "json_schema",
        ),
        ({"response_format": WRAPPED, "grammar": "uuid"}, "response_format", "grammar"),
    ],
)
def test_two_formats_conflict(body: dict[str, Any], first: str, second: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{first}' or '{second}', not both") as caught:
        chat(**body)
    assert caught.value.param == second


def test_an_empty_schema_is_any_object_in_chats_alone() -> None:
    assert chat(json_schema={}).schema == ANY_OBJECT
    assert chat(json_schema={}).kind is Kind.JSON_OBJECT
    assert native(json_schema={}).kind is Kind.JSON_SCHEMA


def test_triggers_do_not_concern_response_format() -> None:
    triggers: Any = {"grammar_lazy": True, "grammar_triggers": [{"type": 1, "value": "<a>"}]}
    assert chat(response_format=WRAPPED, **triggers).triggers is None
    lazy = chat(json_schema=SCHEMA, **triggers)
    assert lazy.schema is None
    found = compile_request_format(lazy, make_server().context.tokenizer)
    assert found == compiler.lazy(compiler.from_json_schema(SCHEMA), words=("<a>",))


def test_plain_text_has_no_constraint() -> None:
    assert compile_request_format(PLAIN_TEXT, make_server().context.tokenizer) is None


@pytest.mark.parametrize(
    ("body", "param"),
    [({"json_schema": {"type": 5}}, "json_schema"), ({"json_schema": "x"}, "json_schema")],
)
def test_formats_that_cannot_be_compiled(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_request_format(native(**body), make_server().context.tokenizer)
    assert caught.value.param == param
