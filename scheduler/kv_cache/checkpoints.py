"""Checkpoints of slots whose memory can't trim: when they are saved, and what they replace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from scheduler.core.cache_edits import CacheEdit, Drop, Save, SaveCheckpoint
from scheduler.core.cache_scope import CacheScope
from scheduler.core.context_limits import ContextLimits
from scheduler.core.sequence import Sequence, Slot
from scheduler.kv_cache.checkpoint_stops import TAIL, checkpoint_stops
from scheduler.kv_cache.host_cache import CachedPrefix, Checkpoint, HostCache, HostEntry
from scheduler.kv_cache.placement import MIN_COPY_GAIN, CacheHolder
from scheduler.kv_cache.prefix_index import PrefixIndex
from scheduler.kv_cache.saving import CheckpointSaving


class Checkpoints:
    """Knows at which positions the sequences of slots stop, and saves a checkpoint there.

    If a model has no cells, a saved prefix is as small as a checkpoint, and needs no cells to go
    with it. Such models get prefixes instead.
    """

    def __init__(
        self,
        limits: ContextLimits,
        host_cache: HostCache,
        index: PrefixIndex[CacheHolder],
        saving: CheckpointSaving,
    ) -> None:
        self._limits = limits
        self._host_cache = host_cache
        self._index = index
        self._saving = saving
        self._stops: dict[int, list[int]] = {}
        """By slot: the positions, in rising order, at which its sequence stops."""

    @property
    def are_kept(self) -> bool:
        """Whether there are checkpoints at all."""
        limits = self._limits
        return limits.abilities.can_checkpoint and limits.max_checkpoints > 0

    def begin(self, slot: Slot, sequence: Sequence) -> None:
        """Choose the stops of a sequence that has just got its slot."""
        self._stops.pop(slot.id, None)
        if not self.are_kept or sequence.is_whole or not sequence.spec.cache_prompt:
            return
        start = slot.num_tokens
        shared = self._index.shared(sequence.tokens, sequence.scope)
        have = {n for holder, n in shared.items() if _is_saved(holder) and n == holder.num_tokens}
        partings = {*shared.values(), *sequence.spec.partings} - have
        step = self._limits.checkpoint_step
        stops = checkpoint_stops(len(sequence.tokens), start, partings, step, self._saving.spacing)
        # What the slot was given may be lost when the sequence goes on from there.
        self._stops[slot.id] = [start, *stops]

    def stop_at(self, slot: Slot, position: int) -> None:
        """Let the sequence of `slot` stop at one more position, because another one waits."""
        assert slot.sequence is not None
        stops = self._stops.get(slot.id)
        position = min(position, len(slot.sequence.tokens) - TAIL)
        if stops is None or position <= slot.num_tokens:
            return
        # A stop shortly before would be taken for as good as this one.
        near = range(max(position - MIN_COPY_GAIN, slot.num_tokens) + 1, position)
        self._stops[slot.id] = sorted({position, *(stop for stop in stops if stop not in near)})

    def next_stop(self, slot: Slot) -> int | None:
        """The next position at which the sequence of `slot` has to stop."""
        stops = self._stops.get(slot.id, ())
        return next((stop for stop in stops if stop > slot.num_tokens), None)

    def is_at_stop(self, slot: Slot) -> bool:
        """Whether the sequence of `slot` has to wait until its checkpoint is saved."""
        return slot.sequence is not None and slot.num_tokens in self._stops.get(slot.id, ())

    @property
    def has_stops(self) -> bool:
        """Whether any slot has a stop ahead of it, or is at one."""
        return any(self._stops.values())

    def save_due(self, slots: Iterable[Slot]) -> list[CacheEdit]:
        """Edits that save a checkpoint of the first slot that is at a stop.

        A step saves no more than one: others wait meanwhile, and streams too.
        """
        for slot in slots if self.has_stops else ():
            if self.is_at_stop(slot):
                self._stops[slot.id].remove(slot.num_tokens)
                saves, drops = self.save(slot)
                if saves:
                    return [*saves, *drops]
        return []

    def save(self, slot: Slot) -> tuple[list[CacheEdit], list[Drop]]:
        """Save a checkpoint of a slot as it is, unless there is one.

        Returns the save, and drops of what gives way.
        """
        tokens, scope = slot.tokens[: slot.num_tokens], slot.scope
        if not (self.are_kept and self._host_cache.wants_checkpoint(len(tokens))):
            return [], []
        same = self._same(tokens, scope)
        if same is not None:
            self._host_cache.touch(same)
            return [], []
        has_cells = self._limits.sizes.has_cells
        saved, evicted = self._add(tokens, scope)
        self._index.put(saved, tokens, scope)
        for entry in evicted:
            self._index.remove(entry)
        edit = SaveCheckpoint(slot.id, saved.id) if has_cells else Save(slot.id, saved.id)
        return [edit], [Drop(entry.id) for entry in evicted]

    def within(self, tokens: list[int], scope: CacheScope) -> list[HostEntry]:
        """The checkpoints of `tokens`, or what the model has instead, the least recently used
        first."""
        if not self.are_kept:
            return []
        kind = Checkpoint if self._limits.sizes.has_cells else CachedPrefix
        shared = self._index.shared(tokens, scope)
        saved = (entry for entry in self._host_cache if isinstance(entry, kind))
        return [entry for entry in saved if shared.get(entry) == entry.num_tokens]

    def adopt(self, tokens: list[int], scope: CacheScope) -> HostEntry | None:
        """Add a checkpoint from disk to host memory; None if it is there already or has no room."""
        has_cells = self._limits.sizes.has_cells
        has_room = self._host_cache.has_room(len(tokens), is_checkpoint=has_cells)
        if self._same(tokens, scope) is not None or not (self.are_kept and has_room):
            return None
        checkpoint, _ = self._add(tokens, scope)
        self._host_cache.make_oldest(checkpoint)
        self._index.put(checkpoint, tokens, scope)
        return checkpoint

    def _add(self, tokens: list[int], scope: CacheScope) -> tuple[HostEntry, list[HostEntry]]:
        """Put a checkpoint, or what the model has instead, into host memory; with what gave way."""
        has_cells = self._limits.sizes.has_cells
        add = self._host_cache.add_checkpoint if has_cells else self._host_cache.add
        return add(tokens, scope)

    def _same(self, tokens: list[int], scope: CacheScope) -> HostEntry | None:
        """What host memory has for exactly these tokens."""
        shared = self._index.shared(tokens, scope)
        count = len(tokens)
        saved = [holder for holder, length in shared.items() if length == count]
        return next((h for h in saved if _is_saved(h) and h.num_tokens == count), None)


def _is_saved(holder: CacheHolder) -> TypeGuard[HostEntry]:
    return not isinstance(holder, Slot)
