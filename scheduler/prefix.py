"""Which slot a waiting sequence gets, and whose computed prefix it starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.sequence import Sequence, Slot

MIN_COPY_GAIN = 32
"""Tokens that a copy from another slot has to save; a copy moves a whole slot's cells."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Run in `slot`, starting from `length` tokens that it holds, or that `source` lends it."""

    slot: Slot
    length: int
    source: Slot | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A running sequence is about to compute a prefix that is worth waiting for."""


@dataclass(frozen=True, slots=True)
class CacheAbilities:
    """What the model's memory can do; recurrent and sliding-window memories do less."""

    can_trim: bool = True
    """Drop the tail of a sequence, so that a partly matching prefix is of use."""
    can_copy: bool = True
    """Copy a prefix of one slot's cells to another."""


def common_prefix_length(a: list[int], b: list[int], limit: int) -> int:
    """Number of equal leading tokens, at most `limit` (which fits both)."""
    if a[:limit] == b[:limit]:
        return limit
    low, high = 0, limit
    while high - low > 1:  # a[:low] equals b[:low], a[:high] differs from b[:high]
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def place(
    sequence: Sequence, slots: Iterable[Slot], abilities: CacheAbilities
) -> Placement | Wait | None:
    """Choose for the front of the queue; None if nothing is free.

    The choice leaves the least to compute. Equal ones are decided in favour of slots next to
    busy ones, because llama.cpp computes runs of consecutive slots together and splits a batch
    at every gap, and then of the slot that was unused for longest.
    """
    slots = list(slots)
    wanted = sequence.submit.slot
    free = [slot for slot in slots if slot.is_idle and wanted in (None, slot.id)]
    if not free:
        return None
    if not sequence.submit.cache_prompt:
        return Placement(_preferred(free, slots), 0)
    reusable = {slot.id: _reusable(sequence, slot, abilities) for slot in slots}
    own = max(reusable[slot.id] for slot in free)
    source = max(slots, key=lambda slot: reusable[slot.id])
    best = reusable[source.id]
    if abilities.can_copy and _promised(sequence, slots) >= max(best, own) + MIN_COPY_GAIN:
        return Wait()
    if abilities.can_copy and abilities.can_trim and best >= own + MIN_COPY_GAIN:
        return Placement(_preferred([s for s in free if s is not source], slots), best, source)
    holders = [slot for slot in free if reusable[slot.id] == own]
    slot = _preferred(holders, slots)
    if _wastes(slot, own) and abilities.can_copy and abilities.can_trim and own >= MIN_COPY_GAIN:
        spare = [other for other in free if other is not slot and other.num_tokens <= own]
        if spare:
            return Placement(_preferred(spare, slots), own, slot)
    return Placement(slot, own)


def _reusable(sequence: Sequence, slot: Slot, abilities: CacheAbilities) -> int:
    """Tokens of the sequence that the slot's cells hold; the last one is always computed anew,
    because its logits are needed."""
    limit = min(len(sequence.tokens) - 1, slot.num_tokens)
    length = common_prefix_length(sequence.tokens, slot.tokens, limit)
    return length if abilities.can_trim or length == slot.num_tokens else 0


def _promised(sequence: Sequence, slots: Iterable[Slot]) -> int:
    """The longest shared prefix that running sequences will have computed when they are done
    with their prompts (single flight: identical prefills are not done twice)."""
    longest = 0
    for slot in slots:
        other = slot.sequence
        if other is not None and other.num_uncomputed_tokens > 1:
            limit = min(len(sequence.tokens), len(other.tokens)) - 1
            longest = max(longest, common_prefix_length(sequence.tokens, other.tokens, limit))
    return longest


def _wastes(slot: Slot, length: int) -> bool:
    """Whether running here would destroy more cached tokens than it reuses."""
    return slot.num_tokens - length > length


def _preferred(candidates: list[Slot], slots: list[Slot]) -> Slot:
    """The best of slots that save equally much computing."""
    busy = {slot.id for slot in slots if not slot.is_idle}

    def rank(slot: Slot) -> tuple[int, int, int]:
        neighbours = ((slot.id - 1) in busy) + ((slot.id + 1) in busy)
        return (-neighbours if busy else 0, slot.last_used, slot.id)

    return min(candidates, key=rank)
