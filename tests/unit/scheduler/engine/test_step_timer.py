"""The time of a step, divided among its phases."""

from __future__ import annotations

import itertools

from scheduler.engine.step_timer import Phase, StepTimer


def test_phases_add_up_to_the_step() -> None:
    ticks = itertools.count(10)
    timer = StepTimer(lambda: float(next(ticks)))
    for phase in (Phase.SCHEDULE, Phase.DECODE, Phase.SAMPLE, Phase.DECODE, Phase.SAMPLE):
        timer.lap(phase)
        assert timer.last_seconds == 1.0
    assert (timer.begin, timer.end, timer.computing_seconds) == (10.0, 15.0, 4.0)
    assert sum(timer.seconds.values()) == timer.end - timer.begin
    assert timer.seconds[Phase.DECODE] == 2.0
