"""A short wait of an idle engine, so that requests that arrive together start together."""

from __future__ import annotations

from collections.abc import Callable

BATCH_WINDOW_SECONDS = 0.008
"""Requests that arrive within this window start in one step. A request that misses it stays one
step behind its group for good: its prompt is computed apart, and delays the others each time."""


class BatchWindow:
    """Opens when a request arrives of which more are known to follow."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = 0.0

    @property
    def seconds_left(self) -> float:
        """How long to wait for further requests; 0 if the window is closed."""
        return max(self._end - self._clock(), 0.0)

    def request_arrived(self, *, more_follow: bool) -> None:
        """Open the window unless it is open, or close it if nothing more is to come."""
        if not more_follow:
            self._end = 0.0
        elif self.seconds_left == 0:
            self._end = self._clock() + BATCH_WINDOW_SECONDS
