"""Whose turn it is, where not all sequences can be computed together. Policy only."""

from __future__ import annotations

from collections.abc import Collection

from scheduler.core.batch_kind import BatchKind

MAX_STEPS = 8
"""Of a turn, however short they are."""


class BatchKindRotation:
    """Round robin among the kinds that have work.

    A kind that comes, or comes back, waits behind those that wait already, and goes before the
    one that was served: with n kinds each is served within n turns, whatever the others do.

    llama.cpp plans its memory anew for other adapters, which takes as long as some steps of a
    small model. So a turn goes on for a few steps, as long as a round of all kinds takes no longer
    than `round_seconds`.
    """

    def __init__(self, round_seconds: float) -> None:
        self._round_seconds = round_seconds
        self._order: list[BatchKind] = []
        """The last one is whose turn it is, or was."""
        self._num_steps = 0
        self._seconds = 0.0

    def take(self, kinds: Collection[BatchKind]) -> BatchKind:
        """The kind to serve in this step, out of at least one that has work."""
        if not self._goes_on(kinds):
            last = self._order[-1:]
            waiting = [kind for kind in self._order[:-1] if kind in kinds]
            waiting += [kind for kind in kinds if kind not in (*waiting, *last)]
            waiting += [kind for kind in last if kind in kinds]
            self._order = [*waiting[1:], waiting[0]]
            self._num_steps, self._seconds = 0, 0.0
        self._num_steps = MAX_STEPS if len(kinds) == 1 else self._num_steps + 1
        return self._order[-1]

    def observe(self, seconds: float) -> None:
        """Learn what the step took."""
        self._seconds += seconds

    def _goes_on(self, kinds: Collection[BatchKind]) -> bool:
        """Whether the turn that began lasts for another step."""
        return (
            bool(self._order)
            and self._order[-1] in kinds
            and self._num_steps < MAX_STEPS
            and self._seconds < self._round_seconds / len(kinds)
        )
