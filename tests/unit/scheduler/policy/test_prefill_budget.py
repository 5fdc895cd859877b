"""The prefill budget of a step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.batching.cost_model import StepCost
from scheduler.policy.prefill_budget import MIN_CHUNK, PrefillBudget


def taught(target: float = 0.1) -> PrefillBudget:
    """A budget that has seen 20 ms for a decode and 1 ms for each prompt token."""
    budget = PrefillBudget(target, n_batch=512)
    budget.observe(4, 0, 0.020)
    budget.observe(4, 100, 0.120)
    return budget


def test_an_idle_engine_fills_the_batch() -> None:
    assert taught().tokens(0) == 512


def test_nothing_learned_yet_allows_the_initial_chunk() -> None:
    assert PrefillBudget(0.1, n_batch=512, initial=128).tokens(3) == 128


def test_the_chunk_fills_the_time_that_decoding_leaves() -> None:
    assert taught(target=0.1).tokens(4) == 80


def test_a_longer_target_means_a_larger_chunk() -> None:
    assert taught(target=0.2).tokens(4) == 180


def test_slow_decoding_lets_prefill_take_as_long_again() -> None:
    budget = PrefillBudget(0.1, n_batch=512)
    budget.observe(4, 0, 0.200)
    budget.observe(4, 100, 0.300)
    assert budget.tokens(4) == 200


def test_a_target_that_cannot_be_met_still_lets_prompts_through() -> None:
    assert taught(target=0.001).tokens(4) == MIN_CHUNK


def test_decodes_count_against_the_batch() -> None:
    budget = PrefillBudget(10.0, n_batch=32)
    assert budget.tokens(12) == 20


def test_the_chunk_follows_a_machine_that_gets_slower() -> None:
    budget = taught()
    before = budget.tokens(4)
    for _ in range(20):
        budget.observe(4, 50, 0.220)
    assert MIN_CHUNK <= budget.tokens(4) < before


def test_what_a_pass_costs_by_itself_is_not_put_down_to_the_tokens() -> None:
    budget = PrefillBudget(0.22, n_batch=512)
    budget.observe(4, 0, 0.020)
    for n in (50, 100, 200):  # 30 ms for the pass and 0.7 ms for each token
        budget.observe(4, n, 0.020 + 0.030 + 0.0007 * n)
    assert budget.tokens(4) in (242, 243)


seconds = st.just(0.0) | st.floats(1e-9, 10)


@given(
    st.floats(0.001, 1),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 64), seconds), max_size=20),
    st.integers(0, 63),
)
def test_whatever_was_seen_the_batch_holds_and_prompts_move(
    target: float, steps: list[tuple[int, int, float]], num_decoding: int
) -> None:
    budget = PrefillBudget(target, n_batch=64)
    for num_decode, num_prefill, duration in steps:
        budget.observe(num_decode, num_prefill, duration)
    assert 1 <= budget.tokens(num_decoding) <= 64 - num_decoding


def test_many_prompts_need_not_wait_for_few_streams() -> None:
    budget = taught(target=0.1)
    assert budget.tokens(1, urgency=3.0) == 3 * budget.tokens(1)
    assert budget.tokens(8, urgency=0.1) == budget.tokens(8)


GPU = {64: 0.0121, 128: 0.0197, 256: 0.0324, 512: 0.0517}
"""Seconds for rows of a prompt: an 8B model on an H100, which decodes 8 streams in 9 ms."""


def gpu_seconds(num_tokens: int) -> float:
    whole, rest = divmod(num_tokens, 512)
    return whole * GPU[512] + 0.004 * (rest > 0) + 0.0001 * rest


@pytest.mark.parametrize("num_steps", [0, 1, 5, 100])
def test_the_same_target_gives_a_gpu_large_chunks(num_steps: int) -> None:
    """A prompt of 1,900 tokens takes two or three steps, not one for each 64 tokens."""
    cost = StepCost({1: 0.0039, 8: 0.0083, 32: 0.01}, GPU)
    budget = PrefillBudget(0.1, n_batch=2048, cost=cost)
    budget.observe(8, 0, 0.009)
    for _ in range(num_steps):
        count = budget.tokens(8)
        budget.observe(8, count, 0.009 + gpu_seconds(count))
    assert 700 <= budget.tokens(8) <= 1000
    assert 0.07 <= 0.009 + gpu_seconds(budget.tokens(8)) <= 0.11
