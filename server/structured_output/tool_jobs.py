"""What is computed about tools and their calls in confined processes.

A grammar names the control tokens of the vocabulary, which a confined process doesn't have. So the
functions get the marks that are known. Where other texts look like marks, the functions answer with
these, and are asked again.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import msgspec

from grammars import building
from grammars.constraint import LLGuidanceGrammar
from grammars.errors import GrammarError, WrongSchema
from grammars.json_schema.checker import check_schema
from grammars.relaxed import relaxed
from server.parsers.arguments import arguments_of, outline_of
from server.parsers.formats import FAMILIES
from server.parsers.syntax import CallSyntax
from server.structured_output.arguments_schema import arguments_schema
from server.structured_output.tool_grammar import AnswerGrammar, CallRules, ToolSignature

ANY_OBJECT_TEXT = '{"type":"object"}'

Marks = dict[str, int | None]
"""Texts that look like control tokens, each with its token if the vocabulary has one."""


class UnknownMarks(msgspec.Struct, frozen=True, tag="unknown"):
    """The marks that have to be looked up in the vocabulary first."""

    marks: list[str]


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """The part of a tool that can be enforced."""

    signature: ToolSignature


class ToolSource(msgspec.Struct, frozen=True):
    """A tool as the request describes it."""

    name: str
    parameters: str
    """As JSON."""
    is_strict: bool


class AnswerSource(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that may call tools, or follow a schema."""

    family: str
    """The name of the format of calls."""
    tools: list[ToolSignature] | None = None
    is_required: bool = False
    is_single: bool = False
    schema: str | None = None
    """Compact JSON."""
    lead: str = ""
    before_schema: str = ""


class _KnownMarks:
    """A vocabulary of the marks that are known. It notes the others."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self.unknown: set[str] = set()

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The token that the text spells."""
        if text not in self._marks:
            self.unknown.add(text)
        token = self._marks.get(text)
        return [] if token is None else [token]

    def piece(self, token: int, /) -> bytes:
        """The text of a control token."""
        return b""


def sign_tool(tool: ToolSource, family: str, marks: Marks) -> Signed | UnknownMarks:
    """The tool with the part of its schema that can be enforced. Raises `GrammarError`.

    With `is_strict`, a schema that can't be enforced is refused.
    """
    syntax = FAMILIES[family].syntax
    schema, places = _enforceable(tool.parameters, tool.is_strict)
    signature = ToolSignature(tool.name, schema, places)
    if syntax.parameters is None:
        return Signed(signature)  # was compiled as a whole
    known = _KnownMarks(marks)
    try:
        text = _written_alone(signature, syntax, known)
        if known.unknown:
            return UnknownMarks(sorted(known.unknown))
        building.build_lark(text)
        outline = json.dumps(outline_of(arguments_of(json.loads(schema))))
        return Signed(ToolSignature(tool.name, schema, places, outline))
    except GrammarError:
        if tool.is_strict:
            raise
        return Signed(any_arguments(tool.name))


def any_arguments(name: str) -> ToolSignature:
    """A tool whose arguments are left to the model."""
    return ToolSignature(name, ANY_OBJECT_TEXT, ("",))


def build_answer(source: AnswerSource, marks: Marks) -> LLGuidanceGrammar | UnknownMarks:
    """The constraint of an answer. Raises `GrammarError`."""
    calls = None
    if source.tools is not None:
        calls = CallRules(
            syntax=FAMILIES[source.family].syntax,
            tools=source.tools,
            is_required=source.is_required,
            is_single=source.is_single,
        )
    known = _KnownMarks(marks)
    text = AnswerGrammar(known).write(
        calls=calls,
        schema=source.schema,
        lead=source.lead,
        before_schema=source.before_schema,
    )
    if known.unknown:
        return UnknownMarks(sorted(known.unknown))
    return building.build_lark(text)


@functools.lru_cache(maxsize=8)  # the same tool comes again when its marks are known
def _enforceable(parameters: str, is_strict: bool) -> tuple[str, tuple[str, ...]]:
    """The compact schema of a tool's arguments, and the places of what is left out."""
    schema: dict[str, Any] = arguments_schema(json.loads(parameters))
    if schema["type"] != "object":
        raise WrongSchema("arguments are an object", "/type")
    if is_strict:
        return building.checked_schema(json.dumps(schema)), ()
    kept, places = relaxed(schema)
    return check_schema(kept), tuple(places)


def _written_alone(signature: ToolSignature, syntax: CallSyntax, known: _KnownMarks) -> str:
    rules = CallRules(syntax=syntax, tools=[signature], is_required=True)
    return AnswerGrammar(known).write(calls=rules)
