"""The rate limit of one key; the test passes the time in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.token_bucket import TokenBucket


def test_a_minutes_worth_can_be_taken_at_once() -> None:
    bucket = TokenBucket(60, now=0)
    for _ in range(60):
        assert bucket.seconds_until(1, 0) == 0
        bucket.take(1, 0)
    assert bucket.remaining(0) == 0
    assert bucket.seconds_until(1, 0) == 1
    assert bucket.seconds_until(1, 1) == 0


def test_no_more_than_a_minutes_worth_is_saved() -> None:
    bucket = TokenBucket(10, now=0)
    bucket.take(10, 0)
    assert bucket.remaining(3600) == 10


def test_a_debt_is_paid_first() -> None:
    bucket = TokenBucket(60, now=0)
    bucket.take(90, 0)
    assert bucket.remaining(0) == 0
    assert bucket.seconds_until(1, 0) == 31
    assert bucket.seconds_until_full(0) == 90
    assert bucket.remaining(31) == 1


def test_what_never_fits_never_comes() -> None:
    assert TokenBucket(10, now=0).seconds_until(11, 0) == math.inf


@pytest.mark.parametrize(("limit", "remaining"), [(100, 90), (20, 10), (5, 0)])
def test_another_limit_forgets_nothing_that_was_used(limit: int, remaining: int) -> None:
    bucket = TokenBucket(60, now=0)
    bucket.take(10, 0)
    bucket.resize(limit, 0)
    assert bucket.remaining(0) == remaining


def test_time_that_runs_backwards_gives_nothing() -> None:
    bucket = TokenBucket(60, now=100)
    bucket.take(60, 100)
    assert bucket.remaining(50) == 0
    assert bucket.remaining(101) == 1


@given(
    limit=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=50),
)
def test_never_more_than_the_rate_allows(limit: int, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(limit, now=0)
    now = taken = 0.0
    for pause, amount in steps:
        now += pause
        if bucket.seconds_until(amount, now) == 0:
            bucket.take(amount, now)
            taken += amount
    assert taken <= limit + now * limit / 60 + 1e-6
