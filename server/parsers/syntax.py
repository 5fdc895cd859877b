"""How one family of models writes calls: the pieces that grammars and examples are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

NAME = "\x00name\x00"
"""Placeholder in a piece: the tool's name."""

NUMBER = "\x00number\x00"
"""Placeholder in a piece: any whole number."""

KEY = "\x00key\x00"
"""Placeholder in a piece: a parameter's name, or its content as a JSON string."""

KIND = "\x00kind\x00"
"""Placeholder in a piece: "true" for a parameter that is a text, otherwise "false"."""

BREAK = "\x00break\x00"
"""Placeholder in a piece: a line break, which not all models of the family write."""

MARK = re.compile(r"(<(?!/?｜DSML｜)[^<>\s]+>|\[/?[A-Z_]+\]|｜DSML｜)")  # noqa: RUF001
"""The form of markers that may be control tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSyntax:
    """`before` value `after` for each parameter, with `separator` between two of them."""

    before: str
    after: str
    separator: str = ""
    quote: str | None = ""
    """Quotes around texts, whose content is written as it is. None writes texts as JSON, like all
    other values."""
    usual_name: Callable[[str], bool] = lambda name: True
    """Whether a name can stand in `before` as it is."""
    unusual_before: str = ""
    unusual_after: str = ""
    """The pieces around the value of a parameter with another name, written as a JSON string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSyntax:
    """`opening` (`before` arguments `after`) (`separator` `before` arguments `after`)… `closing`.

    The arguments are a JSON object, or parameters one by one. Every piece is literal, except for
    the placeholders above.
    """

    opening: str
    before: str
    after: str
    separator: str | None
    """Text between two calls; None if an answer can hold only one call."""
    closing: str = ""
    parameters: ParameterSyntax | None = None
    is_bare: bool = False
    """Whether the opening is ordinary JSON, which can't be told from text before the JSON has
    ended."""

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """Write calls as the model would; each call is a name and its arguments as JSON."""
        separator = self.closing + self.opening if self.separator is None else self.separator
        texts = [
            _filled(self.before, name, number) + arguments + self.after
            for number, (name, arguments) in enumerate(calls)
        ]
        return self.opening + separator.join(texts) + self.closing

    def marks(self) -> Iterable[str]:
        """Markers that must stay visible in an answer, so that its calls can be recognized."""
        pieces = [self.opening, self.before, self.after, self.separator or "", self.closing]
        if self.parameters is not None:
            pieces += [self.parameters.before, self.parameters.after, self.parameters.quote or ""]
        for piece in pieces:
            yield from (match.group() for match in MARK.finditer(piece))


def _filled(piece: str, name: str, number: int) -> str:
    return piece.replace(NAME, name).replace(NUMBER, str(number)).replace(BREAK, "\n")
