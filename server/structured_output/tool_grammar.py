"""Writer of Lark grammars (llguidance's dialect) for answers that call tools or follow a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from server.model.tokenizer import Tokenizer
from server.parsers.control_tokens import control_token
from server.parsers.parameters import PLAIN_FORMATS, is_text
from server.parsers.syntax import BREAK, KEY, KIND, MARK, NAME, NUMBER, CallSyntax, ParameterSyntax

_PLACEHOLDERS = re.compile(f"({NUMBER}|{BREAK})")
_PATTERNS = {NUMBER: "/[0-9]+/", BREAK: r"/\n?/"}
_ANY_TEXT = "(?s:.*)"


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """A tool's name and the compact JSON Schema of its arguments."""

    name: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """Which tools one answer may call, how many, and in which syntax."""

    syntax: CallSyntax
    tools: Sequence[ToolSignature]
    is_required: bool = False
    is_single: bool = False


class AnswerGrammar:
    """Writes one grammar. Markers that are control tokens appear in it as token ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
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
            choices.append(self._rule("schema", f"{self._literal(before_schema)} %json {schema}"))
        elif calls is None or not calls.is_required:
            choices.append(self._rule("text", _regex(_ANY_TEXT)))
        body = self._rule("body", " | ".join(choices))
        start = f"({self._literal(lead)})? {body}" if lead else body
        return "\n".join([f"start: {start}", *self._rules])

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
        """The properties of a schema, in its order. Optional properties may be left out."""
        required = schema.get("required", ())
        parts = [
            (self._parameter(syntax, key, property_, schema), key in required)
            for key, property_ in schema.get("properties", {}).items()
        ]
        if not syntax.separator:
            return " ".join(rule if is_required else rule + "?" for rule, is_required in parts)
        return self._separated(parts, self._literal(syntax.separator))

    def _separated(self, parts: Sequence[tuple[str, bool]], separator: str) -> str:
        """Rules in their order, with the separator between two. Optional rules may be left out.

        The rules are written from the last to the first. `rest` is what may follow the current
        rule. `all_` is what may stand from the current rule on.
        """
        rest = all_ = '""'
        for rule, is_required in reversed(parts):
            first = f"{rule} {rest}"
            all_ = self._named(first if is_required else f"{first} | {all_}")
            rest = self._named(f"{separator} {first}" + ("" if is_required else f" | {rest}"))
        return all_

    def _parameter(
        self, syntax: ParameterSyntax, key: str, property_: Any, schema: dict[str, Any]
    ) -> str:
        is_plain = is_text(property_) and syntax.quote is not None
        kind = "true" if is_plain else "false"
        before = self._literal(syntax.before.replace(KEY, key).replace(KIND, kind))
        if not is_plain:
            return self._named(f"{before} {_json(property_, schema)} {self._literal(syntax.after)}")
        quote = syntax.quote or ""
        after = quote + syntax.after
        choices = _choices(property_)
        if choices is not None:
            value = f"({choices}) {self._literal(after)}"
        else:
            mark = MARK.search(after)
            end = mark.end() if mark else len(after)
            text = self._until(self._new_name(), after[:end], _text_pattern(property_))
            value = f"{text} {self._literal(after[end:])}"
        return self._named(f"{before} {self._literal(quote)} {value}")

    def _until(self, name: str, marker: str, text: str = _ANY_TEXT) -> str:
        """Text that matches a pattern, up to and including the marker's first occurrence."""
        for mark in MARK.finditer(marker):
            token = control_token(mark.group(), self._tokenizer)
            if token is not None:
                body = self._without(name, text + _escaped(marker[: mark.start()]), mark.group())
                rest = self._literal(marker[mark.end() :])
                return self._rule(name, f"{body} <[{token}]> {rest}")
        first = MARK.search(marker)
        end = first.group() if first else marker
        is_simple = text == _ANY_TEXT and end == marker
        body = _regex(text) if is_simple else self._without(name, text, end)
        self._rules.append(f"{name}[suffix={json.dumps(marker)}]: {body}")
        return name

    def _without(self, name: str, text: str, mark: str) -> str:
        """Text without the mark. A reader of the answer would end the text at the mark."""
        without = _regex(_ANY_TEXT + _escaped(mark) + _ANY_TEXT)
        return self._rule(name.upper(), f"{_regex(text)} & ~{without}")

    def _named(self, body: str) -> str:
        return self._rule(self._new_name(), body)

    def _new_name(self) -> str:
        self._num_names += 1
        return f"part_{self._num_names}"

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


def _regex(pattern: str) -> str:
    return "/" + re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern) + "/"


def _escaped(text: str) -> str:
    """A pattern that matches this text, on one line."""
    return re.escape(text).replace("\\\n", "\\n")


def _choices(property_: dict[str, Any]) -> str | None:
    """The texts that a parameter may have, if the schema lists them."""
    choices = property_["enum"] if "enum" in property_ else [property_.get("const")]
    if not all(isinstance(choice, str) for choice in choices):
        return None
    return " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def _text_pattern(property_: dict[str, Any]) -> str:
    """The pattern that a plainly written text has to match as a whole, line breaks included."""
    if "pattern" in property_:
        return _whole(property_["pattern"])
    if property_.get("format") in PLAIN_FORMATS:
        return PLAIN_FORMATS[property_["format"]]
    low, high = property_.get("minLength", 0), property_.get("maxLength", "")
    return f"(?s:.{{{low},{high}}})" if low or high != "" else _ANY_TEXT


def _whole(pattern: str) -> str:
    """A pattern that matches a whole text, from a pattern that is searched in a text."""
    begins, ends = pattern.startswith("^"), re.search(r"(?<!\\)(\\\\)*\$$", pattern) is not None
    body = pattern[begins : len(pattern) - ends]
    if ("^" in body or "$" in body) and "|" in body:
        return f"(?:{body})"  # llguidance reads the anchors of alternatives itself
    return ("" if begins else "(?s:.*)") + f"(?:{body})" + ("" if ends else "(?s:.*)")


def _json(property_: Any, schema: dict[str, Any]) -> str:
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    guidance = {"x-guidance": schema["x-guidance"]} if "x-guidance" in schema else {}
    base = property_ if isinstance(property_, dict) else {}
    return "%json " + json.dumps({**definitions, **guidance, **base})


def first_mark(syntax: CallSyntax) -> str:
    """The marker that separates calls from the text before them."""
    match = MARK.match(syntax.opening)
    return match.group() if match else syntax.opening
