"""When to try again what does not pay, in case that has changed."""

from __future__ import annotations


class TrialSchedule:
    """Counts occasions, and says which of them are for a trial.

    The first trial comes at occasion number `first`. The pause before each next trial is twice as
    long as the one before it, up to `last` occasions.
    """

    __slots__ = ("_first", "_last", "_num_skipped", "_pause")

    def __init__(self, first: int, last: int | None = None) -> None:
        """Pauses in occasions, at least 1. Without `last` all pauses are `first` long."""
        self._first = first
        self._last = first if last is None else last
        self._num_skipped = 0
        self._pause = first

    def is_due(self) -> bool:
        """Count one occasion. True if this one is for a trial."""
        self._num_skipped += 1
        if self._num_skipped < self._pause:
            return False
        self._num_skipped = 0
        self._pause = min(2 * self._pause, self._last)
        return True

    def reset(self) -> None:
        """Begin again with the first pause, once a trial has paid."""
        self._num_skipped = 0
        self._pause = self._first
