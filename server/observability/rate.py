"""Tokens per second over the last minute, the same for everyone who asks."""

from __future__ import annotations

from collections import deque

WINDOW = 60.0
"""Seconds that a rate looks back on."""


class Rate:
    """Tokens, and the seconds of work that they took, in buckets of one second."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[int, int, float]] = deque()

    def add(self, tokens: int, seconds: float, now: float) -> None:
        """Count work that was done at `now`, in seconds of any steady clock."""
        second = int(now)
        if self._buckets and self._buckets[-1][0] == second:
            _, counted, spent = self._buckets.pop()
            tokens, seconds = tokens + counted, seconds + spent
        self._buckets.append((second, tokens, seconds))
        self._forget(now)

    def per_second(self, now: float) -> float:
        """Tokens by second of work; 0 if there was none in the window."""
        self._forget(now)
        spent = sum(bucket[2] for bucket in self._buckets)
        return sum(bucket[1] for bucket in self._buckets) / spent if spent else 0.0

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0][0] < now - WINDOW:
            self._buckets.popleft()
