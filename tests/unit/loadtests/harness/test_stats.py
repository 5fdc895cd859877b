from __future__ import annotations

import math

import pytest

from loadtests.harness.stats import median, percentile, ratio, spread


@pytest.mark.parametrize(
    ("q", "expected"), [(0, 1.0), (25, 1.75), (50, 2.5), (100, 4.0), (99, 3.97)]
)
def test_percentiles_are_linear_between_neighbours(q: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], q) == pytest.approx(expected)


def test_one_value_is_every_percentile() -> None:
    assert {percentile([7.0], q) for q in (0, 1, 50, 99, 100)} == {7.0}


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(median([]))


@pytest.mark.parametrize("q", [-1, 101])
def test_impossible_percentiles_are_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        percentile([1.0], q)


def test_ratio_without_a_divisor_is_unknown() -> None:
    assert ratio(3, 2) == 1.5
    assert math.isnan(ratio(3, 0))
    assert math.isnan(ratio(3, math.nan))


def test_spread_leaves_out_what_is_unknown() -> None:
    found = spread([3.0, math.nan, 1.0, 2.0])
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    assert math.isnan(spread([math.nan]).median)
