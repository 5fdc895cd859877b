"""The time of a step, divided among its phases."""

from __future__ import annotations

import itertools

import pytest

from scheduler.engine.step_timer import Phase, StepTimer


def test_phases_add_up_to_the_step() -> None:
    ticks = itertools.count(10)
    timer = StepTimer(lambda: float(next(ticks)))
    for phase in (Phase.SCHEDULE, Phase.DECODE, Phase.SAMPLE, Phase.DECODE, Phase.SAMPLE):
        with timer(phase):
            pass
    assert (timer.begin, timer.end, timer.computing_seconds) == (10.0, 15.0, 4.0)
    assert sum(timer.seconds.values()) == timer.end - timer.begin
    assert timer.seconds[Phase.DECODE] == 2.0


def test_a_phase_that_fails_is_timed_too() -> None:
    ticks = itertools.count()
    timer = StepTimer(lambda: float(next(ticks)))
    with pytest.raises(ValueError, match="broken"), timer(Phase.DECODE):
        raise ValueError("broken")
    assert timer.seconds[Phase.DECODE] == timer.last_seconds == 1.0
