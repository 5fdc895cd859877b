"""Lark grammars (llguidance's dialect) for answers that think, call tools or follow a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.reasoning import ReasoningMarkers
from server.tokenizer import Tokenizer
from server.tool_calls.syntax import NAME, NUMBER, CallSyntax

_MARK_LIKE = re.compile(r"(<[^<>\s]+>|\[/?[A-Z_]+\])")
"""What a control token may look like in a literal."""

_ANY_TEXT = "/(?s:.*)/"
_BREAK = r"/\n{0,2}/"


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
    """Thinking that may come first (`is_open`: that the prompt has begun)."""

    markers: ReasoningMarkers
    is_open: bool


class AnswerGrammar:
    """Writes one grammar; markers that are control tokens are named by their ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []

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
            choices.append(self._rule("schema", f"%json {schema}"))
        elif calls is None or not calls.is_required:
            choices.append(self._rule("text", _ANY_TEXT))
        body = self._rule("body", " | ".join(choices))
        start = f"{self._thinking(thinking)} {body}" if thinking else body
        return "\n".join([f"start: {start}", *self._rules])

    def _thinking(self, rules: ThinkingRules) -> str:
        end = self._until("thought", rules.markers.closing)
        if rules.is_open:
            return f"{end} {_BREAK}"
        thinking = f"{self._literal(rules.markers.opening)} {end} {_BREAK}"
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
        opening, rest = _first_mark(syntax.opening)
        return self._rule("calls", f"{self._until('lead', opening)} {self._literal(rest)} {some}")

    def _call(self, syntax: CallSyntax, tool: ToolSignature) -> str:
        before = self._literal(syntax.before.replace(NAME, tool.name))
        return f"{before} %json {tool.schema} {self._literal(syntax.after)}"

    def _until(self, name: str, marker: str) -> str:
        """Any text up to the marker's first occurrence, the marker included."""
        token = self._control_token(marker)
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
        for part in _MARK_LIKE.split(text):
            token = self._control_token(part) if _MARK_LIKE.fullmatch(part) else None
            if token is None:
                run += part
                continue
            yield from _quoted(run)
            run = ""
            yield f"<[{token}]>"
        yield from _quoted(run)

    def _control_token(self, text: str) -> int | None:
        """The id of the control token that is spelled like `text`, if there is one."""
        tokens = self._tokenizer.tokenize(text, add_special=False, parse_special=True)
        if len(tokens) != 1 or self._tokenizer.piece(tokens[0]):
            return None
        return tokens[0]


def _quoted(text: str) -> Iterable[str]:
    for index, part in enumerate(text.split(NUMBER)):
        if index:
            yield "/[0-9]+/"
        if part:
            yield json.dumps(part, ensure_ascii=False)


def _first_mark(opening: str) -> tuple[str, str]:
    """The opening's first marker and what follows it: text ends at the former."""
    match = _MARK_LIKE.match(opening)
    return (match.group(), opening[match.end() :]) if match else (opening, "")
