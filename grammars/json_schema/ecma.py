"""Rewrites regular expressions of JSON Schema, which are ECMA-262's, for the regex crate."""

from __future__ import annotations

import re

_LINE_ENDS = r"\n\r\u2028\u2029"
"""What `.` does not match."""

_CLASSES = {
    "d": "0-9",
    "w": "A-Za-z0-9_",
    "s": r"\t\n\u000B\f\r \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF",
}
"""The members of ECMA-262's classes. Other dialects have more digits and letters in theirs."""

_FLAGS = re.compile(r"\(\?([a-z]*)(?:-[a-z]+)?[:)]")
"""The flags of a group. `s` makes `.` match line ends too."""


def from_ecma(pattern: str) -> str:
    """The same pattern. Classes that mean something else in the regex crate are spelled out."""
    is_dot_all = any("s" in flags for flags in _FLAGS.findall(pattern))
    dot = "." if is_dot_all else f"[^{_LINE_ENDS}]"
    parts: list[str] = []
    is_in_class = False
    for part in re.findall(r"\\.|.", pattern, re.DOTALL):
        members = _CLASSES.get(part[1:].lower()) if part.startswith("\\") else None
        if members is not None:
            is_inverse = part[1].isupper()
            parts.append(
                f"[^{members}]" if is_inverse else members if is_in_class else f"[{members}]"
            )
        elif part == "." and not is_in_class:
            parts.append(dot)
        else:
            parts.append(part)
            is_in_class = part != "]" if is_in_class else part == "["
    return "".join(parts)
