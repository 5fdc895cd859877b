"""Why a sequence got what it got from the cache, in terms for people."""

from __future__ import annotations

from protocol.cache_lookup import CacheLookup, CacheResult, CacheTier
from scheduler.core.abilities import CacheAbilities
from scheduler.core.sequence import Sequence
from scheduler.kv_cache.placement import Placement


def explain(sequence: Sequence, placement: Placement, abilities: CacheAbilities) -> CacheLookup:
    """What the search came to for a sequence that has just started from `placement`."""
    runs_in_source = sequence.slot is placement.source
    return CacheLookup(
        result=_result(sequence, placement, abilities),
        tier=CacheTier.SLOT if runs_in_source else placement.tier,
        num_reused=min(sequence.num_cached_tokens, sequence.num_prompt_tokens),
        num_shared=min(placement.num_shared, sequence.num_prompt_tokens),
        has_checkpoint=placement.checkpoint is not None and sequence.num_cached_tokens > 0,
    )


def _result(sequence: Sequence, placement: Placement, abilities: CacheAbilities) -> CacheResult:
    reused, most = sequence.num_cached_tokens, len(sequence.tokens) - 1
    if not sequence.spec.cache_prompt:
        return CacheResult.OFF
    if reused >= most:
        return CacheResult.WHOLE
    if placement.num_shared == 0:
        return CacheResult.NEW
    if reused >= placement.num_shared:
        return CacheResult.PARTED
    if reused < placement.length:
        return CacheResult.NO_ROOM
    return CacheResult.NO_COPY if abilities.can_trim else CacheResult.NO_CHECKPOINT
