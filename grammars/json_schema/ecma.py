"""Rewrites regular expressions of JSON Schema, which are ECMA-262's, for the regex crate."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_ENDS = r"\n\r\u2028\u2029"
"""What `.` does not match."""

_CLASSES = {
    "d": "0-9",
    "w": "A-Za-z0-9_",
    "s": r"\t\n\u000B\f\r \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF",
}
"""The members of ECMA-262's classes. Other dialects have more digits and letters in theirs."""

_EVERYTHING, _NOTHING = r"[\s\S]", r"[^\s\S]"

_FLAGS = re.compile(r"\(\?([a-z]*)(?:-[a-z]+)?[:)]")
"""The flags of a group. `s` makes `.` match line ends too."""

_PARTS = re.compile(
    r"\\u(?P<high>[dD][89abAB][\da-fA-F]{2})\\u(?P<low>[dD][c-fC-F][\da-fA-F]{2})"
    r"|\\c(?P<control>[A-Za-z])|(?P<null>\\0(?!\d))|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)

_SET_SYNTAX = frozenset("[&~")
"""Characters without meaning in a class of ECMA-262; in the regex crate they begin a class or a
set operation."""


def from_ecma(pattern: str) -> str:
    """The same pattern. What means something else in the regex crate is spelled out."""
    is_dot_all = any("s" in flags for flags in _FLAGS.findall(pattern))
    dot = "." if is_dot_all else f"[^{_LINE_ENDS}]"
    parts = _PARTS.finditer(pattern)
    return "".join(_outside_class(part, parts, dot) for part in parts)


def _outside_class(part: re.Match[str], parts: Iterator[re.Match[str]], dot: str) -> str:
    match part["plain"], part["escaped"]:
        case ".", _:
            return dot
        case "[", _:
            return _class(parts)
        case _, ("d" | "w" | "s") as name:
            return f"[{_CLASSES[name]}]"
        case _, ("D" | "W" | "S") as name:
            return f"[^{_CLASSES[name.lower()]}]"
    return _character(part)


def _class(parts: Iterator[re.Match[str]]) -> str:
    """The class whose bracket was read; `parts` are read up to its end."""
    members: list[str] = []
    is_inverse = False
    for index, part in enumerate(parts):
        if part["plain"] == "^" and index == 0:
            is_inverse = True
        elif part["plain"] == "]":
            if not members:
                return _EVERYTHING if is_inverse else _NOTHING
            return f"[{'^' * is_inverse}{''.join(members)}]"
        else:
            members.append(_member(part, members))
    return f"[{''.join(members)}"  # it has no end; the error will say so


def _member(part: re.Match[str], before: list[str]) -> str:
    plain, escaped = part["plain"], part["escaped"]
    if plain is not None:
        is_minus_again = plain == "-" and before[-1:] == ["-"]
        return f"\\{plain}" if plain in _SET_SYNTAX or is_minus_again else plain
    if escaped == "b":
        return r"\x08"
    if escaped is not None and escaped.lower() in _CLASSES:
        members = _CLASSES[escaped.lower()]
        return f"[^{members}]" if escaped.isupper() else members
    return _character(part)


def _character(part: re.Match[str]) -> str:
    """A part that stands for itself, or one character by its code."""
    if part["high"] is not None:
        high, low = int(part["high"], 16), int(part["low"], 16)
        return f"\\u{{{0x10000 + ((high & 0x3FF) << 10 | low & 0x3FF):X}}}"
    if part["control"] is not None:
        return f"\\x{ord(part['control']) % 32:02X}"
    return r"\x00" if part["null"] is not None else part[0]
