"""Whether cells are saved to host memory, by what saving and computing take."""

from __future__ import annotations

import pytest

from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import Save
from scheduler.core.cache_scope import NO_SCOPE
from scheduler.core.context_limits import ContextLimits
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.placement import Placement
from scheduler.kv_cache.saving import COPIES, FIRST_TRIAL, MIN_SPACING, CheckpointSaving, Saving
from tests.support.scheduling import make_sequence, prompt

COMPUTE = 0.001
"""Seconds in which a token is computed."""


def compute_seconds(num_tokens: int) -> float:
    return COMPUTE * num_tokens


def make_cache() -> KVCacheManager:
    limits = ContextLimits(
        n_slots=2,
        n_ctx_slot=400,
        n_ctx=800,
        n_batch=64,
        end_tokens=frozenset(),
        abilities=CacheAbilities(),
        cache_bytes=10_000,
    )
    return KVCacheManager(limits, compute_seconds)


def saves(cache: KVCacheManager, slot: int, tokens: list[int]) -> list[Save]:
    """What is saved when an idle slot with these tokens is emptied."""
    cache.fill(cache.slots[slot], tokens, NO_SCOPE)
    return [edit for edit in cache.vacate(cache.slots[slot]) if isinstance(edit, Save)]


def teach(cache: KVCacheManager, token_seconds: float) -> None:
    """Let a first save take this long."""
    (save,) = saves(cache, 0, prompt(100))
    cache.observe_save(save, 100 * token_seconds)


@pytest.mark.parametrize("times", [0.01, 0.1, 0.3])
def test_what_is_saved_faster_than_computed_is_saved(times: float) -> None:
    cache = make_cache()
    teach(cache, times * COMPUTE)
    assert all(saves(cache, 0, prompt(150, family)) for family in range(1, 9))


@pytest.mark.parametrize("times", [0.4, 3, 100])
def test_what_is_computed_faster_than_saved_is_not_saved(times: float) -> None:
    cache = make_cache()
    teach(cache, times * COMPUTE)
    assert not any(saves(cache, 0, prompt(150, family)) for family in range(1, 9))


def test_only_what_nobody_else_holds_counts() -> None:
    cache = make_cache()
    teach(cache, 0.1 * COMPUTE)
    cache.fill(cache.slots[1], prompt(300, 1), NO_SCOPE)
    assert not saves(cache, 0, [*prompt(300, 1), *prompt(60, 2)])
    assert saves(cache, 0, [*prompt(100, 1), *prompt(260, 3)])


def test_what_the_next_sequence_goes_on_from_is_not_lost() -> None:
    cache = make_cache()
    teach(cache, 0.1 * COMPUTE)
    for shared, expected in ((300, False), (20, True)):
        slot = cache.slots[0]
        cache.fill(slot, [*prompt(300, 1), *prompt(60, shared)], NO_SCOPE)
        sequence = make_sequence([*prompt(300, 1)[:shared], 5, 6], slot=0)
        placement = cache.place(sequence)
        assert isinstance(placement, Placement)
        edits = cache.occupy(sequence, placement)
        assert any(isinstance(edit, Save) for edit in edits) == expected
        cache.release(sequence)


def test_a_seldom_trial_finds_that_saving_has_become_cheap() -> None:
    saving = Saving(compute_seconds)
    saving.observe(100, 100 * COMPUTE)
    tried = [saving.is_worth_it(100, 100) for _ in range(FIRST_TRIAL)]
    assert tried == [*[False] * (FIRST_TRIAL - 1), True]
    saving.observe(50_000, 50_000 * 0.1 * COMPUTE)
    assert saving.is_worth_it(100, 100)


def test_without_costs_everything_is_saved() -> None:
    saving = Saving()
    saving.observe(100, 100.0)
    assert saving.is_worth_it(1000, 0)


def test_many_slots_that_are_emptied_at_once_wait_for_what_the_first_save_teaches() -> None:
    saving = Saving(compute_seconds)
    assert [saving.is_worth_it(100, 100) for _ in range(4)] == [True, False, False, False]
    saving.observe(0, 0.0)  # it was dropped again at once
    assert [saving.is_worth_it(100, 100) for _ in range(2)] == [True, False]
    saving.observe(100, 100 * 0.1 * COMPUTE)
    assert [saving.is_worth_it(100, 100) for _ in range(4)] == [True] * 4


@pytest.mark.parametrize("tokens", [0.01, 1, 30, 400])
def test_checkpoints_lie_as_far_apart_as_saving_them_takes(tokens: float) -> None:
    """Computing what lies between two takes longer than saving one, and not much longer."""
    saving = CheckpointSaving(compute_seconds)
    assert saving.spacing == MIN_SPACING
    for _ in range(3):
        saving.observe(tokens * COMPUTE)
    assert saving.spacing >= COPIES * tokens
    assert saving.spacing <= max(2 * COPIES * tokens, MIN_SPACING)


def test_a_slow_checkpoint_of_long_ago_is_forgotten() -> None:
    saving = CheckpointSaving(compute_seconds)
    saving.observe(100 * COMPUTE)
    for _ in range(50):
        saving.observe(COMPUTE)
    assert saving.spacing == MIN_SPACING


def test_without_costs_checkpoints_lie_close() -> None:
    saving = CheckpointSaving(None)
    saving.observe(100.0)
    assert saving.spacing == MIN_SPACING
