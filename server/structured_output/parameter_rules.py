"""Writer of the grammar rules for arguments that are written parameter by parameter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from grammars import compiler
from grammars.errors import GrammarError
from grammars.json_schema.references import detached
from grammars.json_schema.shapes import ObjectShape, OtherNames
from server.parsers.arguments import Arguments
from server.parsers.plain_texts import PLAIN_FORMATS, TextRules, text_rules
from server.parsers.syntax import KEY, KIND, MARK, ParameterSyntax
from server.structured_output.lark import escaped, regex, whole

MAX_COUNTED_RULES = 5_000
"""Maximum number of rules for objects with a minimum or maximum number of properties."""

_NAME = r"""[^\s<>"'{}\[\],:=|\\/｜]{1,40}( [^\s<>"'{}\[\],:=|\\/｜]{1,40}){0,3}"""  # noqa: RUF001
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
        found = [rule for other in shape.others if (rule := self._other(other)) is not None]
        others = self._writer.named(" | ".join(found)) if found else None
        num_required = sum(is_required for _, is_required in members)
        needs_most = shape.most is not None and (others or shape.most < len(members))
        least = shape.least if shape.least > num_required else 0
        counted = _Counted(
            self._writer, self._separator, others, least, shape.most if needs_most else None
        )
        return counted.write(members)

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
        value = self._value(schema, rules, before, after, longer)
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
        value = self._value(other.schema, rules, before, after, [])
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
        return text_rules(schema, self._arguments.root)

    def _longer_names(self, name: str, before: str) -> Sequence[str]:
        """Beginnings of values that would be read as the rest of a longer parameter's name."""
        tail = before.partition(KEY)[2]
        longer = [other for other in self._arguments.names if other.startswith(name + tail)]
        return [other[len(name + tail) :] for other in longer]

    def _value(
        self,
        schema: object,
        rules: TextRules | None,
        before: str,
        after: str,
        longer: Sequence[str],
    ) -> str | None:
        """A value and what follows it; None if no value is valid."""
        writer, syntax = self._writer, self._syntax
        if rules is None:
            document = detached(schema, self._arguments.root)
            if not (document.keys() <= _ANNOTATIONS or _is_possible(document)):
                return None
            return f"%json {json.dumps(document)} {writer.literal(after)}"
        quote = syntax.quote or ""
        after = quote + after
        mark = MARK.search(after)
        end = mark.end() if mark else len(after)
        is_trimmed = not quote
        opens = not is_trimmed or before.endswith("\n")
        closes = not is_trimmed or after.startswith("\n")
        if rules.choices is not None:
            texts = [
                ("" if opens or not choice.startswith("\n") else "\n")
                + choice
                + ("" if closes or not choice.endswith("\n") else "\n")
                for choice in rules.choices
                if after[:end].strip() not in choice and not choice.startswith(tuple(longer))
            ]
            listed = " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
            value = f"({listed}) {writer.literal(after)}" if texts else None
            return value and f"{writer.literal(quote)} {value}"
        if not _is_possible(_as_schema(rules)):
            return None
        conditions = _conditions(rules)
        if not opens:
            conditions.append(r"~/\n(?s:.*)/")
        if not closes:
            conditions.append(r"~/(?s:.*)\n/")
        conditions += ["~" + regex(escaped(rest) + "(?s:.*)") for rest in longer]
        text = conditions[0] if len(conditions) == 1 else writer.terminal(" & ".join(conditions))
        return f"{writer.literal(quote)} {writer.until(after[:end], text)} {writer.literal(after[end:])}"


class _Counted:
    """Writes parameters in their order, with a separator between two, and counts them.

    The rules are written from the last to the first. `rests[n]` is what may stand from the current
    place on, when n parameters came before it; None if nothing can.
    """

    def __init__(
        self, writer: RuleWriter, separator: str, others: str | None, least: int, most: int | None
    ) -> None:
        self._writer = writer
        self._separator = separator
        self._others = others
        self._least = least
        self._most = most
        self._cap = max(least, most or 0, 1 if separator else 0)
        """The count after which more parameters make no difference."""

    def write(self, members: Sequence[tuple[str, bool]]) -> str | None:
        """The rule of members, each with whether it is required; None if nothing is valid."""
        if self._cap == 0 and self._most is None:
            parts = [rule if is_required else rule + "?" for rule, is_required in members]
            return " ".join([*parts, self._tail(0) or '""'])
        if len(members) * (self._cap + 1) > MAX_COUNTED_RULES:
            raise GrammarError("'minProperties' and 'maxProperties' count too many properties", "")
        rests = [self._tail(count) for count in range(self._cap + 1)]
        for rule, is_required in reversed(members):
            rests = [
                self._choice(self._with(rule, count, rests), None if is_required else rests[count])
                for count in range(self._cap + 1)
            ]
        return rests[0]

    def _with(self, rule: str, count: int, rests: Sequence[str | None]) -> str | None:
        """The rule of a member that is given, and of what follows it."""
        if self._most is not None and count >= self._most:
            return None
        rest = rests[min(count + 1, self._cap)]
        return None if rest is None else f"{self._before(count)} {rule} {rest}"

    def _choice(self, given: str | None, omitted: str | None) -> str | None:
        if given is None:
            return omitted
        return self._writer.named(given if omitted is None else f"{given} | {omitted}")

    def _before(self, count: int) -> str:
        return self._separator if count else ""

    def _tail(self, count: int) -> str | None:
        """The undeclared parameters after all members."""
        missing = self._least - count
        if self._others is None:
            return '""' if missing <= 0 else None
        if missing > 1:
            # Names in a repetition may be equal, so only one of them is sure to count.
            return None
        if self._most is not None and count >= self._most:
            return '""'
        more = f"({self._separator} {self._others})"
        repeated = f"{more}*" if self._most is None else f"{more}{{0,{self._most - count - 1}}}"
        some = f"{self._before(count)} {self._others} {repeated}"
        return self._writer.named(some if missing == 1 else f"({some})?")


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
    patterns = [
        *rules.patterns,
        *(f"^(?:{PLAIN_FORMATS[f]})$" for f in rules.formats if f in PLAIN_FORMATS),
    ]
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
