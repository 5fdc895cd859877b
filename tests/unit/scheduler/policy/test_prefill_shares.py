"""Division of a step's prefill budget among prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.policy.prefill_budget import MIN_CHUNK
from scheduler.policy.prefill_shares import BUDGET_OVERRUN, share_out

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
