"""Texts in order, among which those with a common beginning are found without looking at all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence


class SortedTexts:
    """A set of texts in order. A search takes steps by the logarithm of their number."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted(set(texts))

    def __bool__(self) -> bool:
        return bool(self._texts)

    def beginning_with(self, begin: str) -> Sequence[str]:
        """The texts that begin with `begin`."""
        first, stop = self._places(begin)
        return self._texts[first:stop]

    def first_beginning_with(self, begin: str, end: str) -> list[str]:
        """The texts that begin with `begin`, but not with another such text and `end`.

        `end` is one character. What is left out takes no steps.
        """
        at, stop = self._places(begin)
        found: list[str] = []
        above: list[str] = []
        """Those of `found` that the next text may begin with, the shortest first."""
        while at < stop:
            text = self._texts[at]
            while above and not text.startswith(above[-1]):
                above.pop()
            if above and text.startswith(above[-1] + end):
                at = self._places(above[-1] + end)[1]
                continue
            found.append(text)
            above.append(text)
            at += 1
        return found

    def has_beginning_of(self, text: str) -> bool:
        """Whether `text` begins with one of these texts, of which none begins with another one."""
        at = bisect_right(self._texts, text) - 1
        return at >= 0 and text.startswith(self._texts[at])

    def _places(self, begin: str) -> tuple[int, int]:
        """The range of the texts that begin with `begin`."""
        first = bisect_left(self._texts, begin)
        stop = bisect_left(self._texts, True, first, key=lambda text: not text.startswith(begin))
        return first, stop
