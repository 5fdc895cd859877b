"""What draft tokens must be worth, so that drafting and verifying them pays."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from scheduler.batching.cost_memo import CostMemo
from scheduler.spec_decode.batch_seconds import BatchSeconds

ASSUMED_ACCEPTANCE = 0.9
"""Assumed acceptance of the tokens after this one, when deciding whether this one pays: several
rows may be cheap together where the first row alone is not."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The cost of draft tokens, in tokens that the same time would yield otherwise."""

    verifying: tuple[float, ...]
    """`verifying[k]`: extra cost of verifying k draft tokens instead of none, in tokens."""
    min_joint_probability: tuple[float, ...]
    """`min_joint_probability[k]`: the chance that the first k + 1 draft tokens are all accepted
    from which drafting token k + 1 pays."""


class BreakEvens:
    """Break-even values for drafts, from what batches cost."""

    def __init__(self, seconds: BatchSeconds) -> None:
        self._seconds = seconds
        self._known: CostMemo[object, BreakEven] = CostMemo(*seconds.costs)

    def of(self, num_drafting: int, rate: float, max_length: int) -> BreakEven:
        """For drafts of up to `max_length` tokens for each of `num_drafting` sequences.

        `rate` is how many tokens a second all sequences together get otherwise.
        """
        key = (num_drafting, round(math.log(rate), 1), max_length)
        return self._known.get(key, lambda: self._compute(num_drafting, rate, max_length))

    def _compute(self, num_drafting: int, rate: float, max_length: int) -> BreakEven:
        rate_each = rate / num_drafting
        steps = [self._seconds.batch(num_drafting, 1 + k) for k in range(max_length + 1)]
        drafting = self._seconds.draft_token(num_drafting)

        def min_joint_probability(length: int) -> float:
            """The lowest over all numbers of further tokens, if those are accepted as assumed."""
            powers = (ASSUMED_ACCEPTANCE**n for n in range(max_length - length))
            return min(
                rate_each * (steps[length + more] - steps[length] + more * drafting) / tokens
                for more, tokens in enumerate(itertools.accumulate(powers), 1)
            )

        return BreakEven(
            verifying=tuple(rate_each * (seconds - steps[0]) for seconds in steps),
            min_joint_probability=tuple(map(min_joint_probability, range(max_length))),
        )
