"""Why a sequence got no more from the cache."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.cache_lookup import CacheLookup, CacheResult, CacheTier
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_scope import NO_SCOPE
from scheduler.core.context_limits import ContextLimits
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.explanation import explain
from scheduler.kv_cache.placement import Placement
from tests.support.scheduling import make_sequence, prompt

ALL = CacheAbilities()
RIGID = CacheAbilities(can_trim=False, can_checkpoint=True)


def lookup(
    tokens: list[int],
    *held: list[int],
    abilities: CacheAbilities = ALL,
    busy: int = 0,
    **fields: Any,
) -> CacheLookup:
    """What a search comes to where slots hold `held`, and `busy` cells are in use."""
    limits = ContextLimits(
        n_slots=len(held) + 1,
        n_ctx_slot=500,
        n_ctx=500,
        n_batch=64,
        end_tokens=frozenset(),
        abilities=abilities,
        cache_bytes=10_000,
        max_checkpoints=10,
    )
    cache = KVCacheManager(limits)
    if busy:
        other = make_sequence(prompt(busy, 9))
        placement = cache.place(other)
        assert isinstance(placement, Placement)
        cache.occupy(other, placement)
        placement.slot.num_tokens = busy
    idle = [slot for slot in cache.slots if slot.is_idle]
    for slot, content in zip(idle, held, strict=False):
        cache.fill(slot, content, NO_SCOPE)
        if busy:
            cache.vacate(slot)
    sequence = make_sequence(tokens, **fields)
    placement = cache.place(sequence)
    assert isinstance(placement, Placement)
    cache.occupy(sequence, placement)
    return explain(sequence, placement, abilities)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lookup(prompt(100)), (CacheResult.NEW, 0, 0)),
        (lookup(prompt(100), prompt(100, 1)), (CacheResult.NEW, 0, 0)),
        (lookup(prompt(100), prompt(100)), (CacheResult.WHOLE, 99, 100)),
        (lookup(prompt(100), prompt(200)), (CacheResult.WHOLE, 99, 100)),
        (lookup(prompt(100), prompt(60)), (CacheResult.PARTED, 60, 60)),
        (lookup([*prompt(60), 5, 6], prompt(100)), (CacheResult.PARTED, 60, 60)),
        (lookup(prompt(100), prompt(100), cache_prompt=False), (CacheResult.OFF, 0, 0)),
        (lookup(prompt(40), prompt(20), slot=1), (CacheResult.NO_COPY, 0, 20)),
        (
            lookup([*prompt(60), 5], prompt(100), abilities=RIGID),
            (CacheResult.NO_CHECKPOINT, 0, 60),
        ),
        (lookup([*prompt(60), 5], prompt(60), abilities=RIGID), (CacheResult.WHOLE, 60, 60)),
        (lookup([*prompt(90), 5, 6], prompt(100), busy=450), (CacheResult.NO_ROOM, 0, 90)),
        (lookup([*prompt(90), 5, 6], prompt(100), busy=300), (CacheResult.PARTED, 90, 90)),
    ],
)
def test_the_reason_is_told(found: CacheLookup, expected: tuple[CacheResult, int, int]) -> None:
    assert (found.result, found.num_reused, found.num_shared) == expected


def test_the_place_is_told() -> None:
    tiers = [
        lookup(prompt(100), prompt(60)).tier,
        lookup(prompt(100), prompt(60), slot=1).tier,
        lookup([*prompt(90), 5, 6], prompt(100), busy=300).tier,
    ]
    assert tiers == [CacheTier.SLOT, CacheTier.COPY, CacheTier.HOST]
