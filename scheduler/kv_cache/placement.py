"""The choice of a slot for a waiting sequence, and of the computed prefix that it starts from."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, replace

from protocol.cache_lookup import CacheTier
from scheduler.core.abilities import CacheAbilities
from scheduler.core.sequence import Sequence, Slot
from scheduler.kv_cache.checkpoint_stops import TAIL
from scheduler.kv_cache.host_cache import CachedPrefix, Checkpoint

MIN_COPY_GAIN = 32
"""Tokens that a copy from another holder has to save: a copy may move a whole slot's cells."""

MAX_WRITTEN = 64
"""A saved prefix is written whole. For each of these tokens, one has to be of use."""

PrefixHolder = Slot | CachedPrefix
"""Where a prefix can be copied from."""

CacheHolder = PrefixHolder | Checkpoint
"""What the prefix index knows."""

Shared = Mapping[PrefixHolder, int]
"""By holder, how many leading tokens it has in common with a sequence. Others share nothing."""

Checkpoints = Mapping[int, Checkpoint]
"""By their number of tokens, the checkpoints whose tokens a sequence begins with."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Run in `slot`, from `length` tokens that the slot holds, or that are copied from `source`."""

    slot: Slot
    length: int
    source: PrefixHolder | None = None
    checkpoint: Checkpoint | None = None
    """What takes the cells back to `length` tokens, if they are those of more and can't be
    trimmed."""
    num_shared: int = 0
    """Most leading tokens that the computed cells of any candidate have in common with the
    sequence."""

    @property
    def tier(self) -> CacheTier:
        """Where the tokens are before the sequence starts."""
        if self.source is None:
            return CacheTier.SLOT
        if isinstance(self.source, CachedPrefix):
            return CacheTier.DISK if self.source.is_from_disk else CacheTier.HOST
        return CacheTier.COPY


@dataclass(frozen=True, slots=True)
class WaitForPrefix:
    """Wait, because the sequence in `slot` is about to compute a prefix of `length` tokens."""

    slot: Slot
    length: int


def place(
    sequence: Sequence,
    slots: abc.Sequence[Slot],
    found: Mapping[CacheHolder, int],
    abilities: CacheAbilities,
) -> Placement | WaitForPrefix | None:
    """Choose for the sequence at the front of the queue; None if no slot is free for it.

    `found` has by holder how many leading tokens it has in common with the sequence.

    The choice leaves the fewest tokens to compute. Among equal slots, one next to a busy slot is
    preferred: llama.cpp computes consecutive slots together and splits a batch at every gap. Among
    those, the one that is unused for longest is preferred.
    """
    wanted = sequence.spec.slot
    free = [slot for slot in slots if slot.is_idle and wanted in (None, slot.id)]
    if not free:
        return None
    if not sequence.spec.cache_prompt:
        return Placement(_preferred(free, slots), 0)
    shared = {h: n for h, n in found.items() if not isinstance(h, Checkpoint)}
    checkpoints = {
        h.num_tokens: h for h, n in found.items() if isinstance(h, Checkpoint) and n == h.num_tokens
    }
    usable = {h: _usable(sequence, h, n, abilities, checkpoints) for h, n in shared.items()}
    pending = _pending_prefix(sequence, shared, abilities)
    if abilities.can_copy and pending and pending.length >= _best(usable) + MIN_COPY_GAIN:
        return pending
    placement = _start(sequence, free, slots, usable, abilities)
    most = max((min(n, holder.num_tokens) for holder, n in shared.items()), default=0)
    placement = replace(placement, num_shared=most)
    holder = placement.source or placement.slot
    if abilities.can_trim or placement.length == holder.num_tokens:
        return placement
    return replace(placement, checkpoint=checkpoints.get(placement.length))


