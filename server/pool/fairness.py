"""Who had how much of the loading, and how many requests there were together a moment ago. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

HALF_LIFE = 60.0
"""Seconds after which half of what a tenant has had is forgotten."""

RECENT_SECONDS = 1.0
"""What counts as a moment ago."""


class LoadShares:
    """Seconds of loading by tenant, the older the less."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._at = -math.inf

    def add(self, tenants: Sequence[str], seconds: float, now: float) -> None:
        """Note a load that was for these tenants; they share its time."""
        self._forget(now)
        for tenant in tenants:
            self._spent[tenant] = self._spent.get(tenant, 0.0) + seconds / len(tenants)

    def at(self, now: float) -> Mapping[str, float]:
        """What each tenant has had."""
        self._forget(now)
        return self._spent

    def _forget(self, now: float) -> None:
        factor = 0.5 ** ((now - self._at) / HALF_LIFE)
        kept = {tenant: spent * factor for tenant, spent in self._spent.items()}
        self._spent = {tenant: spent for tenant, spent in kept.items() if spent > 1e-3}
        self._at = now


class RecentPeak:
    """The most requests at a time within `RECENT_SECONDS`."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()
        """When a number of requests ended to be true, and the number; falling numbers."""
        self._now_count = 0

    def change(self, count: int, now: float) -> None:
        """There are `count` requests from now on."""
        while self._counts and self._counts[-1][1] <= self._now_count:
            self._counts.pop()
        self._counts.append((now, self._now_count))
        self._now_count = count

    def at(self, now: float) -> int:
        """The peak."""
        while self._counts and self._counts[0][0] < now - RECENT_SECONDS:
            self._counts.popleft()
        return max(self._now_count, self._counts[0][1] if self._counts else 0)
