"""Reads Modelfiles: the instructions by which a model is made of another one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from server.errors import InvalidRequest

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)[ \t]+(.*)", re.DOTALL)
_QUOTES = '"""'
_KNOWN = ("FROM", "PARAMETER", "SYSTEM", "TEMPLATE", "MESSAGE", "LICENSE")
_MANY = frozenset({"stop"})
"""Parameters that may be given several times."""


@dataclass
class Modelfile:
    """What a Modelfile says."""

    base: str = ""
    system: str = ""
    template: str = ""
    license: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)


def read_modelfile(text: str) -> Modelfile:
    """The content of a Modelfile. Raises `InvalidRequest` for what isn't known."""
    found = Modelfile()
    for name, value in _instructions(text):
        _take(found, name, value)
    return found


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """The name of each instruction, and its text. A text in three quotes may have many lines."""
    lines = iter(text.replace("\r\n", "\n").split("\n"))
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _INSTRUCTION.fullmatch(line)
        if found is None or found[1].upper() not in _KNOWN:
            raise _wrong(f"has the line {line[:100]!r}, which is none of {', '.join(_KNOWN)}")
        yield found[1].upper(), _whole(found[2], lines)


def _whole(text: str, lines: Iterator[str]) -> str:
    """The text with the further lines of its quotes."""
    before, opened, rest = text.partition(_QUOTES)
    if not opened:
        return text.strip()
    parts = [rest]
    while _QUOTES not in parts[-1]:
        line = next(lines, None)
        if line is None:
            raise _wrong("ends within three quotes")
        parts.append(line)
    return f"{before}{_QUOTES}" + "\n".join(parts).rstrip()


def _take(found: Modelfile, name: str, value: str) -> None:
    match name:
        case "FROM":
            found.base = _unquoted(value)
        case "SYSTEM":
            found.system = _unquoted(value)
        case "TEMPLATE":
            found.template = _unquoted(value)
        case "LICENSE":
            found.license = "\n".join(filter(None, (found.license, _unquoted(value))))
        case "PARAMETER":
            _add_parameter(found.parameters, value)
        case "MESSAGE":
            role, _, content = value.partition(" ")
            found.messages.append({"role": role, "content": _unquoted(content.strip())})


def _add_parameter(parameters: dict[str, Any], text: str) -> None:
    name, _, value = text.partition(" ")
    name, value = name.lower(), value.strip()
    if not value:
        raise _wrong(f"gives the parameter {name[:100]!r} no value")
    if name in _MANY:
        parameters.setdefault(name, []).append(_unquoted(value))
    else:
        parameters[name] = _value(value)


def _value(text: str) -> Any:
    """A number, true or false, or the text."""
    plain = _unquoted(text)
    try:
        found = json.loads(plain)
    except ValueError:
        return plain
    return found if isinstance(found, bool | int | float) else plain


def _unquoted(text: str) -> str:
    if len(text) >= 6 and text.startswith(_QUOTES) and text.endswith(_QUOTES):
        return text[3:-3]
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, str) else text[1:-1]


def _wrong(what: str) -> InvalidRequest:
    return InvalidRequest(f"'modelfile' {what}", param="modelfile")
