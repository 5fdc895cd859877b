"""Tokens per second over the last minute; reading a rate changes nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 60.0
"""How many seconds a rate looks back."""


class Rate:
    """Tokens, and the seconds of work that they took, in buckets of one second."""

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque()

    def add(self, tokens: int, seconds: float, now: float) -> None:
        """Count work that was done at `now`, in seconds of any steady clock."""
        bucket = self._buckets[-1] if self._buckets else None
        if bucket is None or bucket.second != int(now):
            bucket = _Bucket(int(now))
            self._buckets.append(bucket)
            self._forget(now)
        bucket.tokens += tokens
        bucket.spent += seconds

    def per_second(self, now: float) -> float:
        """Tokens per second of work; 0 without work in the window."""
        self._forget(now)
        spent = sum(bucket.spent for bucket in self._buckets)
        return sum(bucket.tokens for bucket in self._buckets) / spent if spent else 0.0

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0].second < now - WINDOW:
            self._buckets.popleft()


@dataclass(slots=True)
class _Bucket:
    second: int
    tokens: int = 0
    spent: float = 0.0
