"""How one family of models writes calls: the pieces that make up grammars and examples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NAME = "\x00name\x00"
"""In a piece: the tool's name."""

NUMBER = "\x00number\x00"
"""In a piece: any whole number."""

KEY = "\x00key\x00"
"""In a piece: a parameter's name."""

KIND = "\x00kind\x00"
"""In a piece: "true" for a parameter that is a text, else "false"."""

BREAK = "\x00break\x00"
"""In a piece: a line break, which not all models of the family write."""

MARK = re.compile(r"(<(?!/?｜DSML｜)[^<>\s]+>|\[/?[A-Z_]+\]|｜DSML｜)")  # noqa: RUF001
"""What a marker looks like that may be a control token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSyntax:
    """`before` value `after` for each parameter, with `separator` between two of them."""

    before: str
    after: str
    separator: str = ""
    quote: str | None = ""
    """Around texts, which are written plainly; None writes them as JSON, like everything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSyntax:
    """`opening` (`before` arguments `after`) (`separator` `before` arguments `after`)… `closing`.

    The arguments are a JSON object, or parameters one by one. Every piece is literal but for the
    placeholders above.
    """

    opening: str
    before: str
    after: str
    separator: str | None
    """Between two calls; None where an answer can hold only one."""
    closing: str = ""
    parameters: ParameterSyntax | None = None
    is_bare: bool = False
    """The opening is ordinary JSON, so that it can't be told from text until it has ended."""

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """Calls as the model would write them, each a name and its arguments in JSON."""
        separator = self.closing + self.opening if self.separator is None else self.separator
        texts = [
            _filled(self.before, name, number) + arguments + self.after
            for number, (name, arguments) in enumerate(calls)
        ]
        return self.opening + separator.join(texts) + self.closing

    def marks(self) -> Iterable[str]:
        """Markers that must stay visible in an answer for its calls to be recognized."""
        pieces = [self.opening, self.before, self.after, self.separator or "", self.closing]
        if self.parameters is not None:
            pieces += [self.parameters.before, self.parameters.after, self.parameters.quote or ""]
        for piece in pieces:
            yield from (match.group() for match in MARK.finditer(piece))


def _filled(piece: str, name: str, number: int) -> str:
    return piece.replace(NAME, name).replace(NUMBER, str(number)).replace(BREAK, "\n")
