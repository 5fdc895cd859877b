"""Division of a step's prefill budget among prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.batching.cost_model import StepCost
from scheduler.policy.prefill_budget import MIN_CHUNK
from scheduler.policy.prefill_shares import BUDGET_OVERRUN, share_out, smallest_share

MUCH = 10_000


def test_a_rest_of_a_few_tokens_is_computed_too() -> None:
    assert share_out({"a": 80}, budget=64, most=MUCH) == {"a": 80}
    assert share_out({"a": 90}, budget=64, most=MUCH) == {"a": 64}
    assert share_out({"a": 80}, budget=64, most=70) == {"a": 64}


def test_who_is_first_goes_first_and_all_of_a_small_budget_goes_to_one() -> None:
    assert share_out({"b": 500, "a": 500}, budget=64, most=MUCH) == {"b": 64}


def test_what_one_leaves_is_for_the_next() -> None:
    assert share_out({"a": 20, "b": 500, "c": 500}, budget=64, most=MUCH) == {"a": 20, "b": 44}


def test_nothing_is_shared_out_of_nothing() -> None:
    assert share_out({"a": 20}, budget=0, most=MUCH) == {}
    assert share_out({}, budget=64, most=MUCH) == {}


@given(st.lists(st.integers(1, 600), max_size=12), st.integers(0, 1000), st.integers(0, 300))
def test_shares_keep_the_budget(wanted: list[int], budget: int, more: int) -> None:
    left = dict(enumerate(wanted))
    shares = share_out(left, budget, most=budget + more)
    assert sum(shares.values()) <= min(budget * (1 + BUDGET_OVERRUN), budget + more)
    assert all(0 < share <= left[key] for key, share in shares.items())
    if budget >= MIN_CHUNK * len(wanted):
        assert len(shares) == len(wanted)
    if wanted and budget:
        assert 0 in shares
        assert sum(shares.values()) >= min(sum(wanted), budget) - len(shares)


H100 = {64: 0.0121, 128: 0.0197, 256: 0.0324, 512: 0.0517}
"""Seconds for rows of an 8B model."""

CPU = {1: 0.007, 8: 0.02, 64: 0.060, 128: 0.112, 256: 0.222, 512: 0.457}
"""Seconds for rows of a 100M model."""


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (H100, 256),
        (CPU, 64),
        ({64: 0.01, 128: 0.01, 256: 0.01, 512: 0.01}, 512),
        ({1: 0.001, 64: 0.064}, 64),  # micro-batches are no larger
    ],
)
def test_the_smallest_share_is_worth_a_pass(seconds: dict[int, float], expected: int) -> None:
    assert smallest_share(StepCost(seconds, seconds)) == expected


def test_without_costs_the_smallest_share_is_the_smallest_chunk() -> None:
    assert smallest_share(None) == MIN_CHUNK


@pytest.mark.parametrize(("budget", "count"), [(900, 4), (256, 1), (2048, 8)])
def test_a_gpu_computes_large_pieces_of_few_prompts(budget: int, count: int) -> None:
    shares = share_out(dict.fromkeys(range(8), 1900), budget, MUCH, smallest=256)
    assert shares == dict.fromkeys(range(count), budget // count)


def test_short_prompts_are_computed_whole_whatever_the_smallest_share_is() -> None:
    assert share_out(dict.fromkeys(range(32), 30), 960, MUCH, smallest=256) == dict.fromkeys(
        range(32), 30
    )
