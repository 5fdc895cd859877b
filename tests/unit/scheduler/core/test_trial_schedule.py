"""When what does not pay is tried again."""

from __future__ import annotations

from scheduler.core.trial_schedule import TrialSchedule


def trials(schedule: TrialSchedule, count: int) -> list[int]:
    return [number for number in range(1, count + 1) if schedule.is_due()]


def test_the_pauses_double_up_to_the_last() -> None:
    assert trials(TrialSchedule(2, 8), 40) == [2, 6, 14, 22, 30, 38]


def test_without_a_last_pause_all_are_the_same() -> None:
    assert trials(TrialSchedule(3), 10) == [3, 6, 9]


def test_a_trial_that_paid_makes_the_next_pause_short_again() -> None:
    schedule = TrialSchedule(2, 8)
    trials(schedule, 7)
    schedule.reset()
    assert trials(schedule, 6) == [2, 6]
