"""Where a step's time goes."""

from __future__ import annotations

import enum
from collections.abc import Callable


class Phase(enum.Enum):
    """What a step does, one after the other; batches alternate between the last but one."""

    SCHEDULE = enum.auto()
    DRAFT = enum.auto()
    DECODE = enum.auto()
    """Editing the cache included."""
    SAMPLE = enum.auto()
    UPDATE = enum.auto()


class StepTimer:
    """A stopwatch for one step; seconds of the engine's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin = self.end = clock()
        self.seconds = dict.fromkeys(Phase, 0.0)

    def lap(self, phase: Phase) -> float:
        """Put down the time since the last lap to a phase; returns it."""
        now = self._clock()
        seconds, self.end = now - self.end, now
        self.seconds[phase] += seconds
        return seconds

    @property
    def computing_seconds(self) -> float:
        """Without scheduling and updating."""
        seconds = self.seconds
        return seconds[Phase.DRAFT] + seconds[Phase.DECODE] + seconds[Phase.SAMPLE]
