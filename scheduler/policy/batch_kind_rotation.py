"""Round robin among batch kinds, which can't be computed together. Policy only."""

from __future__ import annotations

from collections.abc import Collection

from scheduler.core.batch_kind import BatchKind

MAX_STEPS = 8
"""A kind is served for at most this many steps, however short, before the next kind."""


class BatchKindRotation:
    """Serves the kinds that have work one after the other, each for a few steps.

    A kind that gets work queues behind the kinds that wait already, and before the one that is
    being served. So with n kinds, each is served within n turns.

    llama.cpp plans its memory again for other adapters, which takes as long as some steps of a
    small model. So a kind keeps its turn for a few steps, if a round of all kinds takes no longer
    than `round_seconds`.
    """

    def __init__(self, round_seconds: float) -> None:
        self._round_seconds = round_seconds
        self._order: list[BatchKind] = []
        """The last one is being served, or was served last."""
        self._num_steps = 0
        self._seconds = 0.0

    def take(self, kinds: Collection[BatchKind]) -> BatchKind:
        """The kind to serve in this step. `kinds` have work; there is at least one."""
        if not self._keeps_turn(kinds):
            last = self._order[-1:]
            waiting = [kind for kind in self._order[:-1] if kind in kinds]
            waiting += [kind for kind in kinds if kind not in (*waiting, *last)]
            waiting += [kind for kind in last if kind in kinds]
            self._order = [*waiting[1:], waiting[0]]
            self._num_steps, self._seconds = 0, 0.0
        self._num_steps = MAX_STEPS if len(kinds) == 1 else self._num_steps + 1
        return self._order[-1]

    def observe(self, seconds: float) -> None:
        """Learn how long the step took."""
        self._seconds += seconds

    def _keeps_turn(self, kinds: Collection[BatchKind]) -> bool:
        """Whether the kind that was served last is served for another step."""
        return (
            bool(self._order)
            and self._order[-1] in kinds
            and self._num_steps < MAX_STEPS
            and self._seconds < self._round_seconds / len(kinds)
        )
