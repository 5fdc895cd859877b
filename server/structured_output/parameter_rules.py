"""Writer of the grammar rules for arguments that are written parameter by parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grammars import compiler
from grammars.errors import GrammarError
from grammars.json_schema.references import Detacher
from grammars.json_schema.shapes import ObjectShape, OtherNames
from server.parsers.arguments import Arguments
from server.parsers.plain_texts import PLAIN_FORMATS, TextRules, text_rules
from server.parsers.sorted_texts import SortedTexts
from server.parsers.syntax import KEY, KIND, MARK, ParameterSyntax
from server.structured_output.lark import escaped, regex, whole

_WORD = r"""[^\s\x00-\x1f\x7f<>"'{}\[\],:=|\\/｜]{1,40}"""  # noqa: RUF001
_NAME = f"{_WORD}( {_WORD}){{0,3}}"
"""Names of parameters that the schema doesn't declare; every format can write them."""

_ANNOTATIONS = frozenset({"type", "title", "description", "default", "examples", "x-guidance"})


class RuleWriter(Protocol):
    """What the grammar's writer offers."""

    def named(self, body: str) -> str:
        """Write a rule; return its name."""

    def terminal(self, body: str) -> str:
        """Write a terminal; return its name."""

    def literal(self, text: str) -> str:
        """This text; the markers in it may be control tokens."""

    def until(self, marker: str, text: str) -> str:
        """Text of a terminal, up to and including the marker's first occurrence."""


class ParameterRules:
    """Writes the rules for one tool's arguments."""

    def __init__(self, writer: RuleWriter, syntax: ParameterSyntax, arguments: Arguments) -> None:
        self._writer = writer
        self._syntax = syntax
        self._arguments = arguments
        self._names = SortedTexts(arguments.names)
        self._detacher = Detacher(arguments.root)
        self._separator = writer.literal(syntax.separator) if syntax.separator else ""
        self._written: dict[tuple[str, str], str | None] = {}

    def of(self, shape: ObjectShape) -> str | None:
        """The rule of one alternative; None if nothing can satisfy the alternative."""
        members: list[tuple[str, bool]] = []
        for name, schema in shape.members.items():
            rule = self._member(name, schema)
            if rule is not None:
                members.append((rule, name in shape.required))
            elif name in shape.required:
                return None
        tail = self._tail(shape, len(members))
        return None if tail is None else self._in_order(members, tail)

    def _tail(self, shape: ObjectShape, num_members: int) -> _Tail | None:
        """The undeclared parameters of a shape; None if there can't be as many as needed.

        llguidance counts properties only where all declared ones are required.
        """
        least = shape.least - num_members
        most = None if shape.most is None else shape.most - num_members
        found = [rule for other in shape.others if (rule := self._other(other)) is not None]
        if not found or most == 0:
            return _Tail(None) if least <= 0 else None
        if least > 1:
            # names in a repetition may be equal, so only one of them is sure to count
            raise GrammarError("'minProperties' needs several undeclared properties", "")
        return _Tail(self._writer.named(" | ".join(found)), least == 1, most)

    def _member(self, name: str, schema: object) -> str | None:
        """The rule of one declared parameter; None if no value is valid."""
        key = (name, json.dumps(schema))
        if key not in self._written:
            self._written[key] = self._new_member(name, schema)
        return self._written[key]

    def _new_member(self, name: str, schema: object) -> str | None:
        syntax = self._syntax
        rules = self._text_rules(name, schema)
        before, after = syntax.before, syntax.after
        if not syntax.usual_name(name):
            before, after = syntax.unusual_before, syntax.unusual_after
            name = json.dumps(name, ensure_ascii=False)[1:-1]
        before = before.replace(KIND, "false" if rules is None else "true")
        longer = self._longer_names(name, before)
        value = self._value(schema, rules, (before, after), longer)
        return value and self._writer.named(
            f"{self._writer.literal(before.replace(KEY, name))} {value}"
        )

    def _other(self, other: OtherNames) -> str | None:
        """The rule of a parameter that isn't declared by name."""
        syntax = self._syntax
        conditions = [regex(_NAME)]
        if other.pattern is not None:
            pattern = {"type": "string", "allOf": [{"pattern": other.pattern}]}
            if not _is_possible({**pattern, "pattern": f"^(?:{_NAME})$"}):
                return None
            conditions.append(regex(whole(other.pattern)))
        excluded = [*map(whole, other.excluded), *map(escaped, self._arguments.names)]
        if excluded:
            conditions.append("~" + regex("|".join(f"(?:{pattern})" for pattern in excluded)))
        rules = self._text_rules(None, other.schema)
        is_usual = not syntax.unusual_before
        before = syntax.before if is_usual else syntax.unusual_before
        after = syntax.after if is_usual else syntax.unusual_after
        before = before.replace(KIND, "false" if rules is None else "true")
        value = self._value(other.schema, rules, (before, after), [])
        if value is None:
            return None
        opening, _, rest = before.partition(KEY)
        name = self._writer.terminal(" & ".join(conditions))
        literal = self._writer.literal
        return self._writer.named(f"{literal(opening)} {name} {literal(rest)} {value}")

    def _text_rules(self, name: str | None, schema: object) -> TextRules | None:
        """What the plain text of a value must satisfy; None for values in JSON."""
        arguments = self._arguments
        is_text = arguments.are_others_texts if name is None else arguments.is_text(name)
        if not is_text or self._syntax.quote is None:
            return None
        return text_rules(schema, self._arguments.references)

    def _longer_names(self, name: str, before: str) -> Sequence[str]:
        """Beginnings of values that would be read as the rest of a longer parameter's name.

        None begins with another one.
        """
        tail = before.partition(KEY)[2]
        begin = name + tail
        longer = self._names.first_beginning_with(begin, tail[:1])
        return [other[len(begin) :] + tail[:1] for other in longer]

    def _value(
        self,
        schema: object,
        rules: TextRules | None,
        pieces: tuple[str, str],
        longer: Sequence[str],
    ) -> str | None:
        """A value and the piece after it; None if no value is valid.

        `pieces` stand before and after the value. No text may begin with one of `longer`.
        """
        before, after = pieces
        writer, quote = self._writer, self._syntax.quote or ""
        if rules is None:
            document = self._detacher.detached(schema)
            if not (document.keys() <= _ANNOTATIONS or _is_possible(document)):
                return None
            return f"%json {json.dumps(document)} {writer.literal(after)}"
        after = quote + after
        # Parsers drop one line break at each end of a text without quotes.
        begin = "" if quote or before.endswith("\n") else "\n"
        end = "" if quote or after.startswith("\n") else "\n"
        if rules.choices is None:
            text = self._text(rules, begin, end, longer)
            value = None if text is None else self._up_to(after, text)
        else:
            value = self._choices(rules.choices, begin, end, after, longer)
        return None if value is None else f"{writer.literal(quote)} {value}"

    def _choices(
        self, choices: Sequence[str], begin: str, end: str, after: str, longer: Sequence[str]
    ) -> str | None:
        """One of the texts. A line break at a text's begin or end is doubled where it would be
        dropped."""
        refused = SortedTexts(longer)
        texts = [
            f"{begin if choice[:1] == begin else ''}{choice}{end if choice[-1:] == end else ''}"
            for choice in choices
            if after.strip() not in choice and not refused.has_beginning_of(choice)
        ]
        listed = " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
        return f"({listed}) {self._writer.literal(after)}" if texts else None

    def _text(self, rules: TextRules, begin: str, end: str, longer: Sequence[str]) -> str | None:
        """The terminal of a text by its rules; None if no text satisfies all of them."""
        if not _is_possible(_as_schema(rules)):
            return None
        conditions = _conditions(rules)
        conditions += ["~" + regex(escaped(begin) + "(?s:.*)")] if begin else []
        conditions += ["~" + regex("(?s:.*)" + escaped(end))] if end else []
        conditions += ["~" + regex(escaped(rest) + "(?s:.*)") for rest in longer]
        return (
            conditions[0] if len(conditions) == 1 else self._writer.terminal(" & ".join(conditions))
        )

    def _up_to(self, after: str, text: str) -> str:
        """Text of a terminal, and the piece after it."""
        mark = MARK.search(after)
        end = mark.end() if mark else len(after)
        return f"{self._writer.until(after[:end], text)} {self._writer.literal(after[end:])}"

    def _in_order(self, members: Sequence[tuple[str, bool]], tail: _Tail) -> str:
        """Members in their order, each with whether it is required, and the tail after them.

        With a separator, the rules are written from the last to the first. `rest` is what may
        follow the current member. `all_` is what may stand from the current member on.
        """
        separator = self._separator
        if not separator:
            parts = [rule if is_required else rule + "?" for rule, is_required in members]
            return " ".join([*parts, tail.after("", "")])
        rest, all_ = tail.after(separator, separator), tail.after("", separator)
        for rule, is_required in reversed(members):
            first = f"{rule} {rest}"
            all_ = self._writer.named(first if is_required else f"{first} | {all_}")
            rest = self._writer.named(
                f"{separator} {first}" + ("" if is_required else f" | {rest}")
            )
        return all_


@dataclass(frozen=True, slots=True)
class _Tail:
    """Undeclared parameters after the declared ones."""

    rule: str | None
    """The rule of one of them; None if there are none."""
    is_required: bool = False
    """Whether there must be one."""
    most: int | None = None

    def after(self, before: str, between: str) -> str:
        """The parameters, with a separator before the first one and between two of them."""
        if self.rule is None or self.most == 0:
            return '""'
        some = f"{before} {self.rule}"
        if self.most != 1:
            times = "*" if self.most is None else f"{{0,{self.most - 1}}}"
            some = f"{some} ({between} {self.rule}){times}"
        return some if self.is_required else f"({some})?"


def _conditions(rules: TextRules) -> list[str]:
    """The regular expressions that a text has to match, each as a whole."""
    patterns = [*map(whole, rules.patterns)]
    patterns += [PLAIN_FORMATS[name] for name in rules.formats if name in PLAIN_FORMATS]
    if rules.least or rules.most is not None:
        most = "" if rules.most is None else rules.most
        patterns.append(f"(?s:.{{{rules.least},{most}}})")
    return [regex(pattern) for pattern in patterns or ["(?s:.*)"]]


def _as_schema(rules: TextRules) -> dict[str, Any]:
    """A schema of the texts that the grammar allows."""
    formats = [PLAIN_FORMATS[name] for name in rules.formats if name in PLAIN_FORMATS]
    patterns = [*rules.patterns, *(f"^(?:{pattern})$" for pattern in formats)]
    bounds = {"minLength": rules.least} | ({} if rules.most is None else {"maxLength": rules.most})
    return {"type": "string", **bounds, "allOf": [{"pattern": pattern} for pattern in patterns]}


def _is_possible(schema: dict[str, Any]) -> bool:
    """Whether any value is valid. Raises `GrammarError` for other faults."""
    if not schema.get("allOf", True):
        schema = {key: value for key, value in schema.items() if key != "allOf"}
    try:
        compiler.from_json_schema(schema, is_open=True)
    except GrammarError as error:
        if "nsatisfiable" in error.message:
            return False
        raise
    return True
