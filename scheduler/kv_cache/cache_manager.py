"""The cells of the KV cache: which tokens they hold, who uses them, and what gives way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from protocol.commands import SequenceSpec
from scheduler.core.cache_edits import (
    CacheEdit,
    CopyPrefix,
    Drop,
    Restore,
    RestoreCheckpoint,
    Save,
    SaveCheckpoint,
    Shift,
    Trim,
)
from scheduler.core.cache_scope import CacheScope
from scheduler.core.context_limits import ContextLimits
from scheduler.core.sequence import Sequence, Slot
from scheduler.core.step import Step
from scheduler.kv_cache.checkpoints import Checkpoints
from scheduler.kv_cache.chunk_reuse import Reuse, find_chunks
from scheduler.kv_cache.host_cache import MIN_TOKENS, CachedPrefix, Checkpoint, HostCache, HostEntry
from scheduler.kv_cache.placement import (
    CacheHolder,
    Placement,
    PrefixHolder,
    WaitForPrefix,
    place,
)
from scheduler.kv_cache.prefix_index import PrefixIndex
from scheduler.kv_cache.saving import CheckpointSaving, Saving


class KVCacheManager:
    """Owns the slots, the prefix index, and the list of prefixes in host memory.

    A method that changes cells returns the edits for the backend. The manager's own state shows
    their result at once, so the backend has to carry them out in the same order.
    """

    def __init__(
        self, limits: ContextLimits, compute_seconds: Callable[[int], float] | None = None
    ) -> None:
        """`compute_seconds`: what computing so many tokens of a prompt takes, if that is known."""
        self.limits = limits
        self.slots = [Slot(id) for id in range(limits.n_slots)]
        self.host_cache = HostCache(limits.cache_bytes, limits.sizes, limits.max_checkpoints)
        self.index: PrefixIndex[CacheHolder] = PrefixIndex()
        self._checkpoint_saving = CheckpointSaving(compute_seconds)
        self.checkpoints = Checkpoints(limits, self.host_cache, self.index, self._checkpoint_saving)
        self._saving = Saving(compute_seconds)
        self.num_running = 0
        """Slots in which sequences run."""
        self._step_number = 0
        self._is_host_large = limits.cache_bytes >= 2 * limits.sizes.prefix(limits.n_ctx)
        """Whether old prefixes there can give way to what slots hold. In a small host memory they
        would soon be all that is left of a conversation."""

    @property
    def running(self) -> list[Sequence]:
        """The sequences that have a slot, in slot order."""
        return [slot.sequence for slot in self.slots if slot.sequence is not None]

    @property
    def has_idle_slot(self) -> bool:
        """Whether a sequence could start."""
        return self.num_running < len(self.slots)

    @property
    def num_tokens(self) -> int:
        """Cells in use, of running and of idle slots."""
        return sum([slot.num_tokens for slot in self.slots])

    @property
    def num_running_tokens(self) -> int:
        """Cells that running sequences need."""
        return sum([slot.num_tokens for slot in self.slots if slot.sequence is not None])

    def begin_step(self) -> int:
        """Count a step, and return its number: `Slot.last_used` is such a number."""
        self._step_number += 1
        return self._step_number

    # --- sequences come and go ---

    def place(self, sequence: Sequence) -> Placement | WaitForPrefix | None:
        """Where a waiting sequence should start; None if no slot that it may use is idle."""
        shared = self.index.shared(sequence.tokens, sequence.scope)
        return place(sequence, self.slots, shared, self.limits.abilities)

    def occupy(self, sequence: Sequence, placement: Placement) -> list[CacheEdit]:
        """Give a sequence its slot, with the cells of the prefix that it starts from."""
        if isinstance(placement.source, CachedPrefix):
            self.host_cache.touch(placement.source)  # before room is made for what the slot holds
        if placement.source is not None and not self._has_room_to_copy(placement.source):
            placement = self._without_copy(sequence, placement)
        if placement.checkpoint is not None:
            self.host_cache.touch(placement.checkpoint)
        slot, source = placement.slot, placement.source
        is_lost = slot.num_tokens > placement.length or source is not None
        num_left = placement.length if source is None else 0
        edits, drops = self._keep(slot, num_left) if is_lost else ([], [])
        if source is not None and self._writes_cells(source):
            self._empty_others(placement, source.num_tokens, edits, drops)
        moves, length = self._start_from(sequence, placement)
        slot.tokens, slot.num_tokens, slot.scope = sequence.tokens, length, sequence.scope
        slot.shifted_from = placement.length if length > placement.length else None
        slot.sequence, sequence.slot = sequence, slot
        self.num_running += 1
        sequence.num_cached_tokens = length
        self.checkpoints.begin(slot, sequence)
        self.index.put(slot, sequence.tokens[: slot.shifted_from], slot.scope)
        return [*edits, *moves, *drops]  # drops come last: the source may be among them

    def release(self, sequence: Sequence) -> None:
        """Take a sequence out of its slot, which keeps the computed tokens for others."""
        slot = sequence.slot
        assert slot is not None
        slot.tokens = sequence.tokens[: slot.num_tokens]
        slot.sequence, sequence.slot = None, None
        self.num_running -= 1
        sequence.is_late = False  # without cells, its last token is computed again
        slot.keeps_chunks = sequence.spec.min_reused_chunk > 0
        slot.last_used = self._step_number
        self.index.put(slot, slot.reusable_tokens, slot.scope)

    def set_aside(self, starts: list[CacheEdit]) -> list[CacheEdit]:
        """Empty the idle slots that have nothing to do with the starts of a step, where steps would
        read their cells, and host memory takes them.

        Returns the edits of the starts with those for that. The slots are emptied first, so that
        the running sequences get low cells: a step reads all up to the highest in use. On a CPU,
        a copy to host memory and back costs what 10 to 30 rows take to read the cells.
        """
        if not self.limits.abilities.reads_idle_cells:
            return starts
        copied = {edit.source for edit in starts if isinstance(edit, CopyPrefix)}
        edits: list[CacheEdit] = []
        drops: list[Drop] = []
        for slot in self.slots:
            if slot.is_idle and slot.num_tokens > 0 and slot.id not in copied:
                moves, outdated = self._moved_out(slot)
                edits += moves
                drops += outdated
        return [*edits, *starts, *drops]  # a start may use what is dropped

    def _moved_out(self, slot: Slot) -> tuple[list[CacheEdit], list[Drop]]:
        """Empty a slot whose tokens host memory keeps, or would never keep because they are few; no
        edits if it has no room for them."""
        if slot.keeps_chunks or not self.host_cache.wants(max(slot.num_tokens, MIN_TOKENS)):
            return [], []
        has_room = self._is_host_large or self.host_cache.has_room(slot.num_tokens)
        saves, drops = self._keep(slot) if has_room else ([], [])
        if not (saves or slot.num_tokens < MIN_TOKENS or self._is_kept(slot)):
            return [], []
        self.forget(slot)
        return [*saves, Trim(slot.id, 0)], drops

    def _writes_cells(self, source: PrefixHolder) -> bool:
        """Whether all cells of a source are written before those are dropped that the sequence
        does not share. If not, slots share them."""
        return isinstance(source, CachedPrefix) or not self.limits.abilities.can_trim

    def _has_room_to_copy(self, source: PrefixHolder) -> bool:
        """Whether the cells that have to stay leave room for all cells of a source."""
        if not self._writes_cells(source):
            return True
        held = source.num_tokens if isinstance(source, Slot) and source.is_idle else 0
        return self.num_running_tokens + held + source.num_tokens <= self.limits.n_ctx

    def _without_copy(self, sequence: Sequence, placement: Placement) -> Placement:
        """Run in the source itself if that is possible, else without a prefix."""
        source = placement.source
        if isinstance(source, Slot) and source.is_idle and sequence.spec.slot is None:
            return replace(placement, slot=source, source=None)
        return replace(placement, length=0, source=None, checkpoint=None)

    def _empty_others(
        self, placement: Placement, num_tokens: int, edits: list[CacheEdit], drops: list[Drop]
    ) -> None:
        """Empty idle slots until `num_tokens` fit in place of what the slot holds."""
        slot, stay = placement.slot, (placement.slot, placement.source)
        others = [s for s in self.slots if s not in stay and s.is_idle and s.num_tokens > 0]
        others.sort(key=lambda other: other.last_used, reverse=True)
        while self.num_tokens - slot.num_tokens + num_tokens > self.limits.n_ctx:
            victim = others.pop()
            saves, outdated = self._keep(victim)
            self.forget(victim)
            edits += [*saves, Trim(victim.id, 0)]
            drops += outdated

    def _is_kept(self, slot: Slot) -> bool:
        """Whether host memory has all that a slot holds."""
        shared = self.index.shared(slot.tokens[: slot.num_tokens], slot.scope)
        return self._is_covered(slot.num_tokens, shared)

    def _is_covered(self, num_tokens: int, shared: Mapping[CacheHolder, int]) -> bool:
        """Whether a prefix in host memory stands for `num_tokens` that it begins with."""
        return any(
            isinstance(holder, CachedPrefix)
            and count == num_tokens
            and self._may_go(num_tokens, holder, shared)
            for holder, count in shared.items()
        )

    def _start_from(self, sequence: Sequence, placement: Placement) -> tuple[list[CacheEdit], int]:
        """Edits that give the slot its first cells, and how many tokens those cells hold."""
        slot, length, checkpoint = placement.slot, placement.length, placement.checkpoint
        moves: list[CacheEdit] = []
        count = (placement.source or slot).num_tokens if checkpoint else length
        match placement.source:
            case CachedPrefix() as prefix:
                moves.append(Restore(prefix.id, slot.id, count))
            case Slot() as source:
                moves.append(CopyPrefix(source.id, slot.id, count))
            case None if slot.num_tokens > length and checkpoint is None:
                return self._reuse(sequence, slot, length)
        if checkpoint is not None:
            moves.append(RestoreCheckpoint(checkpoint.id, slot.id, length))
        return moves, length

    def _reuse(self, sequence: Sequence, slot: Slot, prefix: int) -> tuple[list[CacheEdit], int]:
        """Drop what the slot holds beyond the prefix, except chunks that the request may reuse.

        Returns the edits, and how many tokens of the sequence have cells afterwards.
        """
        reuse = Reuse((), prefix)
        if self._may_reuse_chunks(sequence.spec) and slot.scope == sequence.scope:
            held = slot.tokens[: slot.num_tokens]
            reuse = find_chunks(held, sequence.tokens, prefix, sequence.spec.min_reused_chunk)
        edits: list[CacheEdit] = []
        left = slot.num_tokens
        for start, stop in reuse.gaps:
            edits.append(Shift(slot.id, start, stop, may_be_shared=left == slot.num_tokens))
            left -= stop - start
        if left > reuse.length:
            edits.append(Trim(slot.id, reuse.length))
        return edits, reuse.length

    def _may_reuse_chunks(self, spec: SequenceSpec) -> bool:
        abilities = self.limits.abilities
        wants_chunks = spec.min_reused_chunk > 0 and spec.cache_prompt
        return wants_chunks and abilities.can_trim and abilities.can_shift

    # --- cells are freed ---

    def victim(self) -> Slot:
        """The slot whose cells give way: the least recently used idle one, or else the one of the
        sequence that came last. Some slot must hold cells."""
        idle = [slot for slot in self.slots if slot.is_idle and slot.num_tokens > 0]
        if idle:
            return min(idle, key=lambda slot: slot.last_used)
        busy = [slot for slot in self.slots if slot.sequence is not None]
        return max(busy, key=_request_id)

    def vacate(self, slot: Slot) -> list[CacheEdit]:
        """Empty an idle slot; host memory keeps what it held if there is room."""
        saves, drops = self._keep(slot)
        self.forget(slot)
        return [*saves, *drops, Trim(slot.id, 0)]

    def forget(self, slot: Slot) -> None:
        """Note that a slot's cells are of no use any more."""
        slot.tokens, slot.num_tokens, slot.shifted_from = [], 0, None
        self.index.remove(slot)

    def clear(self) -> None:
        """Note that the context lost all cells and everything saved. All slots must be idle."""
        for slot in self.slots:
            self.forget(slot)
        self.host_cache.clear()
        self.index.clear()
        self._saving.observe(0, 0.0)  # a save that was planned may not have been made

    def embedded_edits(self, step: Step) -> list[CacheEdit]:
        """Edits that drop the cells of prompts that the step embedded as a whole."""
        return [Trim(chunk.slot, 0) for chunk in step.chunks if chunk.sequence.is_whole]

    def observe_save(self, save: Save | SaveCheckpoint, seconds: float) -> None:
        """Learn how long a save of cells, or of a checkpoint, took."""
        if isinstance(save, SaveCheckpoint) or not self.limits.sizes.has_cells:
            self._checkpoint_saving.observe(seconds)
        if isinstance(save, SaveCheckpoint):
            return
        prefix = self.host_cache.get(save.prefix)
        num_tokens = prefix.num_tokens if isinstance(prefix, CachedPrefix) else 0
        self._saving.observe(num_tokens, seconds)

    def _keep(self, slot: Slot, num_left: int = 0) -> tuple[list[CacheEdit], list[Drop]]:
        """Save what a slot holds before all but `num_left` tokens of it are lost, unless host
        memory has it already, or computing it again would take less time.

        Returns the save, and drops of prefixes that give way or that the saved one contains.
        """
        if slot.shifted_from is not None or not self.host_cache.wants(slot.num_tokens):
            return [], []
        tokens = slot.tokens[: slot.num_tokens]
        shared = self.index.shared(tokens, slot.scope)
        kept = [holder for holder in shared if isinstance(holder, CachedPrefix)]
        if self._is_covered(slot.num_tokens, shared):
            return [], []
        if self.checkpoints.are_kept and any(shared[one] == slot.num_tokens for one in kept):
            return self.checkpoints.save(slot)
        others = [min(n, h.num_tokens) for h, n in shared.items() if self._has_cells(h, slot)]
        num_lost = slot.num_tokens - max(num_left, *others, 0)
        if not self._saving.is_worth_it(slot.num_tokens, num_lost):
            return [], []
        contained = [
            prefix
            for prefix in kept
            if shared[prefix] == prefix.num_tokens and self._may_go(prefix.num_tokens, slot, shared)
        ]
        for prefix in contained:
            self.host_cache.remove(prefix)
        saved, evicted = self.host_cache.add(tokens, slot.scope)
        self.index.put(saved, tokens, slot.scope)
        gone: list[HostEntry] = [*contained, *evicted]
        for entry in gone:
            self.index.remove(entry)
        return [Save(slot.id, saved.id)], [Drop(entry.id) for entry in gone]

    @staticmethod
    def _has_cells(holder: CacheHolder, slot: Slot) -> bool:
        """Whether a holder still has cells once those of a slot are gone."""
        return holder is not slot and not isinstance(holder, Checkpoint)

    def _may_go(self, length: int, cover: PrefixHolder, shared: Mapping[CacheHolder, int]) -> bool:
        """Whether a prefix of `length` tokens is of no use beside `cover`, which contains it.

        If the memory can't trim, `cover` needs a checkpoint there to take the prefix's place.
        """
        if self.limits.abilities.can_trim or cover.num_tokens == length:
            return True
        return any(
            isinstance(holder, Checkpoint) and count == length == holder.num_tokens
            for holder, count in shared.items()
        )

    # --- answers longer than a slot ---

    def shift_windows(self) -> list[CacheEdit]:
        """Move the windows of the sequences that outgrew their slot. A late one gets its token
        first, as if it had been in time."""
        edits: list[CacheEdit] = []
        for sequence in self.running:
            count = 0 if sequence.is_late else sequence.discard()
            if count > 0:
                edits += self._shift_cells(sequence, count)
        return edits

    def _shift_cells(self, sequence: Sequence, count: int) -> list[CacheEdit]:
        """`count` tokens after those to keep are gone; forced tokens among them may have had no
        cells yet."""
        slot, window = sequence.slot, sequence.window
        assert slot is not None
        assert window is not None
        edits: list[CacheEdit] = []
        stop = min(window.keep + count, slot.num_tokens)
        if stop > window.keep:
            in_place = slot.num_tokens if slot.shifted_from is None else slot.shifted_from
            edits.append(Shift(slot.id, window.keep, stop, may_be_shared=window.keep < in_place))
            slot.num_tokens -= stop - window.keep
            slot.shifted_from = min(window.keep, in_place)
        self.index.put(slot, slot.reusable_tokens[: window.keep], slot.scope)
        return edits

    # --- between steps: files and slot commands ---

    def adopt(self, tokens: list[int], scope: CacheScope) -> HostEntry | None:
        """Add a prefix from disk to host memory; None if it is there already or has no room."""
        shared = self.index.shared(tokens, scope)
        covers = [h for h, n in shared.items() if isinstance(h, CachedPrefix) and n == len(tokens)]
        if any(self._may_go(len(tokens), cover, shared) for cover in covers):
            return None
        if not self.host_cache.has_room(len(tokens)):
            return None
        prefix, _ = self.host_cache.add(tokens, scope, is_from_disk=True)
        self.host_cache.make_oldest(prefix)
        self.index.put(prefix, tokens, scope)
        return prefix

    def erase(self, slot: Slot) -> list[CacheEdit]:
        """Empty an idle slot; nothing is kept."""
        self.forget(slot)
        return [Trim(slot.id, 0)]

    def has_room(self, num_tokens: int) -> bool:
        """Whether an idle slot could hold `num_tokens` if other idle slots were emptied."""
        total = self.num_running_tokens + num_tokens
        return num_tokens <= self.limits.n_ctx_slot and total <= self.limits.n_ctx

    def make_room(self, slot: Slot, num_tokens: int) -> list[CacheEdit]:
        """Empty an idle slot, and other idle ones until `num_tokens` fit, which `has_room` must
        have confirmed. Host memory keeps what they held."""
        edits = self.vacate(slot)
        while self.num_tokens + num_tokens > self.limits.n_ctx:
            edits += self.vacate(self.victim())
        return edits

    def fill(self, slot: Slot, tokens: list[int], scope: CacheScope) -> None:
        """Note that an empty slot was given the cells of `tokens`."""
        slot.tokens, slot.num_tokens, slot.scope = tokens, len(tokens), scope
        slot.last_used = self._step_number
        self.index.put(slot, tokens, scope)


def _request_id(slot: Slot) -> int:
    return -1 if slot.sequence is None else slot.sequence.request_id
