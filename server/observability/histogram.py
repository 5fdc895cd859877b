"""A histogram with cheap observations: one bisection for each token of each stream."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client.samples import Exemplar

MAX_ID_LENGTH = 100
"""OpenMetrics allows an exemplar's labels 128 characters. Longer ids are left out: half an id
finds nothing."""

Bucket = tuple[str, float] | tuple[str, float, Exemplar]
"""An upper bound, the observations up to it, and the last request in this bucket."""


class Histogram:
    """Counts of observations by upper bound, in the unit of the bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._texts = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        self._counts = [0] * len(self._texts)
        self._latest: list[tuple[str, float, float] | None] = [None] * len(self._texts)
        self.total = 0.0

    def observe(self, value: float, times: int = 1, request_id: str = "") -> None:
        """Count `value`, `times` times."""
        index = bisect_left(self._bounds, value)
        self._counts[index] += times
        self.total += value * times
        if 0 < len(request_id) <= MAX_ID_LENGTH:
            self._latest[index] = (request_id, value, time.time())

    def buckets(self) -> list[Bucket]:
        """Cumulative buckets, as Prometheus wants them."""
        result: list[Bucket] = []
        running = 0
        for text, count, latest in zip(self._texts, self._counts, self._latest, strict=True):
            running += count
            if latest is None:
                result.append((text, float(running)))
            else:
                result.append((text, float(running), _exemplar(*latest)))
        return result


def _exemplar(request_id: str, value: float, seconds: float) -> Exemplar:
    return Exemplar({"request_id": request_id}, value, round(seconds, 3))
