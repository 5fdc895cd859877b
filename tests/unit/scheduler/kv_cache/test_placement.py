"""The choice of a slot and of a prefix for a waiting sequence."""

from __future__ import annotations

import pytest

from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_scope import NO_SCOPE, CacheScope
from scheduler.core.sequence import Sequence, Slot
from scheduler.kv_cache.host_cache import CachedPrefix
from scheduler.kv_cache.placement import (
    MIN_COPY_GAIN,
    CacheHolder,
    Placement,
    WaitForPrefix,
    place,
)
from scheduler.kv_cache.prefix_index import PrefixIndex
from tests.support.scheduling import busy_slot, idle_slot, make_sequence, prompt

ALL = CacheAbilities()
NO_COPY = CacheAbilities(can_copy=False)
NO_TRIM = CacheAbilities(can_trim=False, can_copy=False)
LONG = 2 * MIN_COPY_GAIN


def decide(
    sequence: Sequence, *holders: CacheHolder, abilities: CacheAbilities = ALL
) -> Placement | WaitForPrefix | None:
    """The choice among slots, with an index of all holders."""
    index: PrefixIndex[CacheHolder] = PrefixIndex()
    for holder in holders:
        index.put(holder, list(holder.tokens), holder.scope)
    slots = [holder for holder in holders if isinstance(holder, Slot)]
    shared = index.shared(sequence.tokens, sequence.scope)
    return place(sequence, slots, shared, abilities)


def choose(
    sequence: Sequence, *holders: CacheHolder, abilities: CacheAbilities = ALL
) -> tuple[int, int, int | None]:
    """The placement as (id of the slot, length, id of the source)."""
    placement = decide(sequence, *holders, abilities=abilities)
    assert isinstance(placement, Placement)
    source = placement.source
    return placement.slot.id, placement.length, None if source is None else source.id


def cached(id: int, tokens: list[int], scope: CacheScope = NO_SCOPE) -> CachedPrefix:
    """A prefix in host memory."""
    return CachedPrefix(id, tokens, scope, len(tokens))


def test_nothing_is_chosen_while_all_slots_are_busy() -> None:
    assert decide(make_sequence(), busy_slot(0, [1, 2])) is None


def test_the_slot_with_the_longest_common_prefix_is_taken() -> None:
    slots = idle_slot(0, prompt(10)), idle_slot(1, prompt(20)), idle_slot(2, prompt(30, family=1))
    assert choose(make_sequence(prompt(25)), *slots) == (1, 20, None)


def test_the_last_token_is_always_computed() -> None:
    assert choose(make_sequence(prompt(10)), idle_slot(0, prompt(10))) == (0, 9, None)


def test_a_prefix_is_shared_up_to_the_first_difference() -> None:
    sequence = make_sequence([*prompt(10), 5, 6])
    assert choose(sequence, idle_slot(0, [*prompt(10), 7, 6])) == (0, 10, None)


def test_a_wanted_slot_is_taken_although_another_holds_more() -> None:
    sequence = make_sequence(prompt(20), slot=1)
    assert choose(sequence, idle_slot(0, prompt(19)), idle_slot(1)) == (1, 0, None)


def test_a_wanted_slot_is_filled_from_one_that_holds_much_more() -> None:
    sequence = make_sequence(prompt(LONG + 1), slot=1)
    assert choose(sequence, idle_slot(0, prompt(LONG)), idle_slot(1)) == (1, LONG, 0)


def test_nothing_is_chosen_while_the_wanted_slot_is_busy() -> None:
    sequence = make_sequence(prompt(5), slot=0)
    assert decide(sequence, busy_slot(0, [1, 2]), idle_slot(1)) is None


def test_without_cache_prompt_nothing_is_reused() -> None:
    sequence = make_sequence(prompt(LONG), cache_prompt=False)
    slots = idle_slot(0, prompt(LONG), last_used=1), idle_slot(1, last_used=2)
    assert choose(sequence, *slots) == (0, 0, None)


def test_a_busy_slot_lends_its_prefix() -> None:
    slots = busy_slot(0, prompt(LONG)), idle_slot(1)
    assert choose(make_sequence([*prompt(LONG), 5]), *slots) == (1, LONG, 0)


def test_a_busy_slot_lends_only_what_it_has_computed() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=LONG - 1), idle_slot(1)
    assert choose(make_sequence([*prompt(LONG), 5]), *slots) == (1, LONG - 1, 0)


def test_a_copy_that_saves_little_is_not_made() -> None:
    slots = busy_slot(0, prompt(MIN_COPY_GAIN - 1)), idle_slot(1)
    assert choose(make_sequence(prompt(LONG)), *slots) == (1, 0, None)


def test_a_copy_must_save_more_than_the_slot_holds_itself() -> None:
    slots = busy_slot(0, prompt(LONG)), idle_slot(1, prompt(LONG - MIN_COPY_GAIN + 1))
    assert choose(make_sequence(prompt(LONG + 1)), *slots) == (1, MIN_COPY_GAIN + 1, None)


