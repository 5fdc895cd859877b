"""Where prompts stop for a checkpoint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.kv_cache.checkpoint_stops import MAX_PARTINGS, TAIL, checkpoint_stops
from scheduler.kv_cache.host_cache import MIN_TOKENS
from scheduler.kv_cache.saving import MIN_SPACING


@pytest.mark.parametrize(
    ("num_tokens", "start", "partings", "step", "expected"),
    [
        (63, 0, [], 0, []),
        (80, 0, [], 0, [76]),
        (255, 0, [], 0, [251]),
        (256, 0, [], 0, [224, 252]),
        (3200, 0, [], 0, [3000, 3168, 3196]),
        (3200, 0, [], 1000, [1000, 2000, 3000, 3168, 3196]),
        (3200, 2700, [], 300, [3000, 3168, 3196]),
        (3200, 3000, [], 1000, [3196]),
        (3200, 3150, [], 1000, []),
        (200, 0, [100], 0, [100, 196]),
        (200, 0, [100, 101], 0, [100, 101, 196]),
        (200, 0, [190], 0, [190]),
        (200, 0, [199, 200, 500], 0, [196]),
        (200, 100, [50, 100, 120], 0, [120, 196]),
        (200, 190, [195], 0, [195]),
        (70, 0, [10], 0, [66]),
    ],
)
def test_prompts_stop_before_their_end_and_where_others_part(
    num_tokens: int, start: int, partings: list[int], step: int, expected: list[int]
) -> None:
    assert checkpoint_stops(num_tokens, start, partings, step, MIN_SPACING) == expected


@given(
    st.integers(1, 2000),
    st.integers(0, 1999),
    st.lists(st.integers(0, 3000), max_size=30),
    st.integers(0, 500),
)
def test_stops_lie_where_they_are_of_use(
    num_tokens: int, start: int, partings: list[int], step: int
) -> None:
    stops = checkpoint_stops(num_tokens, start, partings, step, MIN_SPACING)
    assert stops == sorted(set(stops))
    assert all(max(MIN_TOKENS, start + 1) <= stop <= num_tokens - TAIL for stop in stops)
    assert len(stops) <= MAX_PARTINGS + 3 + (num_tokens // step if step else 0)
    useful = [p for p in partings if max(MIN_TOKENS, start + 1) <= p <= num_tokens - TAIL]
    if useful:
        assert max(useful) in stops


@pytest.mark.parametrize("spacing", [16, 64, 200, 1000])
@pytest.mark.parametrize(("start", "partings"), [(0, []), (0, [600]), (2900, []), (2900, [2950])])
def test_stops_that_nobody_asked_for_keep_their_distance(
    start: int, partings: list[int], spacing: int
) -> None:
    stops = checkpoint_stops(3200, start, partings, 250, spacing)
    assert set(partings) <= set(stops)
    unasked = [stop for stop in stops if stop not in partings]
    places = sorted({start, *stops})
    gaps = [abs(place - stop) for stop in unasked for place in places if place != stop]
    assert min(gaps, default=spacing) >= spacing
