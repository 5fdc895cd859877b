"""How many replicas there should be: by what waits in them, and by how full their caches are.

The requests that run would be the wrong measure: slots cap them, however long the queue is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


class QueuePolicy:
    """Serve's autoscaling policy. Serve applies the delays and the bounds."""

    def __init__(self, waiting: float, kv_use: float) -> None:
        """Each replica is for `waiting` requests in the queue, and for `kv_use` of its cache."""
        self._waiting = waiting
        self._kv_use = kv_use

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas for Serve's `AutoscalingContext`, and no state."""
        stats: Mapping[str, Mapping[Any, float]] = context.aggregated_metrics or {}
        by_name = {name: list(values.values()) for name, values in stats.items()}
        queued, used = sum(by_name.get("waiting", ())), sum(by_name.get("kv_use", ()))
        wanted = math.ceil(max(queued / self._waiting, used / self._kv_use))
        return desired(context.current_num_replicas, wanted, queued, by_name.get("running", ())), {}


def desired(replicas: int, wanted: int, queued: float, running: Sequence[float]) -> int:
    """The number of replicas, before bounds and delays, where the load is worth `wanted`.

    One goes only if nothing waits and another one is idle: full slots without a queue are the
    best that can happen.
    """
    if wanted > replicas:
        return wanted
    is_idle = queued == 0 and sum(value > 0 for value in running) < replicas
    return max(replicas - 1, wanted) if is_idle else replicas