def _start(
    sequence: Sequence,
    free: abc.Sequence[Slot],
    slots: abc.Sequence[Slot],
    usable: Shared,
    abilities: CacheAbilities,
) -> Placement:
    """Start from the longest prefix, in the slot that holds it or in another one."""
    in_place_length = max(usable.get(slot, 0) for slot in free)
    if _best(usable) >= in_place_length + MIN_COPY_GAIN:
        return _from_other_holder(free, slots, usable, abilities)
    # Chunks behind the prefix can be reused only in the slot that holds them.
    may_copy = abilities.can_copy and sequence.spec.min_reused_chunk == 0
    return _in_place(free, slots, usable, in_place_length, may_copy)


def _from_other_holder(
    free: abc.Sequence[Slot], slots: abc.Sequence[Slot], usable: Shared, abilities: CacheAbilities
) -> Placement:
    """Start from the longest prefix, which is in a busy slot or in host memory."""
    # Slots can share the cells of a slot. Those of a saved prefix are written.
    source = max(usable, key=lambda holder: (usable[holder], isinstance(holder, Slot)))
    length = usable[source]
    if isinstance(source, Slot) and not abilities.can_copy:
        in_place_length = max(usable.get(slot, 0) for slot in free)
        return _in_place(free, slots, usable, in_place_length, may_copy=False)
    return Placement(_preferred(free, slots), length, source)


def _in_place(
    free: abc.Sequence[Slot],
    slots: abc.Sequence[Slot],
    usable: Shared,
    length: int,
    may_copy: bool,
) -> Placement:
    """Run in the slot that holds the prefix of `length` tokens.

    If that slot holds more behind the prefix than the prefix itself, the prefix is copied to a slot
    that loses less.
    """
    holders = [slot for slot in free if usable.get(slot, 0) == length]
    slot = _preferred(holders, slots)
    if may_copy and length >= MIN_COPY_GAIN and slot.num_tokens - length > length:
        targets = [other for other in free if other is not slot and other.num_tokens <= length]
        if targets:
            return Placement(_preferred(targets, slots), length, slot)
    return Placement(slot, length)


def _usable(
    sequence: Sequence,
    holder: PrefixHolder,
    shared: int,
    abilities: CacheAbilities,
    checkpoints: Checkpoints,
) -> int:
    """Tokens that the holder has in its cells and can give away at a fair price. The sequence's
    last token is always computed, because its logits are needed."""
    length = min(shared, len(sequence.tokens) - 1, holder.num_tokens)
    if isinstance(holder, CachedPrefix) and length * MAX_WRITTEN < holder.num_tokens:
        return 0
    if abilities.can_trim or length == holder.num_tokens:
        return length
    return max((position for position in checkpoints if position <= length), default=0)


def _pending_prefix(
    sequence: Sequence, shared: Shared, abilities: CacheAbilities
) -> WaitForPrefix | None:
    """The longest shared prefix that a running sequence will have computed at the end of its
    prompt. Waiting for it avoids computing the same tokens twice."""
    pending = [
        WaitForPrefix(holder, min(length, len(sequence.tokens) - 1))
        for holder, length in shared.items()
        if isinstance(holder, Slot) and _is_prefilling(holder)
    ]
    if not abilities.can_trim:  # they stop for those who wait, but can't go back
        pending = [
            WaitForPrefix(wait.slot, length)
            for wait in pending
            if (length := min(wait.length, len(wait.slot.tokens) - TAIL)) > wait.slot.num_tokens
        ]
    return max(pending, key=lambda wait: wait.length, default=None)


def _is_prefilling(slot: Slot) -> bool:
    return slot.sequence is not None and not slot.sequence.is_decoding


def _best(usable: Shared) -> int:
    return max(usable.values(), default=0)


def _preferred(candidates: abc.Sequence[Slot], slots: abc.Sequence[Slot]) -> Slot:
    """The best of slots that save the same number of tokens."""
    busy = {slot.id for slot in slots if not slot.is_idle}

    def rank(slot: Slot) -> tuple[int, int, int]:
        neighbours = ((slot.id - 1) in busy) + ((slot.id + 1) in busy)
        return (-neighbours if busy else 0, slot.last_used, slot.id)

    return min(candidates, key=rank)
