"""How far one draft goes: token by token, for as long as it promises more than it costs."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Between what probabilities of its likeliest token a draft model counts as equally sure."""

NUM_LEVELS = len(LEVELS) + 1


def level_of(confidence: float) -> int:
    """How sure a draft model is that gives its likeliest token this probability."""
    return bisect.bisect_right(LEVELS, confidence)


def first_rate(level: int) -> float:
    """How often it is right then, as long as nothing is known: as often as it says."""
    bounds = (0.0, *LEVELS, 1.0)
    return (bounds[level] + bounds[level + 1]) / 2


@dataclass(frozen=True, slots=True)
class BreakEven:
    """What guesses have to be worth, in tokens that the time would yield otherwise."""

    verifying: tuple[float, ...]
    """Of k guesses, more than of none; k from 0 on."""
    going_on: tuple[float, ...]
    """The chance that k + 1 guesses are all right from which on the last is worth making."""


class DraftStopping:
    """One draft under way: the chances that its guesses are right, and whether to go on.

    A guess that is right with all before it yields a token. So a draft of k guesses yields the
    sum of the chances that the first, the first two, ... are right, and is cut where that is
    most above its price.
    """

    def __init__(
        self, chance: Callable[[int], float], price: BreakEven | None = None, p_min: float = 0.0
    ) -> None:
        """`chance(level)` is how often guesses are right of which the draft model is so sure.
        Without a price it only stops at confidences below `p_min`."""
        self._chance = chance
        self._price = price
        self._p_min = p_min
        self._reaches: list[float] = []
        self.num_asked = 0
        """Times that the draft model was computed."""
        self.levels: list[int | None] = []
        """Of each guess; None where a constraint left no choice."""

    def goes_on(self, confidence: float) -> bool:
        """Whether a guess of this confidence is worth making; if so it counts as made."""
        self.num_asked += 1
        if confidence < self._p_min:
            return False
        level = level_of(confidence)
        reach = self._reach * self._chance(level)
        if self._price is not None and reach < self._price.going_on[len(self._reaches)]:
            return False
        self._reaches.append(reach)
        self.levels.append(level)
        return True

    def force(self, count: int) -> None:
        """So many guesses follow that can't be wrong if those before are right."""
        self._reaches += [self._reach] * count
        self.levels += [None] * count

    def best_length(self, num_guessed: int) -> int:
        """How many of the guesses are worth verifying."""
        if self._price is None:
            return num_guessed
        gain = best_gain = 0.0
        best = 0
        for length, reach in enumerate(self._reaches[:num_guessed], 1):
            gain += reach
            if gain - self._price.verifying[length] > best_gain:
                best_gain, best = gain - self._price.verifying[length], length
        return best

    def tokens(self, length: int) -> float:
        """What so many of the guesses yield on average."""
        return sum(self._reaches[:length])

    @property
    def _reach(self) -> float:
        return self._reaches[-1] if self._reaches else 1.0
