"""A rate limit: `per_minute` units a minute; at most the units of one minute are saved up."""

from __future__ import annotations

import math

MINUTE = 60.0


class TokenBucket:
    """Starts full. Times are monotonic seconds that are passed in and never decrease."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._updated = now

    def take(self, amount: int, now: float) -> None:
        """Use `amount` units, even if fewer are left: the coming minutes pay the debt."""
        self._refill(now)
        self._level -= amount

    def seconds_until(self, amount: int, now: float) -> float:
        """Seconds until `amount` units can be taken without a debt; infinite if never."""
        self._refill(now)
        if amount > self.per_minute:
            return math.inf
        return max(amount - self._level, 0.0) * MINUTE / self.per_minute

    def seconds_until_full(self, now: float) -> float:
        """Seconds until all units that were taken are back."""
        return self.seconds_until(self.per_minute, now)

    def remaining(self, now: float) -> int:
        """Whole units that can be taken without a debt."""
        self._refill(now)
        return max(math.floor(self._level), 0)

    def resize(self, per_minute: int, now: float) -> None:
        """Set another limit; what was used under the old limit stays used."""
        self._refill(now)
        self._level += per_minute - self.per_minute
        self.per_minute = per_minute

    def _refill(self, now: float) -> None:
        gained = max(now - self._updated, 0.0) * self.per_minute / MINUTE
        self._level = min(self._level + gained, float(self.per_minute))
        self._updated = max(now, self._updated)
