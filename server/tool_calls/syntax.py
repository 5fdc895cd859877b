"""How one family of models writes calls, as the pieces from which a grammar is built."""

from __future__ import annotations

from dataclasses import dataclass

NAME = "\x00name\x00"
"""In a piece: the tool's name."""

NUMBER = "\x00number\x00"
"""In a piece: any whole number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSyntax:
    """`opening` (`before` arguments `after`) (`separator` `before` arguments `after`)… `closing`.

    The arguments are JSON. Every piece is literal but for `NAME` and `NUMBER`.
    """

    opening: str
    before: str
    after: str
    separator: str | None
    """Between two calls; None where an answer can hold only one."""
    closing: str = ""
    is_bare: bool = False
    """The opening is ordinary JSON, so that it can't be told from text until it has ended."""
