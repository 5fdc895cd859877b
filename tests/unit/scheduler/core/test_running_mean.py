"""The mean that forgets."""

from __future__ import annotations

import pytest

from scheduler.core.running_mean import RunningMean


def test_what_is_observed_replaces_what_was_believed() -> None:
    mean = RunningMean(0.9, value=1.0, weight=5.0)
    for _ in range(100):
        mean.observe(3.0)
    assert mean.value == pytest.approx(3.0, abs=1e-3)
    assert mean.weight == pytest.approx(10.0, rel=1e-3)


def test_it_is_the_mean_weighted_by_age() -> None:
    mean = RunningMean(0.5)
    for value in (8.0, 4.0, 2.0):
        mean.observe(value)
    assert mean.value == pytest.approx((0.25 * 8 + 0.5 * 4 + 2) / 1.75)


def test_several_units_at_once_count_as_many() -> None:
    mean = RunningMean(0.5, value=6.0, weight=4.0)
    mean.observe(3.0, weight=2.0)
    assert mean.value == pytest.approx((6.0 * 4 * 0.25 + 3.0 * 2) / 3)


def test_to_a_steady_mean_each_value_counts_the_same() -> None:
    mean = RunningMean.steady(0.8, 10.0)
    mean.observe(20.0)
    assert mean.value == pytest.approx(12.0)
    mean.observe(22.0)
    assert mean.value == pytest.approx(14.0)


def test_what_has_faded_is_replaced_sooner() -> None:
    fresh, faded = RunningMean(0.9, 1.0, 8.0), RunningMean(0.9, 1.0, 8.0)
    faded.fade(0.75)
    assert (faded.value, faded.weight) == (1.0, 2.0)
    for mean in (fresh, faded):
        mean.observe(5.0)
    assert faded.value > fresh.value


def test_it_moves_part_of_the_way() -> None:
    mean = RunningMean(0.9, 1.0, 8.0)
    mean.move_towards(2.0, 0.25)
    assert (mean.value, mean.weight) == (1.25, 8.0)
