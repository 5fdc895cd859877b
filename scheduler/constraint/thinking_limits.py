"""How long an answer may think, so that room is left for what the answer must have."""

from __future__ import annotations

from dataclasses import dataclass

from grammars.constraint import ThinkingConstraint

MAX_GAPS = 2
"""Most tokens of white space between the thinking and the answer."""

SPARE = 32
"""Tokens that the required part gets besides twice its shortest length."""

REQUIRED_SHARE = 0.25
"""Share of the room that the required part gets at least: models write more than they must."""


@dataclass(frozen=True, slots=True)
class ThinkingLimits:
    """The limits of one answer's thinking."""

    num_tokens: int
    """Most tokens between the opening and the end; -1 means no limit."""
    num_gaps: int = MAX_GAPS
    """Most tokens of white space after the thinking."""
    may_begin: bool = True
    """Whether the answer may think at all."""


def thinking_limits(constraint: ThinkingConstraint, shortest: int) -> ThinkingLimits:
    """The limits of the request, narrowed where the answer has to go on after its thinking.

    `shortest` is the number of tokens that the required part takes at least; 0 requires nothing.
    """
    budget = constraint.max_tokens
    if constraint.room < 0 or shortest == 0:
        return ThinkingLimits(budget)
    frame = len(constraint.opening) + len(constraint.end)
    required = max(2 * shortest + SPARE, int(constraint.room * REQUIRED_SHARE))
    left = constraint.room - required - frame
    if left > 0:
        return ThinkingLimits(left if budget < 0 else min(left, budget))
    # An opening that the prompt already has can only be closed.
    fits = frame + shortest <= constraint.room or not constraint.opening
    return ThinkingLimits(0, num_gaps=0, may_begin=fits)
