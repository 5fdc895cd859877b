"""A draft continues while the expected gain exceeds the cost."""

from __future__ import annotations

import pytest

from scheduler.batching.cost_model import StepCost
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.draft_lengths import Candidate, DraftLengths
from scheduler.spec_decode.draft_stats import DraftStats
from scheduler.spec_decode.draft_stopping import (
    NUM_LEVELS,
    BreakEven,
    DraftStopping,
    first_rate,
    level_of,
)

EVEN = BreakEven(verifying=tuple(0.5 * n for n in range(9)), going_on=(0.5,) * 8)
"""Each guess costs half a token."""


def made(prospect: DraftStopping, *confidences: float) -> int:
    """How many guesses of these confidences are made, one after the other."""
    return next((i for i, sure in enumerate(confidences) if not prospect.goes_on(sure)), 99)


def as_it_says(level: int) -> float:
    return first_rate(level)


def test_levels_are_in_order_and_cover_all_confidences() -> None:
    levels = [level_of(n / 1000) for n in range(1001)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(NUM_LEVELS))
    assert all(0 < first_rate(level) < 1 for level in levels)


def test_it_stops_where_all_being_right_is_too_unlikely() -> None:
    assert made(DraftStopping(as_it_says, EVEN), 0.999, 0.999, 0.6, 0.6, 0.6) == 3
    assert made(DraftStopping(as_it_says, EVEN), 0.2) == 0


def test_how_often_it_was_right_counts_and_not_how_sure_it_is() -> None:
    assert made(DraftStopping(lambda level: 0.1, EVEN), 0.999) == 0
    assert made(DraftStopping(lambda level: 0.9, EVEN), 0.1, 0.1, 0.1) == 99


def test_without_a_price_only_the_least_probability_counts() -> None:
    assert made(DraftStopping(as_it_says), *[0.01] * 8) == 99
    prospect = DraftStopping(as_it_says, p_min=0.5)
    assert made(prospect, 0.6, 0.5, 0.4) == 2
    assert prospect.best_length(2) == 2


def test_it_is_cut_where_it_is_most_above_its_price() -> None:
    price = BreakEven(verifying=(0.0, 0.9, 1.0, 2.5, 2.6), going_on=(0.0,) * 4)
    prospect = DraftStopping(lambda level: 0.8, price)
    for _ in range(4):
        prospect.goes_on(0.9)
    # 0.8 - 0.9, 1.44 - 1.0, 1.952 - 2.5, 2.36 - 2.6
    assert prospect.best_length(4) == 2
    assert prospect.best_length(1) == 0


def test_what_a_constraint_forces_is_as_likely_as_what_it_follows() -> None:
    price = BreakEven(verifying=(0.0, 0.7, 1.4, 2.1, 2.8), going_on=(0.0,) * 4)
    prospect = DraftStopping(lambda level: 0.8, price)
    prospect.goes_on(0.9)
    prospect.force(3)
    assert prospect.best_length(4) == 4
    assert prospect.levels[1:] == [None] * 3


@pytest.mark.parametrize("count", [1, 4])
def test_a_price_is_what_the_time_would_yield_otherwise(count: int) -> None:
    """At 8 tokens a second, with steps of 100 ms and 10 ms for each row but the first."""
    step = StepCost(*[{rows: 0.1 + 0.01 * (rows - 1) for rows in range(1, 65)}] * 2)
    draft = StepCost(*[{1: 0.005, 64: 0.005}] * 2)
    price = DraftLengths(step, draft).price(count, 8.0, 4)
    assert price.verifying == pytest.approx([0.08 * n for n in range(5)])
    drafting = 8.0 * 0.005 / count  # together they take as long as one
    assert price.going_on[-1] == pytest.approx(0.08 + drafting)
    assert price.going_on[0] < price.going_on[-1] * 1.3


def test_several_rows_that_are_cheap_together_are_worth_a_dear_first_one() -> None:
    seconds = {1: 0.1, 2: 0.2, 3: 0.21, 4: 0.22, 16: 0.3}
    lengths = DraftLengths(StepCost(seconds, seconds), StepCost({1: 0.001}, {1: 0.001}))
    price = lengths.price(1, 10.0, 8)
    assert price.verifying[1] == pytest.approx(1.0)
    assert price.going_on[0] < 0.5
    prospect = DraftStopping(lambda level: 0.95, price)
    assert made(prospect, *[0.95] * 8) == 99
    assert prospect.best_length(8) == 8
    assert prospect.best_length(1) == 0


def test_experience_that_drafts_do_not_pay_outweighs_what_acceptance_promises() -> None:
    seconds = {1: 0.1, 16: 0.15}
    lengths = DraftLengths(StepCost(seconds, seconds), StepCost({1: 0.01}, {1: 0.01}))
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
        useless.doubt()
    assert lengths.choose([candidate], 0, useless).lengths[0] > 0


def test_whoever_is_right_often_enough_is_guessed_for_where_any_is() -> None:
    """By one length for all only the first is worth it, but prospects end drafts by themselves."""
    seconds = {1: 1.0, 2: 1.02, 3: 1.5, 4: 1.55, 5: 1.7, 8: 2.3, 64: 24.0}
    lengths = DraftLengths(StepCost(seconds, seconds), StepCost(*[{1: 0.01, 64: 0.01}] * 2))
    candidates = [Candidate(AcceptanceRate(rate), 8, is_free=False) for rate in (0.95, 0.6, 0.1)]
    assert [length > 0 for length in lengths.choose(candidates, 0).lengths] == [True, False, False]
    assert lengths.choose(candidates, 0, DraftStats()).lengths == (8, 8, 0)
