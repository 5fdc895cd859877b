"""Whether cells are worth saving to host memory, or are computed again in less time."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.core.running_mean import RunningMean
from scheduler.core.trial_schedule import TrialSchedule

COPIES = 3.0
"""Saving must be this many times as fast as computing. Then it pays off if every second prefix
comes back: for each that does, two are saved and one is restored."""

DECAY = 0.9999
"""Weight that older saves keep for each token of a new one: half after some 7,000 tokens."""

FIRST_TRIAL, LAST_TRIAL = 32, 2048
"""After this many saves that were not worth it, one is made to see whether they are now."""


class Saving:
    """Compares what saving takes, as observed, with what computing takes.

    On CPUs a save is a copy in memory, far below the time of computing. A GPU computes a token in
    50 µs, and gives cells away in pieces: with one stream of cells for all slots, each token of an
    answer is a piece by itself, in each layer. So saving an answer can take ten times as long.
    """

    def __init__(self, compute_seconds: Callable[[int], float] | None = None) -> None:
        """`compute_seconds`: what computing so many tokens of a prompt takes; None if unknown."""
        self._compute_seconds = compute_seconds
        self._token_seconds = RunningMean(DECAY)
        self._is_tried = False
        """Whether the first save is under way; further ones wait for what it teaches."""
        self._trials = TrialSchedule(FIRST_TRIAL, LAST_TRIAL)

    def is_worth_it(self, num_tokens: int, num_lost: int) -> bool:
        """Whether to save `num_tokens`, of which `num_lost` would have no cells otherwise."""
        if self._compute_seconds is None:
            return True
        if not self._token_seconds.weight:
            was_tried, self._is_tried = self._is_tried, True
            return not was_tried
        saving = self._token_seconds.value * num_tokens
        if COPIES * saving <= self._compute_seconds(num_lost):
            return True
        return self._trials.is_due()

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Learn from a save of `num_tokens` that took `seconds`; 0 tokens teach nothing."""
        self._is_tried = False
        if num_tokens > 0:
            self._token_seconds.observe(seconds / num_tokens, num_tokens)
