from __future__ import annotations

import random

import pytest

from loadtests.bound import (
    Costs,
    Place,
    best_length,
    draft_places,
    lookup_places,
    right_by_position,
)


def even(points: dict[int, float], draft_token: float = 0.0) -> Costs:
    """Costs where rows of one stream cost the same as rows of several."""
    return Costs(points, points, draft_token)


FLAT = even({1: 1.0, 2: 1.0, 64: 1.0})
"""More rows cost no more time, as on a large GPU."""
STEEP = even({1: 1.0, 2: 2.0, 64: 64.0})


def test_a_step_costs_what_was_measured_and_a_line_between() -> None:
    costs = even({1: 1.0, 4: 4.0, 8: 6.0})
    found = [costs.of_step(1, rows) for rows in (1, 2, 4, 6, 8, 10)]
    assert found == [1.0, 2.0, 4.0, 5.0, 6.0, 7.0]
    assert even({1: 0.5}).of_step(1, 9) == 0.5


def test_streams_are_divided_into_batches_as_is_cheapest() -> None:
    costs = Costs({1: 1.0, 2: 1.5, 4: 9.0}, {1: 1.0, 2: 5.0, 4: 3.0}, 0.0)
    assert costs.of_step(2, 1) == 2.0  # one by one
    assert costs.of_step(4, 1) == 3.0  # together
    assert costs.of_step(2, 2) == 3.0  # one by one, two rows each


def test_runs_of_right_tokens_are_accepted_drafts() -> None:
    places = draft_places([True, True, False, True], max_draft=8)
    assert [place.right for place in places] == [2, 1, 0, 1]
    assert right_by_position([places], 3) == [0.75, 0.25, 0.0]
    assert max(place.right for place in draft_places([True] * 9, max_draft=4)) == 4


def test_without_an_accepted_draft_nothing_is_gained() -> None:
    bound = best_length([draft_places([False] * 20, 8)], even({1: 1.0, 9: 1.1}, 0.01), 8)
    assert (bound.length, bound.speed_up) == (0, 1.0)


def test_where_rows_are_free_and_drafts_accepted_the_longest_is_best() -> None:
    bound = best_length([draft_places([True] * 90, 8)], FLAT, 8)
    assert bound.length == 8
    assert bound.tokens_per_step == bound.speed_up == 9.0


def test_where_rows_cost_in_proportion_nothing_is_gained() -> None:
    bound = best_length([draft_places([True, True, False] * 20, 8)], STEEP, 8)
    assert bound.speed_up == 1.0


def test_streams_side_by_side_multiply_the_rows() -> None:
    costs = even({1: 1.0, 8: 1.0, 9: 3.0, 64: 60.0})
    right = [draft_places([True] * 88, 8)]
    assert best_length(right, costs, 7, streams=1).speed_up == 8.0
    assert best_length(right, costs, 7, streams=8).speed_up < 1.3


def test_the_time_of_drafts_counts() -> None:
    right = [draft_places([True] * 9, 8)]
    assert best_length(right, even({1: 1.0, 64: 1.0}, 0.125), 8).speed_up == 9 / 2


def test_the_bound_is_what_a_simulation_step_by_step_gives() -> None:
    rng = random.Random(1)
    rights = [rng.random() < 0.8 for _ in range(400)]
    costs = even({1: 1.0, 4: 1.3, 9: 2.5}, 0.05)
    bound = best_length([draft_places(rights, 8)], costs, 8)
    for length in range(9):
        at, seconds = 0, 0.0
        while at < len(rights):
            seconds += costs.of_step(1, 1 + length) + 0.05 * length
            drafted = 0
            while drafted < length and at < len(rights) and rights[at]:
                drafted, at = drafted + 1, at + 1
            at += 1
        assert bound.speed_up >= 400 / seconds - 1e-9
        if length == bound.length:
            assert bound.speed_up == pytest.approx(400 / seconds)


def test_lookup_drafts_what_followed_before() -> None:
    #                          0  1  2  3  4     known: 7 1 2 3 9 1 | then the answer's second token
    places = lookup_places([7, 1, 2, 3, 9], [1, 2, 3, 4], size=1, max_draft=8)
    assert places == [Place(4, 2), Place(4, 1), Place(4, 0)]
    assert lookup_places([5, 6], [7, 8, 9], size=1, max_draft=8) == [Place(0, 0)] * 2
    assert lookup_places([1], [2, 3], size=12, max_draft=8) == [Place(0, 0)]


def test_lookup_takes_the_latest_place_and_no_more_than_the_most() -> None:
    places = lookup_places([1, 5, 1, 6, 6, 6], [1, 6, 6, 6], size=1, max_draft=2)
    assert places[0] == Place(2, 2)
