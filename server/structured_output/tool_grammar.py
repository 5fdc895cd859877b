"""Writer of Lark grammars (llguidance's dialect) for answers that call tools or follow a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grammars.errors import GrammarError
from server.parsers.arguments import Arguments, arguments_of
from server.parsers.control_tokens import SpelledTokens, control_token
from server.parsers.syntax import BREAK, MARK, NAME, NUMBER, CallSyntax, ParameterSyntax
from server.structured_output.lark import escaped, regex
from server.structured_output.parameter_rules import ParameterRules

_PLACEHOLDERS = re.compile(f"({NUMBER}|{BREAK})")
_PATTERNS = {NUMBER: "/[0-9]+/", BREAK: r"/\n?/"}
_ANY_TEXT = "/(?s:.*)/"


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """A tool's name and the compact JSON Schema of its arguments."""

    name: str
    schema: str
    left_out: tuple[str, ...] = ()
    """The places of what the tool's own schema asks for and `schema` doesn't."""
    outline: str = "{}"
    """A small schema with the same parameters, for the parser of answers: see `outline_of`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """Which tools one answer may call, how many, and in which syntax."""

    syntax: CallSyntax
    tools: Sequence[ToolSignature]
    is_required: bool = False
    is_single: bool = False


class AnswerGrammar:
    """Writes one grammar. Markers that are control tokens appear in it as token ids."""

    def __init__(self, tokenizer: SpelledTokens) -> None:
        self._tokenizer = tokenizer
        self._rules: list[str] = []
        self._num_names = 0

    def write(
        self,
        *,
        calls: CallRules | None = None,
        schema: str | None = None,
        lead: str = "",
        before_schema: str = "",
    ) -> str:
        """The grammar of calls, of JSON for the `schema`, or of any text.

        The answer may begin with `lead`. JSON must begin with `before_schema`.
        """
        choices = []
        if calls is not None:
            choices.append(self._calls(calls, after_text=schema is None))
        if schema is not None:
            choices.append(self._rule("schema", f"{self.literal(before_schema)} %json {schema}"))
        elif calls is None or not calls.is_required:
            choices.append(self._rule("text", _ANY_TEXT))
        body = self._rule("body", " | ".join(choices))
        start = f"({self.literal(lead)})? {body}" if lead else body
        return "\n".join([f"start: {start}", *self._rules])

    def _calls(self, rules: CallRules, *, after_text: bool) -> str:
        syntax = rules.syntax
        one = self._rule("call", " | ".join(self._call(syntax, tool) for tool in rules.tools))
        some = one
        if syntax.separator is not None and not rules.is_single:
            some = f"{one} ({self.literal(syntax.separator)} {one})*"
        some = f"{some} {self.literal(syntax.closing)}"
        if rules.is_required or not after_text:
            return self._rule("calls", f"{self.literal(syntax.opening)} {some}")
        opening = first_mark(syntax)
        rest = syntax.opening[len(opening) :]
        return self._rule("calls", f"{self._until('lead', opening)} {self.literal(rest)} {some}")

    def _call(self, syntax: CallSyntax, tool: ToolSignature) -> str:
        before = self.literal(syntax.before.replace(NAME, tool.name))
        if syntax.parameters is None:
            arguments = f"%json {tool.schema}"
        else:
            arguments = self._parameters(syntax.parameters, arguments_of(json.loads(tool.schema)))
        return f"{before} {arguments} {self.literal(syntax.after)}"

    def _parameters(self, syntax: ParameterSyntax, arguments: Arguments) -> str:
        """One parameter after the other, in the schema's order."""
        rules = ParameterRules(self, syntax, arguments)
        found = [rule for shape in arguments.shapes if (rule := rules.of(shape)) is not None]
        if not found:
            raise GrammarError("no arguments can be written in the format of this model", "")
        return found[0] if len(found) == 1 else f"({' | '.join(map(self.named, found))})"

    def until(self, marker: str, text: str) -> str:
        """Text of a terminal, up to and including the marker's first occurrence."""
        return self._until(self._new_name(), marker, text)

    def _until(self, name: str, marker: str, text: str = _ANY_TEXT) -> str:
        for mark in MARK.finditer(marker):
            token = control_token(mark.group(), self._tokenizer)
            if token is not None:
                before = " ".join(_quoted(marker[: mark.start()]))
                body = self._without(name, f"{text} {before}", mark.group())
                return self._rule(name, f"{body} <[{token}]> {self.literal(marker[mark.end() :])}")
        first = MARK.search(marker)
        end = first.group() if first else marker
        is_simple = text == _ANY_TEXT and end == marker
        body = text if is_simple else self._without(name, text, end)
        self._rules.append(f"{name}[suffix={json.dumps(marker)}]: {body}")
        return name

    def _without(self, name: str, text: str, mark: str) -> str:
        """Text without the mark. A reader of the answer would end the text at the mark."""
        whole = text if text == _ANY_TEXT else self.terminal(text)
        without = regex(f"(?s:.*){escaped(mark)}(?s:.*)")
        return self._rule(name.upper(), f"{whole} & ~{without}")

    def terminal(self, body: str) -> str:
        """A terminal with a name of its own."""
        return self._rule(self._new_name().upper(), body)

    def named(self, body: str) -> str:
        return self._rule(self._new_name(), body)

    def _new_name(self) -> str:
        self._num_names += 1
        return f"part_{self._num_names}"

    def _rule(self, name: str, body: str) -> str:
        self._rules.append(f"{name}: {body}")
        return name

    def literal(self, text: str) -> str:
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


def first_mark(syntax: CallSyntax) -> str:
    """The marker that separates calls from the text before them."""
    match = MARK.match(syntax.opening)
    return match.group() if match else syntax.opening
