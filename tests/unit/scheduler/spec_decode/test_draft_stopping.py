"""A draft ends once a further token does not pay."""

from __future__ import annotations

import pytest

from scheduler.batching.cost_model import StepCost
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.batch_seconds import BatchSeconds
from scheduler.spec_decode.break_even import BreakEven, BreakEvens
from scheduler.spec_decode.draft_lengths import Candidate, DraftLengths
from scheduler.spec_decode.draft_stats import DraftStats
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


@pytest.mark.parametrize("count", [1, 4])
def test_the_break_even_is_what_the_time_would_yield_otherwise(count: int) -> None:
    """At 8 tokens a second. A step takes 100 ms, and 10 ms for each row but the first."""
    step = StepCost(*[{rows: 0.1 + 0.01 * (rows - 1) for rows in range(1, 65)}] * 2)
    draft = StepCost(*[{1: 0.005, 64: 0.005}] * 2)
    break_even = BreakEvens(BatchSeconds(step, draft)).of(count, 8.0, 4)
    assert break_even.verifying == pytest.approx([0.08 * n for n in range(5)])
    drafting = 8.0 * 0.005 / count  # together they take as long as one
    assert break_even.min_joint_probability[-1] == pytest.approx(0.08 + drafting)
    assert break_even.min_joint_probability[0] < break_even.min_joint_probability[-1] * 1.3


def test_several_rows_that_are_cheap_together_are_worth_a_dear_first_one() -> None:
    seconds = {1: 0.1, 2: 0.2, 3: 0.21, 4: 0.22, 16: 0.3}
    batches = BatchSeconds(StepCost(seconds, seconds), StepCost({1: 0.001}, {1: 0.001}))
    break_even = BreakEvens(batches).of(1, 10.0, 8)
    assert break_even.verifying[1] == pytest.approx(1.0)
    assert break_even.min_joint_probability[0] < 0.5
    stopping = DraftStopping(lambda level: 0.95, break_even)
    assert drafted(stopping, *[0.95] * 8) == 99
    assert stopping.best_length(8) == 8
    assert stopping.best_length(1) == 0


def test_experience_that_drafts_do_not_pay_outweighs_what_acceptance_promises() -> None:
    seconds = {1: 0.1, 16: 0.15}
    batches = BatchSeconds(StepCost(seconds, seconds), StepCost({1: 0.01}, {1: 0.01}))
    lengths = DraftLengths(batches)
    candidate = Candidate(AcceptanceRate(0.95), 8, is_free=False)
    assert lengths.choose([candidate], 0, DraftStats()).lengths[0] > 0
    useless, useful = DraftStats(), DraftStats()
    for _ in range(20):
        useless.observe(8, 4, 0)
        useful.observe(5, 4, 3)
    assert lengths.choose([candidate], 0, useless).lengths == (0,)
    decision = lengths.choose([candidate], 0, useful)
    assert decision.lengths[0] > 0
    assert decision.rate == pytest.approx(4 / (0.1 + 0.05 * 4 / 15 + 5 * 0.01))
    for _ in range(100):
        useless.fade()
    assert lengths.choose([candidate], 0, useless).lengths[0] > 0


def test_whoever_is_accepted_often_enough_is_drafted_for_where_any_is() -> None:
    """With one length for all, only the first is worth it. But drafts end by themselves."""
    seconds = {1: 1.0, 2: 1.02, 3: 1.5, 4: 1.55, 5: 1.7, 8: 2.3, 64: 24.0}
    batches = BatchSeconds(StepCost(seconds, seconds), StepCost(*[{1: 0.01, 64: 0.01}] * 2))
    lengths = DraftLengths(batches)
    candidates = [Candidate(AcceptanceRate(rate), 8, is_free=False) for rate in (0.95, 0.6, 0.1)]
    assert [length > 0 for length in lengths.choose(candidates, 0).lengths] == [True, False, False]
    assert lengths.choose(candidates, 0, DraftStats()).lengths == (8, 8, 0)
