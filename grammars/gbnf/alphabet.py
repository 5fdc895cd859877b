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

    @property
    def everything(self) -> int:
        """The mask of all characters that occur in the grammar."""
        return (1 << max(len(self._edges) - 1, 0)) - 1

    def mask(self, chars: Chars) -> int:
        """The mask of the classes that make up a set of characters."""
        mask = 0
        for low, high in chars.ranges:
            first, after = bisect_left(self._edges, low), bisect_left(self._edges, high + 1)
            mask |= (1 << after) - (1 << first)
        return mask
