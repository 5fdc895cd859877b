"""Sets of characters as bit masks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from grammars.gbnf.nodes import Chars


class Alphabet:
    """Divides the code points into the classes that a grammar distinguishes.

    A set of characters is then a mask: an integer with one bit for each class.
    """

    def __init__(self, char_sets: Iterable[Chars]) -> None:
        edges = {
            edge for chars in char_sets for low, high in chars.ranges for edge in (low, high + 1)
        }
        self._edges = sorted(edges)
        """Class i holds the code points from edge i to the one before edge i + 1."""
        self._masks: dict[Chars, int] = {}

    @property
    def everything(self) -> int:
        """The mask of all characters that occur in the grammar."""
        return (1 << max(len(self._edges) - 1, 0)) - 1

    def mask(self, chars: Chars) -> int:
        """The mask of the classes that make up a set of characters."""
        mask = self._masks.get(chars)
        if mask is None:
            mask = self._masks[chars] = self._new_mask(chars)
        return mask

    def _new_mask(self, chars: Chars) -> int:
        runs = [
            (bisect_left(self._edges, low), bisect_left(self._edges, high + 1))
            for low, high in chars.ranges
        ]
        # written in binary: joining the runs one by one would take quadratic time
        digits = ["0"]
        above = runs[-1][1] if runs else 0
        for first, after in reversed(runs):
            digits += ["0" * (above - after), "1" * (after - first)]
            above = first
        return int("".join(digits), 2) << above
