"""A memo of what follows from step costs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from scheduler.batching.cost_model import StepCost

MAX_REMEMBERED = 1024
"""Results that one memo holds. A full memo is emptied: the keys in use come back at once."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CostMemo(Generic[K, V]):
    """Results by key, dropped whenever one of the costs behind them has changed."""

    def __init__(self, *costs: StepCost | None) -> None:
        """Everything that the results are computed from, besides their keys."""
        self._costs = [cost for cost in costs if cost is not None]
        self._versions: list[int] = []
        self._results: dict[K, V] = {}

    def get(self, key: K, compute: Callable[[], V]) -> V:
        """The result for `key`, computed only if it is not known."""
        versions = [cost.version for cost in self._costs]
        if self._versions != versions or len(self._results) > MAX_REMEMBERED:
            self._results.clear()
            self._versions = versions
        if key not in self._results:
            self._results[key] = compute()
        return self._results[key]
