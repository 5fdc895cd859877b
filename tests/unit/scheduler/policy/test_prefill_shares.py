"""Division of a step's prefill budget among prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.batching.cost_model import StepCost
from scheduler.policy.prefill_budget import MIN_CHUNK
from scheduler.policy.prefill_shares import BUDGET_OVERRUN, share_out, smallest_share

MUCH = 10_000
"""More than any step here has."""


def test_a_rest_of_a_few_tokens_is_computed_too() -> None:
    assert share_out({"a": 80}, budget=64, most=MUCH, at_once=MUCH) == {"a": 80}
    assert share_out({"a": 90}, budget=64, most=MUCH, at_once=MUCH) == {"a": 64}
    assert share_out({"a": 80}, budget=64, most=70, at_once=MUCH) == {"a": 64}


def test_who_is_first_gets_what_it_wants() -> None:
    assert share_out({"b": 500, "a": 500}, 64, MUCH, MUCH) == {"b": 64}
    assert share_out({"b": 500, "a": 500}, 800, MUCH, MUCH) == {"b": 500, "a": 500}
    assert share_out({"b": 500, "a": 500}, 700, MUCH, MUCH) == {"b": 500, "a": 200}


def test_what_is_left_for_the_next_is_worth_a_pass() -> None:
    assert share_out({"a": 20, "b": 500, "c": 500}, 64, MUCH, MUCH) == {"a": 20}
    assert share_out({"a": 20, "b": 500, "c": 60}, 84, MUCH, MUCH) == {"a": 20, "b": 64}
    assert share_out({"a": 20, "b": 500, "c": 30}, 64, MUCH, MUCH) == {"a": 20, "c": 30}


def test_further_prompts_join_as_long_as_all_is_computed_at_once() -> None:
    wanted = {"a": 300, "b": 150, "c": 100, "d": 100}
    assert share_out(wanted, 2048, MUCH, at_once=512) == {"a": 300, "b": 150}
    assert share_out(wanted, 2048, MUCH, at_once=1024) == wanted
    assert share_out({"a": 2000, "b": 10}, 2048, MUCH, at_once=512) == {"a": 2000}


def test_nothing_is_shared_out_of_nothing() -> None:
    assert share_out({"a": 20}, budget=0, most=MUCH, at_once=MUCH) == {}
    assert share_out({}, budget=64, most=MUCH, at_once=MUCH) == {}


@given(
    st.lists(st.integers(1, 600), max_size=12),
    st.integers(0, 1000),
    st.integers(0, 300),
    st.integers(1, 1000),
)
def test_shares_keep_the_bounds(wanted: list[int], budget: int, more: int, at_once: int) -> None:
    left = dict(enumerate(wanted))
    shares = share_out(left, budget, budget + more, at_once)
    total = sum(shares.values())
    assert total <= min(budget * (1 + BUDGET_OVERRUN), budget + more)
    assert all(0 < share <= left[key] for key, share in shares.items())
    assert len(shares) <= 1 or total <= at_once
    assert (0 in shares) == bool(wanted and budget)
    unfinished = [key for key, share in shares.items() if share < left[key]]
    assert len(unfinished) <= 1
    assert all(key == 0 or shares[key] >= MIN_CHUNK for key in unfinished)


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


def test_a_gpu_computes_large_pieces() -> None:
    wanted = {"a": 200, "b": 1900}
    assert share_out(wanted, 512, MUCH, at_once=512, smallest=256) == {"a": 200, "b": 312}
    assert share_out(wanted, 400, MUCH, at_once=512, smallest=256) == {"a": 200}


def test_short_prompts_are_computed_whole_whatever_the_smallest_share_is() -> None:
    wanted = dict.fromkeys(range(32), 30)
    assert share_out(wanted, 960, MUCH, at_once=MUCH, smallest=256) == wanted
