"""Whom it pays to draft for, and how far."""

from __future__ import annotations

import pytest

from scheduler.batching.cost_model import StepCost
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.batch_seconds import BatchSeconds
from scheduler.spec_decode.draft_lengths import Candidate, DraftLengths
from scheduler.spec_decode.draft_stats import DraftStats

FLAT = {1: 10.0, 2: 10.5, 4: 11.0, 8: 12.0, 16: 14.0, 64: 30.0}
"""A machine bound by reading weights: more rows cost little."""

STEEP = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 160.0, 64: 640.0}
"""A machine bound by arithmetic."""


def lengths(
    table: dict[int, float],
    rates: list[float],
    *,
    most: int = 8,
    others: int = 0,
    draft_seconds: float = 0.1,
    is_free: bool = False,
    recomputes: bool = False,
) -> list[int]:
    candidates = [Candidate(AcceptanceRate(rate), most, is_free) for rate in rates]
    draft = StepCost({1: draft_seconds}, {1: draft_seconds, 16: draft_seconds})
    seconds = BatchSeconds(StepCost(table, table), draft, recomputes=recomputes)
    decision = DraftLengths(seconds).choose(candidates, others)
    return [*decision.lengths]


def test_cheap_rows_and_good_drafts_go_far() -> None:
    assert lengths(FLAT, [0.95]) == [8]


def test_bad_drafts_go_less_far() -> None:
    (far,), (less,) = lengths(FLAT, [0.9]), lengths(FLAT, [0.4])
    assert 0 < less < far


def test_rows_that_cost_in_proportion_are_never_worth_it() -> None:
    assert lengths(STEEP, [0.99]) == [0]
    assert lengths(STEEP, [0.99], is_free=True) == [0]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_where_right_tokens_are_computed_again_drafts_must_be_better(count: int) -> None:
    """A wrong token costs another batch."""
    table = {1: 10.0, 4: 10.5, 8: 11.0, 16: 12.0, 64: 16.0, 128: 20.0}
    assert lengths(table, [0.45] * count) != [0] * count
    assert lengths(table, [0.45] * count, recomputes=True) == [0] * count
    assert lengths(table, [0.98] * count, recomputes=True) != [0] * count


def test_what_is_right_costs_nothing_more() -> None:
    assert lengths(FLAT, [1.0], recomputes=True) == lengths(FLAT, [1.0])


def test_a_slow_draft_model_is_not_worth_it_either() -> None:
    assert lengths(FLAT, [0.8], draft_seconds=9.0) == [0]
    assert lengths(FLAT, [0.8], draft_seconds=9.0, is_free=True) != [0]


def test_many_streams_leave_no_room_for_drafts() -> None:
    table = {1: 10.0, 4: 10.5, 8: 11.0, 16: 21.0, 32: 42.0, 64: 84.0, 256: 336.0}
    assert lengths(table, [0.8]) != [0]
    assert lengths(table, [0.8] * 16) == [0] * 16


def test_only_those_are_drafted_for_whose_drafts_are_accepted() -> None:
    table = {1: 10.0, 2: 11.0, 4: 12.0, 8: 14.0, 16: 40.0, 32: 80.0}
    found = lengths(table, [0.02, 0.95, 0.02])
    assert found[1] > 0
    assert found[0] == found[2] == 0


def test_a_draft_is_never_longer_than_it_may_be() -> None:
    assert lengths(FLAT, [0.95, 0.95], most=3) == [3, 3]


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("table", [FLAT, STEEP])
def test_the_choice_is_the_best_of_all_lengths(table: dict[int, float], rate: float) -> None:
    """For one stream, compared with trying all lengths."""
    acceptance = AcceptanceRate(rate)
    cost = StepCost(table, table)

    def speed(length: int) -> float:
        seconds = cost.micro_batch_seconds(1, 1 + length) + length * 0.1
        return acceptance.expected_tokens(length) / seconds

    (length,) = lengths(table, [rate])
    assert speed(length) >= 0.97 * max(speed(n) for n in range(9))


def test_experience_that_drafts_do_not_pay_outweighs_what_acceptance_promises() -> None:
    seconds = {1: 0.1, 16: 0.15}
    batches = BatchSeconds(StepCost(seconds, seconds), StepCost({1: 0.01}, {1: 0.01}))
    chooser = DraftLengths(batches)
    candidate = Candidate(AcceptanceRate(0.95), 8, is_free=False)
    assert chooser.choose([candidate], 0, DraftStats()).lengths[0] > 0
    useless, useful = DraftStats(), DraftStats()
    for _ in range(20):
        useless.observe(8, 4, 0)
        useful.observe(5, 4, 3)
    assert chooser.choose([candidate], 0, useless).lengths == (0,)
    decision = chooser.choose([candidate], 0, useful)
    assert decision.lengths[0] > 0
    assert decision.rate == pytest.approx(4 / (0.1 + 0.05 * 4 / 15 + 5 * 0.01))
    for _ in range(100):
        useless.fade()
    assert chooser.choose([candidate], 0, useless).lengths[0] > 0


def test_whoever_is_accepted_often_enough_is_drafted_for_where_any_is() -> None:
    """With one length for all, only the first is worth it. But drafts end by themselves."""
    seconds = {1: 1.0, 2: 1.02, 3: 1.5, 4: 1.55, 5: 1.7, 8: 2.3, 64: 24.0}
    batches = BatchSeconds(StepCost(seconds, seconds), StepCost(*[{1: 0.01, 64: 0.01}] * 2))
    chooser = DraftLengths(batches)
    candidates = [Candidate(AcceptanceRate(rate), 8, is_free=False) for rate in (0.95, 0.6, 0.1)]
    assert [length > 0 for length in chooser.choose(candidates, 0).lengths] == [True, False, False]
    assert chooser.choose(candidates, 0, DraftStats()).lengths == (8, 8, 0)
