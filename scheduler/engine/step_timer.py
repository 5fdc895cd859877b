"""A stopwatch that divides the time of a step among its phases."""

from __future__ import annotations

import enum
from collections.abc import Callable


class Phase(enum.IntEnum):
    """What a step does, in this order; DECODE and SAMPLE alternate from batch to batch."""

    LATE = enum.auto()
    """Sampling, and waiting, for sequences whose masks were late in an earlier step."""
    SCHEDULE = enum.auto()
    DRAFT = enum.auto()
    DECODE = enum.auto()
    """Also edits of the cache, before the drafts."""
    SAMPLE = enum.auto()
    UPDATE = enum.auto()


_NO_SECONDS = dict.fromkeys(Phase, 0.0)


class StepTimer:
    """Measures one step, in seconds of the engine's clock.

    A phase is counted from the end of the phase before, so that all phases add up to the step.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin = self.end = clock()
        self.seconds = _NO_SECONDS.copy()
        self.last_seconds = 0.0
        """How long the phase took that ended last."""

    def lap(self, phase: Phase) -> None:
        """Count the time since the last lap as this phase."""
        now = self._clock()
        self.last_seconds, self.end = now - self.end, now
        self.seconds[phase] += self.last_seconds

    @property
    def computing_seconds(self) -> float:
        """The step without late sequences, scheduling and updating."""
        seconds = self.seconds
        return seconds[Phase.DRAFT] + seconds[Phase.DECODE] + seconds[Phase.SAMPLE]
