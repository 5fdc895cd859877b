"""Percentiles, medians and ratios. Pure: no clock, no input or output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile (0 to 100), linear between neighbours; NaN without values."""
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {q}")
    if not values:
        return math.nan
    ordered = sorted(values)
    rank = (len(ordered) - 1) * q / 100
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def median(values: Sequence[float]) -> float:
    """The median; NaN without values."""
    return percentile(values, 50)


def ratio(ours: float, theirs: float) -> float:
    """ours / theirs; NaN if the divisor is zero or unknown."""
    if theirs == 0 or math.isnan(theirs):
        return math.nan
    return ours / theirs


@dataclass(frozen=True)
class Spread:
    """A median and the range of the values."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median, least and greatest of the values, without NaN."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(math.nan, math.nan, math.nan)
    return Spread(median(known), min(known), max(known))
