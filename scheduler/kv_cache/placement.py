"""Which slot a waiting sequence gets, and whose computed prefix it starts from."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.messages import CacheTier
from scheduler.core.abilities import CacheAbilities
from scheduler.core.sequence import Sequence, Slot
from scheduler.kv_cache.host_cache import CachedPrefix

MIN_COPY_GAIN = 32
"""Tokens that a copy from elsewhere has to save; a copy moves a whole slot's cells."""

PrefixHolder = Slot | CachedPrefix
"""Who can lend a prefix."""

Shared = Mapping[PrefixHolder, int]
"""Tokens that holders have in common with a sequence; those who are missing share nothing."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Run in `slot`, starting from `length` tokens that it holds, or that `source` lends it."""

    slot: Slot
    length: int
    source: PrefixHolder | None = None

    @property
    def tier(self) -> CacheTier:
        """Where those tokens are before it starts."""
        if self.source is None:
            return CacheTier.SLOT
        return CacheTier.HOST if isinstance(self.source, CachedPrefix) else CacheTier.COPY


@dataclass(frozen=True, slots=True)
class WaitForPrefix:
    """The sequence in `slot` is about to compute a prefix worth waiting for, `length` tokens."""

    slot: Slot
    length: int


def place(
    sequence: Sequence, slots: abc.Sequence[Slot], shared: Shared, abilities: CacheAbilities
) -> Placement | WaitForPrefix | None:
    """Choose for the front of the queue; None if nothing is free.

    The choice leaves the least to compute. Equal ones are decided in favour of slots next to
    busy ones, because llama.cpp computes runs of consecutive slots together and splits a batch
    at every gap, and then of the slot that was unused for longest.
    """
    wanted = sequence.spec.slot
    free = [slot for slot in slots if slot.is_idle and wanted in (None, slot.id)]
    if not free:
        return None
    if not sequence.spec.cache_prompt:
        return Placement(_preferred(free, slots), 0)
    usable = {holder: _usable(sequence, holder, n, abilities) for holder, n in shared.items()}
    own = max(usable.get(slot, 0) for slot in free)
    promise = _pending_prefix(sequence, shared)
    if abilities.can_copy and promise and promise.length >= _best(usable) + MIN_COPY_GAIN:
        return promise
    if _best(usable) >= own + MIN_COPY_GAIN:
        return _from_other_holder(free, slots, usable, abilities)
    wants_more = sequence.spec.min_reused_chunk > 0  # than the prefix, of what is behind it
    return _in_place(free, slots, usable, own, abilities.can_copy and not wants_more)


def _from_other_holder(
    free: abc.Sequence[Slot], slots: abc.Sequence[Slot], usable: Shared, abilities: CacheAbilities
) -> Placement:
    """Start from the longest prefix that is not in a free slot already."""
    source = max(usable, key=lambda holder: usable[holder])
    length = usable[source]
    if isinstance(source, Slot) and not abilities.can_copy:
        own = max(usable.get(slot, 0) for slot in free)
        return _in_place(free, slots, usable, own, may_spare=False)
    return Placement(_preferred(free, slots), length, source)


def _in_place(
    free: abc.Sequence[Slot], slots: abc.Sequence[Slot], usable: Shared, own: int, may_spare: bool
) -> Placement:
    """Run where the prefix is, unless that destroys more than it saves and there is space."""
    holders = [slot for slot in free if usable.get(slot, 0) == own]
    slot = _preferred(holders, slots)
    if may_spare and own >= MIN_COPY_GAIN and slot.num_tokens - own > own:
        spare = [other for other in free if other is not slot and other.num_tokens <= own]
        if spare:
            return Placement(_preferred(spare, slots), own, slot)
    return Placement(slot, own)


def _usable(
    sequence: Sequence, holder: PrefixHolder, shared: int, abilities: CacheAbilities
) -> int:
    """Tokens that the holder has in its cells and can hand out; the sequence's last token is
    always computed anew, because its logits are needed."""
    length = min(shared, len(sequence.tokens) - 1, holder.num_tokens)
    return length if abilities.can_trim or length == holder.num_tokens else 0


def _pending_prefix(sequence: Sequence, shared: Shared) -> WaitForPrefix | None:
    """The longest shared prefix that a running sequence will have computed when it is done with
    its prompt (single flight: identical prefills are not done twice)."""
    coming = [
        WaitForPrefix(holder, min(length, len(sequence.tokens) - 1))
        for holder, length in shared.items()
        if isinstance(holder, Slot) and _is_prefilling(holder)
    ]
    return max(coming, key=lambda wait: wait.length, default=None)


def _is_prefilling(slot: Slot) -> bool:
    return slot.sequence is not None and not slot.sequence.is_decoding


def _best(usable: Shared) -> int:
    return max(usable.values(), default=0)


def _preferred(candidates: abc.Sequence[Slot], slots: abc.Sequence[Slot]) -> Slot:
    """The best of slots that save equally much computing."""
    busy = {slot.id for slot in slots if not slot.is_idle}

    def rank(slot: Slot) -> tuple[int, int, int]:
        neighbours = ((slot.id - 1) in busy) + ((slot.id + 1) in busy)
        return (-neighbours if busy else 0, slot.last_used, slot.id)

    return min(candidates, key=rank)