def test_an_identical_prompt_waits_for_the_one_that_computes_it() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=5), idle_slot(1)
    assert isinstance(decide(make_sequence(prompt(LONG)), *slots), WaitForPrefix)


def test_nobody_waits_for_a_short_prefix() -> None:
    slots = busy_slot(0, prompt(MIN_COPY_GAIN), num_computed=5), idle_slot(1)
    assert choose(make_sequence(prompt(MIN_COPY_GAIN)), *slots) == (1, 0, None)


def test_nobody_waits_for_an_answer_to_grow() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=LONG - 1), idle_slot(1)
    assert choose(make_sequence(prompt(LONG)), *slots) == (1, LONG - 1, 0)


def test_nobody_waits_for_what_a_free_slot_holds() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=5), idle_slot(1, prompt(LONG))
    assert choose(make_sequence(prompt(LONG)), *slots) == (1, LONG - 1, None)


def test_nobody_waits_who_wants_no_cache() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=5), idle_slot(1)
    assert choose(make_sequence(prompt(LONG), cache_prompt=False), *slots) == (1, 0, None)


def test_a_long_cached_prefix_is_copied_rather_than_cut_short() -> None:
    sequence = make_sequence([*prompt(MIN_COPY_GAIN), 5])
    slots = idle_slot(0, prompt(3 * MIN_COPY_GAIN)), idle_slot(1)
    assert choose(sequence, *slots) == (1, MIN_COPY_GAIN, 0)


def test_a_cached_prefix_is_cut_short_if_most_of_it_is_used() -> None:
    sequence = make_sequence([*prompt(MIN_COPY_GAIN), 5])
    slots = idle_slot(0, prompt(2 * MIN_COPY_GAIN)), idle_slot(1)
    assert choose(sequence, *slots) == (0, MIN_COPY_GAIN, None)


def test_a_cached_prefix_is_cut_short_if_no_other_slot_holds_less() -> None:
    sequence = make_sequence([*prompt(MIN_COPY_GAIN), 5])
    slots = idle_slot(0, prompt(3 * MIN_COPY_GAIN)), idle_slot(1, prompt(90, family=1))
    assert choose(sequence, *slots) == (0, MIN_COPY_GAIN, None)


def test_a_memory_that_cannot_copy_reuses_in_place_only() -> None:
    slots = busy_slot(0, prompt(LONG)), idle_slot(1, prompt(3))
    assert choose(make_sequence(prompt(LONG)), *slots, abilities=NO_COPY) == (1, 3, None)


def test_a_memory_that_cannot_copy_makes_nobody_wait() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=1), idle_slot(1)
    assert choose(make_sequence(prompt(LONG)), *slots, abilities=NO_COPY) == (1, 0, None)


def test_a_memory_that_cannot_trim_reuses_a_whole_slot() -> None:
    sequence = make_sequence(prompt(11))
    assert choose(sequence, idle_slot(0, prompt(10)), abilities=NO_TRIM) == (0, 10, None)


def test_a_memory_that_cannot_trim_reuses_no_part_of_a_slot() -> None:
    sequence = make_sequence(prompt(10))
    assert choose(sequence, idle_slot(0, prompt(10)), abilities=NO_TRIM) == (0, 0, None)


def test_of_equal_slots_the_neighbour_of_a_busy_one_is_taken() -> None:
    slots = idle_slot(0), idle_slot(1), busy_slot(2, [1, 2])
    assert choose(make_sequence(), *slots) == (1, 0, None)


def test_of_equal_slots_the_longest_unused_is_taken() -> None:
    slots = idle_slot(0, last_used=5), idle_slot(1, last_used=3), idle_slot(2, last_used=4)
    assert choose(make_sequence(), *slots) == (1, 0, None)


def test_host_memory_lends_what_no_free_slot_holds() -> None:
    sequence = make_sequence(prompt(LONG + 1))
    assert choose(sequence, idle_slot(0, prompt(5)), cached(7, prompt(LONG))) == (0, LONG, 7)


def test_host_memory_lends_even_if_the_memory_cannot_copy() -> None:
    sequence = make_sequence(prompt(LONG + 1))
    holders = idle_slot(0), cached(7, prompt(LONG))
    assert choose(sequence, *holders, abilities=NO_TRIM) == (0, LONG, 7)


def test_nobody_waits_for_what_host_memory_holds() -> None:
    slots = busy_slot(0, prompt(LONG), num_computed=5), idle_slot(1)
    assert choose(make_sequence(prompt(LONG)), *slots, cached(7, prompt(LONG))) == (1, LONG - 1, 7)


@pytest.mark.parametrize("can_copy", [True, False])
def test_another_tenants_prefix_is_not_shared(can_copy: bool) -> None:
    sequence = make_sequence(prompt(LONG), cache_salt="mine")
    theirs = cached(7, prompt(LONG), scope=CacheScope("theirs"))
    choice = choose(
        sequence, idle_slot(0, prompt(LONG)), theirs, abilities=CacheAbilities(True, can_copy)
    )
    assert choice == (0, 0, None)
