"""Cells that are given to sequences, kept for later ones, and taken back."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import CacheEdit, CopyPrefix, Drop, Restore, Save, Trim
from scheduler.core.cache_scope import NO_SCOPE
from scheduler.core.context_limits import ContextLimits
from scheduler.core.sequence import Sequence, Slot
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.placement import Placement
from tests.support.scheduling import make_request, make_scheduler, make_sequence, prompt


def make_cache(**changes: Any) -> KVCacheManager:
    """Two slots of 200 cells, and host memory for 250 tokens."""
    values: dict[str, Any] = {
        "n_slots": 2,
        "n_ctx_slot": 200,
        "n_ctx": 400,
        "n_batch": 64,
        "end_tokens": frozenset(),
        "abilities": CacheAbilities(),
        "cache_bytes": 250,
        **changes,
    }
    return KVCacheManager(ContextLimits(**values))


def held(cache: KVCacheManager, slot: int, tokens: list[int]) -> Slot:
    """An idle slot that was given cells in a step of its own."""
    cache.begin_step()
    cache.fill(cache.slots[slot], tokens, NO_SCOPE)
    return cache.slots[slot]


def started(cache: KVCacheManager, sequence: Sequence) -> tuple[Slot, list[Any]]:
    """The slot that a sequence gets, and the edits for that."""
    placement = cache.place(sequence)
    assert isinstance(placement, Placement)
    return placement.slot, cache.occupy(sequence, placement)


def test_a_sequence_goes_on_behind_the_prefix_that_a_slot_holds() -> None:
    cache = make_cache()
    slot = held(cache, 1, prompt(100))
    sequence = make_sequence([*prompt(80), 5, 6])
    assert started(cache, sequence) == (slot, [Save(1, 0), Trim(1, 80)])
    assert sequence.num_cached_tokens == 80
    assert cache.running == [sequence]


def test_what_leaves_a_slot_comes_back_from_host_memory() -> None:
    cache = make_cache(n_slots=1, n_ctx=200)
    held(cache, 0, prompt(100))
    first = make_sequence(prompt(90, family=1))
    slot, edits = started(cache, first)
    assert edits == [Save(0, 0), Trim(0, 0)]
    slot.num_tokens = 90
    cache.release(first)
    assert started(cache, make_sequence([*prompt(100), 5]))[1] == [Save(0, 1), Restore(0, 0, 100)]


def test_host_memory_gives_up_the_least_recently_used_prefix() -> None:
    cache = make_cache()
    saves = [cache.vacate(held(cache, 0, prompt(100, family))) for family in range(3)]
    assert saves == [
        [Save(0, 0), Trim(0, 0)],
        [Save(0, 1), Trim(0, 0)],
        [Save(0, 2), Drop(0), Trim(0, 0)],
    ]


@pytest.mark.parametrize(
    ("other", "saved", "emptied"), [(150, 100, True), (101, 100, True), (100, 100, False)]
)
def test_a_restore_makes_room_for_all_of_the_prefix(other: int, saved: int, emptied: bool) -> None:
    """Though the sequence shares only a part of it."""
    cache = make_cache(n_ctx=200)
    held(cache, 0, prompt(saved))
    cache.vacate(cache.slots[0])
    held(cache, 1, prompt(other, family=1))
    sequence = make_sequence([*prompt(60), 5, 6])
    slot, edits = started(cache, sequence)
    assert slot is cache.slots[0]
    assert (Trim(1, 0) in edits) == emptied
    assert Restore(0, 0, 60) in edits


@pytest.mark.parametrize("running", [101, 150, 199])
def test_a_prefix_that_running_sequences_leave_no_room_for_is_a_miss(running: int) -> None:
    cache = make_cache(n_ctx=200)
    held(cache, 0, prompt(100))
    cache.vacate(cache.slots[0])
    started(cache, make_sequence(prompt(running, family=1)))
    busy = next(slot for slot in cache.slots if not slot.is_idle)
    busy.num_tokens = running
    sequence = make_sequence([*prompt(60), 5, 6])
    _, edits = started(cache, sequence)
    assert not any(isinstance(edit, Restore) for edit in edits)
    assert sequence.num_cached_tokens == 0


def test_a_prefix_is_kept_once() -> None:
    cache = make_cache()
    cache.vacate(held(cache, 0, prompt(100)))
    assert cache.vacate(held(cache, 0, prompt(100))) == [Trim(0, 0)]
    assert cache.vacate(held(cache, 0, prompt(120))) == [Save(0, 1), Drop(0), Trim(0, 0)]


def test_a_prefix_of_a_busy_slot_is_copied() -> None:
    cache = make_cache()
    first = make_sequence(prompt(80))
    slot, _ = started(cache, first)
    slot.num_tokens = 80
    assert started(cache, make_sequence([*prompt(60), 5])) == (
        cache.slots[1],
        [CopyPrefix(0, 1, 60)],
    )


def one_stream(**changes: Any) -> KVCacheManager:
    """Three slots, where each step reads the cells of all of them."""
    abilities = CacheAbilities(reads_idle_cells=True)
    return make_cache(n_slots=3, n_ctx=600, n_ctx_slot=600, abilities=abilities, **changes)


def test_idle_slots_are_set_aside_before_sequences_start() -> None:
    cache = one_stream()
    held(cache, 0, prompt(100))
    held(cache, 1, prompt(100, family=1))
    slot, _ = started(cache, make_sequence(prompt(20, family=2)))
    start = Trim(slot.id, 0)
    saved = [Save(0, 0), Trim(0, 0), Save(1, 1), Trim(1, 0)]
    assert cache.set_aside([start]) == [*saved, start]
    assert [slot.num_tokens for slot in cache.slots] == [0, 0, 0]
    again = make_sequence([*prompt(100), 5])
    slot, edits = started(cache, again)
    assert edits == [Restore(0, slot.id, 100)]
    assert again.num_cached_tokens == 100


def test_the_slot_that_a_prefix_is_copied_from_stays() -> None:
    cache = one_stream()
    held(cache, 0, prompt(150))
    slot, edits = started(cache, make_sequence([*prompt(70), 5]))
    assert cache.set_aside(edits) == [CopyPrefix(0, slot.id, 70)]
    assert cache.slots[0].num_tokens == 150


def test_what_gives_way_is_dropped_after_the_start_that_may_use_it() -> None:
    cache = one_stream(cache_bytes=1200)
    for family in range(12):
        cache.vacate(held(cache, 0, prompt(100, family)))
    held(cache, 0, prompt(100, family=12))
    start: CacheEdit = Restore(0, 1, 100)
    assert cache.set_aside([start]) == [Save(0, 12), Trim(0, 0), start, Drop(0)]


def test_sequences_that_start_together_find_their_cells_where_they_were() -> None:
    scheduler = make_scheduler(
        n_slots=3,
        n_ctx=600,
        n_ctx_slot=600,
        cache_bytes=2000,
        abilities=CacheAbilities(reads_idle_cells=True),
    )
    slots = [held(scheduler.cache, id, prompt(100, id)) for id in range(3)]
    for family in range(2):
        scheduler.add_request(make_request(family, [*prompt(100, family), 5]))
    assert scheduler.schedule().edits == (Save(2, 0), Trim(2, 0))
    assert [slot.num_tokens for slot in slots] == [100, 100, 0]


def test_slots_with_cells_of_their_own_keep_them() -> None:
    cache = make_cache(n_slots=3, n_ctx=600)
    held(cache, 0, prompt(100))
    assert cache.set_aside([]) == []
    assert cache.slots[0].num_tokens == 100


def test_chunks_that_may_be_reused_stay_in_their_slot() -> None:
    cache = one_stream()
    first = make_sequence(prompt(100), min_reused_chunk=16)
    slot, _ = started(cache, first)
    slot.num_tokens = 100
    cache.release(first)
    assert cache.set_aside([]) == []
    assert slot.num_tokens == 100


def test_what_is_too_short_to_be_saved_is_dropped() -> None:
    cache = one_stream()
    held(cache, 0, prompt(20))
    assert cache.set_aside([]) == [Trim(0, 0)]


@pytest.mark.parametrize(
    ("num_tokens", "cache_bytes"),
    [(100, 0), (20, 0), (100, 99)],
    ids=["nothing is saved", "nothing is saved, not a short one", "no room"],
)
def test_what_host_memory_does_not_take_stays_in_its_slot(
    num_tokens: int, cache_bytes: int
) -> None:
    cache = one_stream(cache_bytes=cache_bytes)
    held(cache, 0, prompt(num_tokens))
    assert cache.set_aside([]) == []
    assert cache.slots[0].num_tokens == num_tokens


@pytest.mark.parametrize(
    ("cache_bytes", "edits"),
    [(1199, []), (1200, [Save(0, 12), Trim(0, 0), Drop(0)])],
    ids=["small", "large"],
)
def test_old_prefixes_give_way_if_host_memory_holds_twice_what_slots_do(
    cache_bytes: int, edits: list[CacheEdit]
) -> None:
    cache = one_stream(cache_bytes=cache_bytes)
    for family in range(12):
        cache.vacate(held(cache, 0, prompt(100, family)))
    held(cache, 0, prompt(100, family=12))
    assert cache.set_aside([]) == edits


def test_what_host_memory_has_already_is_not_saved_again() -> None:
    cache = one_stream()
    cache.vacate(held(cache, 0, prompt(100)))
    held(cache, 0, prompt(100))
    assert cache.set_aside([]) == [Trim(0, 0)]


def test_idle_slots_give_way_before_busy_ones_and_the_longest_unused_first() -> None:
    cache = make_cache(n_slots=3)
    busy, _ = started(cache, make_sequence(prompt(9)))
    busy.num_tokens = 9
    older, newer = held(cache, 2, prompt(10, 1)), held(cache, 1, prompt(10, 2))
    victims = []
    for _ in range(3):
        victim = cache.victim()
        victims.append(victim)
        cache.forget(victim)
    assert victims == [older, newer, busy]


@pytest.mark.parametrize(("num_tokens", "has_room"), [(150, True), (151, False), (201, False)])
def test_room_is_what_running_sequences_leave(num_tokens: int, has_room: bool) -> None:
    cache = make_cache(n_ctx=250)
    busy, _ = started(cache, make_sequence(prompt(101)))
    busy.num_tokens = 100
    assert cache.has_room(num_tokens) == has_room


def test_room_for_a_file_is_made_by_emptying_idle_slots() -> None:
    cache = make_cache(n_ctx=250, cache_bytes=0)
    target, other = held(cache, 0, prompt(50)), held(cache, 1, prompt(150, 1))
    assert cache.make_room(target, 90) == [Trim(0, 0)]
    assert cache.make_room(target, 150) == [Trim(0, 0), Trim(1, 0)]
    assert (cache.num_tokens, other.tokens) == (0, [])


def test_a_prefix_from_disk_is_adopted_once_and_only_into_free_memory() -> None:
    cache = make_cache()
    assert cache.adopt(prompt(100), NO_SCOPE) is not None
    assert cache.adopt(prompt(100), NO_SCOPE) is None
    assert cache.adopt(prompt(100, 1), NO_SCOPE) is not None
    assert cache.adopt(prompt(100, 2), NO_SCOPE) is None
    assert started(cache, make_sequence([*prompt(100), 5]))[1] == [Restore(0, 0, 100)]


def test_a_broken_context_leaves_nothing_to_reuse() -> None:
    cache = make_cache()
    cache.vacate(held(cache, 0, prompt(100)))
    held(cache, 1, prompt(70))
    cache.clear()
    sequence = make_sequence([*prompt(100), 5])
    assert started(cache, sequence)[1] == []
    assert (sequence.num_cached_tokens, cache.num_tokens) == (0, 0)
