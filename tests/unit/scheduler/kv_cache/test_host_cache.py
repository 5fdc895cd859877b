"""Prefixes in host memory: which stay, and which go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.cache_scope import NO_SCOPE
from scheduler.core.state_sizes import StateSizes
from scheduler.kv_cache.host_cache import MIN_TOKENS, HostCache
from tests.support.scheduling import prompt

LENGTH = MIN_TOKENS


def test_short_prefixes_are_not_worth_it() -> None:
    cache = HostCache(1000, StateSizes(1))
    assert not cache.wants(MIN_TOKENS - 1)
    assert cache.wants(MIN_TOKENS)


def test_what_can_never_fit_is_not_wanted() -> None:
    assert not HostCache(10 * LENGTH - 1, StateSizes(10)).wants(LENGTH)


def test_no_memory_means_no_cache() -> None:
    assert not HostCache(0, StateSizes(1)).wants(LENGTH)


def test_the_least_recently_used_goes_first() -> None:
    cache = HostCache(3 * LENGTH, StateSizes(1))
    a, b, c = (cache.add(prompt(LENGTH, family), NO_SCOPE)[0] for family in range(3))
    cache.touch(a)
    d, dropped = cache.add(prompt(LENGTH, 3), NO_SCOPE)
    assert dropped == [b]
    assert list(cache) == [c, a, d]


@given(st.lists(st.integers(LENGTH, 4 * LENGTH), max_size=20))
def test_the_size_is_that_of_the_entries_and_within_bounds(lengths: list[int]) -> None:
    cache = HostCache(4 * LENGTH * 3, StateSizes(3))
    for length in lengths:
        cache.add(prompt(length), NO_SCOPE)
        assert cache.size == sum(3 * prefix.num_tokens for prefix in cache)
        assert cache.size <= 4 * LENGTH * 3
