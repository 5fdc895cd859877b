"""Which values are written as plain text, without quotes, and what such a text has to satisfy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grammars.errors import GrammarError
from grammars.json_schema.references import References

Schema = dict[str, Any]

_MAX_PARTS = 200

_COMBINING = ("anyOf", "oneOf")
"""Keywords that keep a value from being plain text: only JSON's own grammar knows how to combine
their schemas."""


@dataclass(frozen=True, slots=True)
class TextRules:
    """What a plain text has to satisfy."""

    choices: tuple[str, ...] | None = None
    """The texts that are allowed; None means that they aren't listed."""
    patterns: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    """Bounds of the length in characters."""


def text_rules(schema: object, references: References) -> TextRules | None:
    """The rules of a value that can only be a text; None for other values.

    `references` are those of the document that the schema is a part of.
    """
    try:
        parts = list(_parts(schema, references))
    except GrammarError:
        return None
    if any(not isinstance(part, dict) or part.keys() & {*_COMBINING} for part in parts):
        return None
    if not (any(map(_is_text, parts)) and all(map(_may_be_text, parts))):
        return None
    lists = [listed for part in parts if (listed := _choices(part)) is not None]
    rules = TextRules(
        choices=None,
        patterns=tuple(part["pattern"] for part in parts if "pattern" in part),
        formats=tuple(part["format"] for part in parts if "format" in part),
        least=max(int(part.get("minLength", 0)) for part in parts),
        most=min((int(part["maxLength"]) for part in parts if "maxLength" in part), default=None),
    )
    if not lists:
        return rules
    if rules.patterns or rules.formats:
        return None
    others = [set(listed) for listed in lists[1:]]
    choices = tuple(
        choice
        for choice in lists[0]
        if all(choice in listed for listed in others)
        and rules.least <= len(choice) <= (len(choice) if rules.most is None else rules.most)
    )
    return TextRules(choices=choices)


def _parts(schema: object, references: References) -> Iterator[Any]:
    """The schemas that a value has to satisfy together. Raises `GrammarError`."""
    todo = [schema]
    for _ in range(_MAX_PARTS):
        if not todo:
            return
        part = todo.pop()
        if part is True:
            continue
        yield part
        if isinstance(part, dict):
            todo += part.get("allOf", ())
            if "$ref" in part:
                todo.append(references.target(part["$ref"]))
    raise GrammarError("too many schemas for one value")


def _is_text(part: Schema) -> bool:
    """Whether the schema alone allows only texts."""
    types = part.get("type")
    if types is not None:
        return types in ("string", ["string"])
    values = _values(part)
    return values is not None and all(isinstance(value, str) for value in values)


def _may_be_text(part: Schema) -> bool:
    types = part.get("type", "string")
    return "string" in (types if isinstance(types, list) else [types])


def _choices(part: Schema) -> list[str] | None:
    values = _values(part)
    return None if values is None else [value for value in values if isinstance(value, str)]


def _values(part: Schema) -> list[Any] | None:
    if "const" in part:
        constant = part["const"]
        return [constant] if constant in part.get("enum", [constant]) else []
    values = part.get("enum")
    return values if isinstance(values, list) else None


_LABEL = "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?"
_WORD = "[A-Za-z0-9_+-]"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
PLAIN_FORMATS = {
    "uuid": "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "email": f"{_WORD}{{1,40}}(\\.{_WORD}{{1,20}}){{0,3}}@{_LABEL}(\\.{_LABEL}){{1,3}}",
    "hostname": f"{_LABEL}(\\.{_LABEL}){{0,4}}",
    "ipv4": f"{_BYTE}(\\.{_BYTE}){{3}}",
    "ipv6": "[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}",
    "uri": f"[a-z][a-z0-9+.-]{{1,15}}://{_LABEL}(\\.{_LABEL}){{0,4}}(/[A-Za-z0-9._~-]{{0,80}}){{0,20}}",
    "duration": "P([0-9]{1,6}D(T[0-9]{1,6}H)?|T[0-9]{1,6}[HMS]|[0-9]{1,6}[WMY])",
}
"""Patterns, without anchors, for texts of a format: the usual texts, not all allowed ones."""
