"""What each running sequence computes in a step: the token budget, chunks, and room for drafts."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from protocol.events import Started
from scheduler.batching.cost_model import StepCost
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.sequence import Sequence, Slot
from scheduler.core.step import Chunk, PaddingRow, Step
from scheduler.core.step_counters import StepCounters
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.placement import MIN_COPY_GAIN
from scheduler.policy.batch_kind_rotation import BatchKindRotation
from scheduler.policy.prefill_budget import MIN_CHUNK, PrefillBudget
from scheduler.policy.prefill_shares import share_out, smallest_share

BUSY = -1

OLDEST_FIRST = 4
"""In one of so many steps with prompts the oldest comes first. Else short ones could hold up a long
one for ever."""


@dataclass(slots=True)
class StepPlan:
    """A step while it is being planned."""

    number: int
    """Steps are counted from 1."""
    started: list[Started] = field(default_factory=list)
    edits: list[CacheEdit] = field(default_factory=list)
    shared_prefix_stops: dict[Slot, int] = field(default_factory=dict)
    """Positions at which the sequences of slots should stop, because others wait for that prefix
    and then go on together with them."""
    shares: dict[Sequence, int] = field(default_factory=dict)
    """Tokens that the step computes of each sequence."""
    counters: StepCounters = field(default_factory=StepCounters)


class StepPlanner:
    """Shares out the rows of a step among the sequences that have a slot."""

    def __init__(self, cache: KVCacheManager, cost: StepCost | None = None) -> None:
        """`cost` holds the measured time of steps, if there is one."""
        self._cache = cache
        self._limits = limits = cache.limits
        self._budget = PrefillBudget(limits.itl_target, limits.n_batch, cost=cost)
        self._smallest_share = smallest_share(cost)
        self._num_prefills = 0
        """Steps so far that had prompts to compute."""
        self._rotation = BatchKindRotation(limits.itl_target)
        self._idle: list[int] = []
        """By slot, the cells of idle slots, or `BUSY`."""
        self._padding: tuple[PaddingRow, ...] = ()
        """The padding rows that `_idle` allows."""

    def share_out(self, plan: StepPlan) -> None:
        """Decide how many tokens of each sequence are computed: decodes first, then prefill."""
        sequences = self._of_current_kind()
        if sequences and sequences[0].is_whole:
            plan.shares = self._whole_prompts(sequences)
            return
        decoding: list[Sequence] = []
        prefilling: list[Sequence] = []
        for sequence in sequences:
            if sequence.is_decoding:
                decoding.append(sequence)
            elif not self._is_at_stop(sequence):
                prefilling.append(sequence)
        plan.shares = self._decode_shares(decoding, len(sequences))
        self._share_prefill(prefilling, plan)

    def step(self, plan: StepPlan) -> Step:
        """The finished plan; chunks and padding rows are in slot order."""
        chunks = [self._chunk(sequence, count) for sequence, count in plan.shares.items()]
        chunks.sort(key=lambda chunk: chunk.slot)
        wanted = [self._max_draft(chunk) for chunk in chunks]
        room = self._room(sum(plan.shares.values()))
        return Step(
            tuple(plan.started),
            tuple(plan.edits),
            self._with_draft_room(chunks, wanted, room),
            plan.counters,
            self._padding_rows(room - sum(wanted)),
        )

    def repeated(self, chunks: tuple[Chunk, ...]) -> Step | None:
        """A step of one row of each running sequence; None if the cache has no room for that."""
        room = self._room(len(chunks))
        if room < 0:
            return None
        self._cache.begin_step()
        return Step((), (), chunks, padding_rows=self._padding_rows(room), is_repeat=True)

    def _room(self, num_rows: int) -> int:
        """Rows that batch and cache have left beside these."""
        free = self._limits.n_ctx - self._cache.num_tokens
        return min(self._limits.n_batch, free) - num_rows

    def observe(self, step: Step, seconds: float) -> None:
        """Learn how long computing a step took."""
        if step.chunks:
            self._budget.observe(step.num_decode_tokens, step.num_prefill_tokens, seconds)
            self._rotation.observe(seconds)

    # --- the token budget ---

    def _of_current_kind(self) -> list[Sequence]:
        """The running sequences that this step is for: all that are not late, unless they differ
        in kind."""
        running = [sequence for sequence in self._cache.running if not sequence.is_late]
        can_differ = bool(self._limits.adapters) or self._limits.embedding is not None
        if not (running and can_differ):
            return running
        kinds = dict.fromkeys([sequence.kind for sequence in running])
        kind = self._rotation.take(kinds)
        return running if len(kinds) == 1 else [s for s in running if s.kind == kind]

    def _decode_shares(self, decoding: list[Sequence], num_sequences: int) -> dict[Sequence, int]:
        """Tokens of the sequences whose answer is under way, of `num_sequences` in the step."""
        shares: dict[Sequence, int] = {}
        # Every sequence gets one row: without it, long runs might starve the oldest sequence.
        room = self._limits.n_batch - num_sequences
        for sequence in decoding:
            shares[sequence] = min(sequence.num_uncomputed_tokens, 1 + room)
            room -= shares[sequence] - 1
        return shares

    def _share_prefill(self, prefilling: list[Sequence], plan: StepPlan) -> None:
        """Add the tokens of prompts to the plan. Within a priority, the prompt with the fewest
        tokens left is first, which makes the mean time to a first token the shortest."""
        if not prefilling:
            return
        budget = self._prefill_tokens(plan.shares, len(prefilling))
        most = self._limits.n_batch - sum(plan.shares.values())
        prefilling.sort(key=lambda s: (-s.spec.priority, s.num_uncomputed_tokens, s.request_id))
        self._num_prefills += 1
        if self._num_prefills % OLDEST_FIRST == 0:
            oldest = min(prefilling, key=lambda s: s.request_id)
            prefilling.sort(key=lambda s: s is not oldest)
        wanted = {sequence: self._wanted(sequence, plan) for sequence in prefilling}
        self._limit_scored(wanted)
        at_once = self._limits.rows_at_once
        plan.shares |= share_out(wanted, budget, most, at_once, self._smallest_share)

    def _is_at_stop(self, sequence: Sequence) -> bool:
        return sequence.slot is not None and self._cache.checkpoints.is_at_stop(sequence.slot)

    def _wanted(self, sequence: Sequence, plan: StepPlan) -> int:
        """Tokens that a prompt has left to compute. It stops where it gets a checkpoint, and where
        others wait for its prefix if much lies beyond."""
        assert sequence.slot is not None
        done, uncomputed = sequence.num_computed_tokens, sequence.num_uncomputed_tokens
        if sequence.spec.embedding and uncomputed > 1:
            uncomputed -= 1  # the last token is of another batch kind
        to_stop = plan.shared_prefix_stops.get(sequence.slot, 0) - done
        wanted = to_stop if 0 < to_stop <= uncomputed - MIN_COPY_GAIN else uncomputed
        stop = self._cache.checkpoints.next_stop(sequence.slot)
        return wanted if stop is None else min(wanted, stop - done)

    def _limit_scored(self, wanted: dict[Sequence, int]) -> None:
        """Cut the prompts that are scored: each of their rows has logits, as others have too."""
        room = self._limits.n_outputs - self._limits.n_slots
        for sequence in [sequence for sequence in wanted if sequence.is_scored]:
            wanted[sequence] = min(wanted[sequence], room)
            room -= wanted[sequence]
            if not wanted[sequence]:
                del wanted[sequence]

    def _whole_prompts(self, sequences: list[Sequence]) -> dict[Sequence, int]:
        """Prompts that are computed in one step each: the oldest ones that fit together."""
        embedding = self._limits.embedding
        assert embedding is not None
        left = min(self._prefill_tokens({}, len(sequences)), embedding.max_rows)
        shares: dict[Sequence, int] = {}
        for sequence in sorted(sequences, key=lambda sequence: sequence.request_id):
            count = len(sequence.tokens)
            if shares and (embedding.is_alone or count > left):
                break
            shares[sequence] = count
            left -= count
        return shares

    def _prefill_tokens(self, decodes: dict[Sequence, int], num_prefilling: int) -> int:
        """Prompt tokens for a step that also has `decodes`.

        Answers of another kind wait for this step too. Between two of their steps they wait for a
        step of every other kind, so the kinds share the budget.
        """
        running = [sequence for sequence in self._cache.running if not sequence.is_late]
        num_others = sum(s not in decodes and s.is_decoding for s in running)
        urgency = num_prefilling / max(len(decodes) + num_others, 1)
        left = self._budget.tokens(sum(decodes.values()) + num_others, urgency)
        if not num_others:
            return left
        num_kinds = len({s.kind for s in running})
        return min(left, max(left // num_kinds, MIN_CHUNK))

    # --- chunks, drafts, padding ---

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        assert sequence.slot is not None
        start = sequence.num_computed_tokens
        stop = start + count
        is_end = stop == len(sequence.tokens)
        wants_logits = is_end and (sequence.spec.embedding or not sequence.reached_max_tokens)
        return Chunk(
            sequence,
            sequence.slot.id,
            start,
            stop,
            wants_logits,
            is_scored=sequence.is_scored,
            is_decode=sequence.is_decoding,
        )

    def _max_draft(self, chunk: Chunk) -> int:
        """Draft tokens that may follow a chunk, by the bounds of its own sequence."""
        sequence, speculation = chunk.sequence, chunk.sequence.spec.speculation
        if speculation is None or not chunk.wants_logits:
            return 0
        bounds = [speculation.bounds(method).n_max for method in speculation.methods]
        size = self._limits.n_ctx_slot if sequence.window is None else sequence.window.size
        room = min(max(size - chunk.stop, 0), self._limits.abilities.max_draft)
        return min(max(bounds, default=0), room, sequence.num_tokens_left - 1)

    def _with_draft_room(
        self, chunks: list[Chunk], wanted: list[int], room: int
    ) -> tuple[Chunk, ...]:
        """Give the chunks that continue an answer equal parts of the room for draft tokens.

        `wanted` has the upper bound of each chunk; `room` is what batch and cache have left.
        """
        if not any(wanted):
            return tuple(chunks)
        most = {c.slot: n for c, n in zip(chunks, wanted, strict=True) if c.is_decode and n > 0}
        if not most:
            return tuple(chunks)
        scored = sum(chunk.num_tokens for chunk in chunks if chunk.is_scored)
        part = max(min(room, self._limits.n_outputs - len(chunks) - scored), 0) // len(most)
        return tuple(
            replace(chunk, max_draft=min(most.get(chunk.slot, 0), part)) for chunk in chunks
        )

    def _padding_rows(self, room: int) -> tuple[PaddingRow, ...]:
        """A row of each idle slot that has a free cell, if `room` is enough for all slots."""
        slots = self._cache.slots
        if not self._limits.abilities.can_trim or room < len(slots):
            return ()
        idle = [slot.num_tokens if slot.sequence is None else BUSY for slot in slots]
        if idle != self._idle:  # most steps find the slots as the step before
            self._idle, most = idle, self._limits.n_ctx_slot
            self._padding = tuple(
                PaddingRow(slot, count) for slot, count in enumerate(idle) if BUSY < count < most
            )
        return self._padding
