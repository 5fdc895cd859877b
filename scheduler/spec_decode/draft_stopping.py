"""How long one draft of the draft model gets: it ends once a further token does not pay."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from scheduler.spec_decode.break_even import BreakEven

LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Bounds between the levels of confidence. The confidence of a draft model is the probability
that it gives to its likeliest token."""


def level_of(confidence: float) -> int:
    """The level, from 0 on, of a confidence between 0 and 1."""
    return bisect.bisect_right(LEVELS, confidence)


def prior_acceptance(level: int) -> float:
    """The acceptance rate of a level before any experience: the middle of its confidences."""
    bounds = (0.0, *LEVELS, 1.0)
    return (bounds[level] + bounds[level + 1]) / 2


class DraftStopping:
    """Decides token by token whether one draft goes on, and at last how much of it is verified.

    A draft token yields a token if it and all before it are accepted. The chance of that is the
    token's joint probability. A draft of k tokens therefore yields the sum of its first k joint
    probabilities. The draft is cut at the length where this sum exceeds the cost of verifying the
    most.
    """

    def __init__(
        self,
        acceptance: Callable[[int], float],
        break_even: BreakEven | None = None,
        p_min: float = 0.0,
    ) -> None:
        """`acceptance(level)` is the acceptance rate of tokens drafted with that level.

        A confidence below `p_min` always ends the draft. Without `break_even` nothing else does.
        """
        self._acceptance = acceptance
        self._break_even = break_even
        self._p_min = p_min
        self._joint_probabilities: list[float] = []
        self.num_computed = 0
        """How often the draft model was computed for this draft."""
        self.levels: list[int | None] = []
        """The level of each draft token; None if a constraint left no choice."""

    def should_continue(self, confidence: float) -> bool:
        """Whether to draft the next token, which has this confidence. If so, it counts as
        drafted."""
        self.num_computed += 1
        if confidence < self._p_min:
            return False
        level = level_of(confidence)
        joint = self._joint_probability * self._acceptance(level)
        if self._break_even is not None:
            position = len(self._joint_probabilities)
            if joint < self._break_even.min_joint_probability[position]:
                return False
        self._joint_probabilities.append(joint)
        self.levels.append(level)
        return True

    def add_forced(self, count: int) -> None:
        """Add `count` tokens that a constraint forces: they are right if those before are."""
        self._joint_probabilities += [self._joint_probability] * count
        self.levels += [None] * count

    def best_length(self, num_drafted: int) -> int:
        """How many of the first `num_drafted` tokens are worth verifying."""
        if self._break_even is None:
            return num_drafted
        tokens = best_gain = 0.0
        best = 0
        for length, joint in enumerate(self._joint_probabilities[:num_drafted], 1):
            tokens += joint
            gain = tokens - self._break_even.verifying[length]
            if gain > best_gain:
                best_gain, best = gain, length
        return best

    def expected_tokens(self, length: int) -> float:
        """Tokens that the first `length` draft tokens yield on average."""
        return sum(self._joint_probabilities[:length])

    @property
    def _joint_probability(self) -> float:
        """The chance that all draft tokens so far are accepted."""
        return self._joint_probabilities[-1] if self._joint_probabilities else 1.0
