"""A rate limit: so many units a minute, of which at most a minute's worth is saved up."""

from __future__ import annotations

import math

MINUTE = 60.0


class TokenBucket:
    """Starts full. Times are monotonic seconds and passed in; they may not run backwards."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._updated = now

    def take(self, amount: int, now: float) -> None:
        """Use up `amount`, even if that leaves a debt which the coming minutes pay."""
        self._refill(now)
        self._level -= amount

    def seconds_until(self, amount: int, now: float) -> float:
        """How long until `amount` can be taken without a debt; infinite if it never can."""
        self._refill(now)
        if amount > self.per_minute:
            return math.inf
        return max(amount - self._level, 0.0) * MINUTE / self.per_minute

    def seconds_until_full(self, now: float) -> float:
        """How long until everything that was taken is back."""
        return self.seconds_until(self.per_minute, now)

    def remaining(self, now: float) -> int:
        """Whole units that can be taken without a debt."""
        self._refill(now)
        return max(math.floor(self._level), 0)

    def resize(self, per_minute: int, now: float) -> None:
        """Another limit from now on; what was used under the old one stays used."""
        self._refill(now)
        self._level += per_minute - self.per_minute
        self.per_minute = per_minute

    def _refill(self, now: float) -> None:
        gained = max(now - self._updated, 0.0) * self.per_minute / MINUTE
        self._level = min(self._level + gained, float(self.per_minute))
        self._updated = max(now, self._updated)
