"""Whether cells and checkpoints are worth saving to host memory, or what they save is computed in
less time."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.core.running_mean import RunningMean
from scheduler.core.trial_schedule import TrialSchedule

COPIES = 3.0
"""Saving must be this many times as fast as computing. Then it pays off if every second prefix
comes back: for each that does, two are saved and one is restored."""

DECAY = 0.9999
"""Weight that older saves keep for each token of a new one: half after some 7,000 tokens."""

CHECKPOINT_DECAY = 0.8
"""Weight that older checkpoints keep with each new one."""

MIN_SPACING, MAX_SPACING = 16, 4096
"""Bounds of the distance in tokens between checkpoints that nobody asked for."""

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


class CheckpointSaving:
    """How far apart checkpoints should lie, by what saving one takes, as observed."""

    def __init__(self, compute_seconds: Callable[[int], float] | None = None) -> None:
        """`compute_seconds`: what computing so many tokens of a prompt takes; None if unknown."""
        self._compute_seconds = compute_seconds
        self._seconds = RunningMean(CHECKPOINT_DECAY)

    @property
    def spacing(self) -> int:
        """Tokens that take longer to compute than a checkpoint behind them takes to save, as many
        times as `COPIES` says."""
        spacing = MIN_SPACING
        if self._compute_seconds is None or not self._seconds.weight:
            return spacing
        worth = COPIES * self._seconds.value
        while spacing < MAX_SPACING and self._compute_seconds(spacing) < worth:
            spacing *= 2
        return spacing

    def observe(self, seconds: float) -> None:
        """Learn what one checkpoint took."""
        self._seconds.observe(seconds)
