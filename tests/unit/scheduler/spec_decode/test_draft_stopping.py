"""A draft ends once a further token does not pay."""

from __future__ import annotations

from scheduler.batching.cost_model import StepCost
from scheduler.spec_decode.batch_seconds import BatchSeconds
from scheduler.spec_decode.break_even import BreakEven, BreakEvens
from scheduler.spec_decode.draft_stopping import (
    LEVELS,
    DraftStopping,
    level_of,
    prior_acceptance,
)

EVEN = BreakEven(verifying=tuple(0.5 * n for n in range(9)), min_joint_probability=(0.5,) * 8)
"""Each draft token costs half a token."""


def drafted(stopping: DraftStopping, *confidences: float) -> int:
    """How many tokens of these confidences are drafted, one after the other."""
    return next((i for i, sure in enumerate(confidences) if not stopping.should_continue(sure)), 99)


def as_it_says(level: int) -> float:
    return prior_acceptance(level)


def test_levels_are_in_order_and_cover_all_confidences() -> None:
    levels = [level_of(n / 1000) for n in range(1001)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(len(LEVELS) + 1))
    assert all(0 < prior_acceptance(level) < 1 for level in levels)


def test_it_stops_where_all_being_right_is_too_unlikely() -> None:
    assert drafted(DraftStopping(as_it_says, EVEN), 0.999, 0.999, 0.6, 0.6, 0.6) == 3
    assert drafted(DraftStopping(as_it_says, EVEN), 0.2) == 0


def test_how_often_it_was_right_counts_and_not_how_sure_it_is() -> None:
    assert drafted(DraftStopping(lambda level: 0.1, EVEN), 0.999) == 0
    assert drafted(DraftStopping(lambda level: 0.9, EVEN), 0.1, 0.1, 0.1) == 99


def test_without_a_break_even_only_the_least_probability_counts() -> None:
    assert drafted(DraftStopping(as_it_says), *[0.01] * 8) == 99
    stopping = DraftStopping(as_it_says, p_min=0.5)
    assert drafted(stopping, 0.6, 0.5, 0.4) == 2
    assert stopping.best_length(2) == 2


def test_it_is_cut_where_it_is_most_above_its_cost() -> None:
    break_even = BreakEven(verifying=(0.0, 0.9, 1.0, 2.5, 2.6), min_joint_probability=(0.0,) * 4)
    stopping = DraftStopping(lambda level: 0.8, break_even)
    for _ in range(4):
        stopping.should_continue(0.9)
    # 0.8 - 0.9, 1.44 - 1.0, 1.952 - 2.5, 2.36 - 2.6
    assert stopping.best_length(4) == 2
    assert stopping.best_length(1) == 0


def test_what_a_constraint_forces_is_as_likely_as_what_it_follows() -> None:
    break_even = BreakEven(verifying=(0.0, 0.7, 1.4, 2.1, 2.8), min_joint_probability=(0.0,) * 4)
    stopping = DraftStopping(lambda level: 0.8, break_even)
    stopping.should_continue(0.9)
    stopping.add_forced(3)
    assert stopping.best_length(4) == 4
    assert stopping.levels[1:] == [None] * 3


def test_several_rows_that_are_cheap_together_are_worth_a_dear_first_one() -> None:
    seconds = {1: 0.1, 2: 0.2, 3: 0.21, 4: 0.22, 16: 0.3}
    batches = BatchSeconds(StepCost(seconds, seconds), StepCost({1: 0.001}, {1: 0.001}))
    break_even = BreakEvens(batches).of(1, 10.0, 8)
    assert break_even.verifying[1] > 0.99
    assert break_even.min_joint_probability[0] < 0.5
    stopping = DraftStopping(lambda level: 0.95, break_even)
    assert drafted(stopping, *[0.95] * 8) == 99
    assert stopping.best_length(8) == 8
    assert stopping.best_length(1) == 0
