"""A picture of every slot between two steps, for `Inspect`."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.messages import CacheReport, SlotReport, SlotState
from scheduler.core.sequence import Slot


def slot_report(
    query_id: int, slots: Iterable[Slot], num_waiting: int, cache: CacheReport | None = None
) -> SlotReport:
    """The answer to the query; `num_waiting` sequences have no slot."""
    return SlotReport(query_id, [_state(slot) for slot in slots], num_waiting, cache)


def _state(slot: Slot) -> SlotState:
    sequence = slot.sequence
    if sequence is None:
        return SlotState(slot=slot.id, num_cache_tokens=slot.num_tokens)
    return SlotState(
        slot=slot.id,
        num_cache_tokens=slot.num_tokens,
        request_id=sequence.request_id,
        num_prompt_tokens=sequence.num_prompt_tokens,
        num_prompt_tokens_computed=min(slot.num_tokens, sequence.num_prompt_tokens),
        num_cached_tokens=sequence.num_cached_tokens,
        num_generated_tokens=sequence.num_generated_tokens,
        is_late=sequence.is_late,
        lookup=sequence.lookup,
    )
