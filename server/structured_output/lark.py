"""Regular expressions as they stand in Lark grammars."""

from __future__ import annotations

import re


def regex(pattern: str) -> str:
    """A regular expression in a grammar."""
    return "/" + re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", pattern).replace("\n", "\\n") + "/"


def escaped(text: str) -> str:
    """A pattern that matches this text, on one line."""
    return re.escape(text).replace("\\\n", "\\n")


def whole(pattern: str) -> str:
    """A pattern that matches a whole text, from a pattern that is searched in a text."""
    begins, ends = pattern.startswith("^"), re.search(r"(?<!\\)(\\\\)*\$$", pattern) is not None
    body = pattern[begins : len(pattern) - ends]
    if ("^" in body or "$" in body) and "|" in body:
        return f"(?:{body})"  # llguidance reads the anchors of alternatives itself
    return ("" if begins else "(?s:.*)") + f"(?:{body})" + ("" if ends else "(?s:.*)")
