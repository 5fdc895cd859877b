"""Conditions that follow from other conditions, and which of them hold in the end."""

from __future__ import annotations

from collections.abc import Iterable


class Conditions:
    """A graph of conditions. Each holds if all, or if any, of the conditions below it hold.

    A condition in a circle holds only if something outside of the circle makes it hold. The time
    is linear in the size of the graph, and no depth is too large.
    """

    def __init__(self) -> None:
        self._missing: list[int] = []
        """By condition: how many of those below it must still hold, before it holds itself."""
        self._above: list[list[int]] = []
        """By condition: the conditions that wait for it."""

    def new(self) -> int:
        """A condition that never holds, unless `link` names one that it follows from."""
        self._missing.append(1)
        self._above.append([])
        return len(self._missing) - 1

    def link(self, condition: int, below: int) -> None:
        """Let a condition from `new` hold as soon as `below` holds."""
        self._above[below].append(condition)

    def any_of(self, below: Iterable[int]) -> int:
        """A condition that holds if one of `below` holds; never if there is none."""
        condition = self.new()
        for one in below:
            self.link(condition, one)
        return condition

    def all_of(self, below: Iterable[int]) -> int:
        """A condition that holds if all of `below` hold; always if there is none."""
        condition = self.new()
        self._missing[condition] = 0
        for one in below:
            self._missing[condition] += 1
            self.link(condition, one)
        return condition

    def holding(self) -> set[int]:
        """The conditions that hold."""
        missing = self._missing.copy()
        todo = [condition for condition, count in enumerate(missing) if count == 0]
        held = set(todo)
        while todo:
            for condition in self._above[todo.pop()]:
                missing[condition] -= 1
                if missing[condition] == 0:
                    held.add(condition)
                    todo.append(condition)
        return held
