"""Lark grammars (llguidance's dialect) for answers that think, call tools or follow a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from server.reasoning import ReasoningMarkers
from server.tokenizer import Tokenizer
from server.tool_calls.control_tokens import control_token
from server.tool_calls.syntax import (
    BREAK,
    KEY,
    MARK,
    NAME,
    NUMBER,
    CallSyntax,
    ParameterSyntax,
)

_PLACEHOLDERS = re.compile(f"({NUMBER}|{BREAK})")
_PATTERNS = {NUMBER: "/[0-9]+/", BREAK: r"/\n?/"}
_ANY_TEXT = "/(?s:.*)/"


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """A tool's name and the compact JSON Schema of its arguments."""

    name: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """How tools may be called in one answer."""

    syntax: CallSyntax
    tools: Sequence[ToolSignature]
    is_required: bool = False
    is_single: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingRules:
    """Thinking that may come first."""

    markers: ReasoningMarkers
    is_open: bool
    """The prompt has begun it, so it must be ended."""
    after: str = BREAK * 2
    """What follows it."""
    before_text: str = ""
    """What opens an answer that is no call."""


class AnswerGrammar:
    """Writes one grammar; markers that are control tokens are named by their ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []
        self._num_parameters = 0

    def write(
        self,
        *,
        thinking: ThinkingRules | None = None,
        calls: CallRules | None = None,
        schema: str | None = None,
    ) -> str:
        """Thinking if any, then calls, or JSON for the `schema`, or any text."""
        choices = []
        if calls is not None:
            choices.append(self._calls(calls, after_text=schema is None))
        if schema is not None:
            before = self._literal(thinking.before_text) if thinking else ""
            choices.append(self._rule("schema", f"{before} %json {schema}"))
        elif calls is None or not calls.is_required:
            choices.append(self._rule("text", _ANY_TEXT))
        body = self._rule("body", " | ".join(choices))
        start = f"{self._thinking(thinking)} {body}" if thinking else body
        return "\n".join([f"start: {start}", *self._rules])

    def _thinking(self, rules: ThinkingRules) -> str:
        end = self._until("thought", rules.markers.closing)
        after = self._literal(rules.after)
        if rules.is_open:
            return f"{end} {after}"
        thinking = f"{self._literal(rules.markers.opening)} {end} {after}"
        return self._rule("thinking", thinking) + "?"

    def _calls(self, rules: CallRules, *, after_text: bool) -> str:
        syntax = rules.syntax
        one = self._rule("call", " | ".join(self._call(syntax, tool) for tool in rules.tools))
        some = one
        if syntax.separator is not None and not rules.is_single:
            some = f"{one} ({self._literal(syntax.separator)} {one})*"
        some = f"{some} {self._literal(syntax.closing)}"
        if rules.is_required or not after_text:
            return self._rule("calls", f"{self._literal(syntax.opening)} {some}")
        opening = first_mark(syntax)
        rest = syntax.opening[len(opening) :]
        return self._rule("calls", f"{self._until('lead', opening)} {self._literal(rest)} {some}")

    def _call(self, syntax: CallSyntax, tool: ToolSignature) -> str:
        before = self._literal(syntax.before.replace(NAME, tool.name))
        if syntax.parameters is None:
            arguments = f"%json {tool.schema}"
        else:
            arguments = self._parameters(syntax.parameters, json.loads(tool.schema))
        return f"{before} {arguments} {self._literal(syntax.after)}"

    def _parameters(self, syntax: ParameterSyntax, schema: dict[str, Any]) -> str:
        """The properties of a schema in its order; those that aren't required may be left out."""
        required = schema.get("required", ())
        parts = []
        for key, property_ in schema.get("properties", {}).items():
            rule = self._parameter(syntax, key, property_, schema)
            parts.append(rule if key in required else rule + "?")
        return " ".join(parts)

    def _parameter(
        self, syntax: ParameterSyntax, key: str, property_: Any, schema: dict[str, Any]
    ) -> str:
        before = self._literal(syntax.before.replace(KEY, key))
        self._num_parameters += 1
        name = f"parameter_{self._num_parameters}"
        if _is_free_text(property_):
            mark = MARK.search(syntax.after)
            end = mark.end() if mark else len(syntax.after)
            value = self._until(f"{name}_text", syntax.after[:end])
            return self._rule(name, f"{before} {value} {self._literal(syntax.after[end:])}")
        value = _value(property_, schema)
        return self._rule(name, f"{before} ({value}) {self._literal(syntax.after)}")

    def _until(self, name: str, marker: str) -> str:
        """Any text up to the marker's first occurrence, the marker included."""
        token = control_token(marker, self._tokenizer)
        if token is not None:
            return self._rule(name, f"{_ANY_TEXT} <[{token}]>")
        self._rules.append(f"{name}[suffix={json.dumps(marker)}]: {_ANY_TEXT}")
        return name

    def _rule(self, name: str, body: str) -> str:
        self._rules.append(f"{name}: {body}")
        return name

    def _literal(self, text: str) -> str:
        return " ".join(self._pieces(text))

    def _pieces(self, text: str) -> Iterable[str]:
        run = ""
        for part in MARK.split(text):
            token = control_token(part, self._tokenizer) if MARK.fullmatch(part) else None
            if token is None:
                run += part
                continue
            yield from _quoted(run)
            run = ""
            yield f"<[{token}]>"
        yield from _quoted(run)


def _quoted(text: str) -> Iterable[str]:
    for part in _PLACEHOLDERS.split(text):
        if part in _PATTERNS:
            yield _PATTERNS[part]
        elif part:
            yield json.dumps(part, ensure_ascii=False)


def _is_free_text(property_: Any) -> bool:
    """Whether a parameter is any text, written without quotes."""
    if not isinstance(property_, dict) or property_.get("type") != "string":
        return False
    return not ({"enum", "const", "pattern"} & property_.keys())


def _value(property_: Any, schema: dict[str, Any]) -> str:
    """What stands for a parameter: plain text of a kind, or JSON."""
    if isinstance(property_, dict) and property_.get("type") == "string":
        if "pattern" in property_:
            return "/" + str(property_["pattern"]).strip("^$").replace("/", "\\/") + "/"
        choices = property_["enum"] if "enum" in property_ else [property_["const"]]
        return " | ".join(json.dumps(str(choice), ensure_ascii=False) for choice in choices)
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    guidance = {"x-guidance": schema["x-guidance"]} if "x-guidance" in schema else {}
    base = property_ if isinstance(property_, dict) else {}
    return "%json " + json.dumps({**definitions, **guidance, **base})


def first_mark(syntax: CallSyntax) -> str:
    """The marker by which calls are told from the text before them."""
    match = MARK.match(syntax.opening)
    return match.group() if match else syntax.opening
