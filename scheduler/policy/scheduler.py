"""Pure policy: which sequences run, in which slots, and what each step computes.

No clock, no socket, no tensor: time and samples are passed in, plans and events come out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from protocol.commands import AddRequest, SequenceSpec
from protocol.events import (
    EmbeddedEvent,
    Event,
    Finished,
    FinishReason,
    Generated,
    Prefilled,
    Started,
)
from protocol.messages import CacheTier, EmbeddingInfo, SlotState
from scheduler.batching.cost_model import StepCost
from scheduler.core.abilities import CacheAbilities
from scheduler.core.cache_edits import CacheEdit, CopyPrefix, Drop, Restore, Save, Shift, Trim
from scheduler.core.cache_scope import CacheScope
from scheduler.core.results import EmbeddingResult, Result, SampleFailed
from scheduler.core.sequence import Sequence, Slot
from scheduler.core.step import Chunk, PaddingRow, Step
from scheduler.core.step_counters import StepCounters
from scheduler.kv_cache.chunk_reuse import Reuse, find_chunks
from scheduler.kv_cache.host_cache import CachedPrefix, HostCache
from scheduler.kv_cache.placement import (
    MIN_COPY_GAIN,
    Placement,
    PrefixHolder,
    WaitForPrefix,
    place,
)
from scheduler.kv_cache.prefix_index import PrefixIndex
from scheduler.policy.batch_kind_rotation import BatchKindRotation
from scheduler.policy.prefill_budget import MIN_CHUNK, PrefillBudget
from scheduler.policy.prefill_shares import share_out
from scheduler.policy.waiting_queue import WaitingQueue

REENTRY_MARGIN = 32
"""Cells for each running sequence to grow into that have to be free before a preempted one comes
back: it computes all it had anew, which should be for more than a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimits:
    """What the context was made with, in tokens."""

    n_slots: int
    n_ctx_slot: int
    """Cells that one sequence may use."""
    n_ctx: int
    """Cells of all slots together; in unified mode fewer than the slots could use."""
    n_batch: int
    end_tokens: frozenset[int]
    abilities: CacheAbilities
    adapters: frozenset[str] = frozenset()
    """Digests of those that sequences may ask for."""
    embedding: EmbeddingInfo | None = None
    can_generate: bool = True
    itl_target: float = 0.1
    """Seconds between tokens that running streams should see."""
    cache_bytes: int = 0
    """Host memory for prefixes that left their slot."""
    cell_bytes: int = 1
    """What one token of them takes."""
    state_bytes: int = 0
    """What each of them takes besides."""
    n_outputs: int = 0
    """Rows of a step that may have logits; what is more than slots is for guesses."""


class Scheduler:
    """Owns the queue and the slots.

    The engine calls `schedule`, carries the step out, and hands the samples to `update`.
    """

    def __init__(self, limits: ContextLimits, cost: StepCost | None = None) -> None:
        """`cost` is what steps take, if that was measured."""
        self.limits = limits
        self.waiting = WaitingQueue()
        self.slots = [Slot(id) for id in range(limits.n_slots)]
        self.host_cache = HostCache(limits.cache_bytes, limits.cell_bytes, limits.state_bytes)
        self.index: PrefixIndex[PrefixHolder] = PrefixIndex()
        self.budget = PrefillBudget(limits.itl_target, limits.n_batch, cost=cost)
        self.turns = BatchKindRotation(limits.itl_target)
        self._step_number = 0
        self._counters = StepCounters()

    @property
    def running(self) -> list[Sequence]:
        """The sequences that have a slot, in slot order."""
        return [slot.sequence for slot in self.slots if slot.sequence is not None]

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.waiting) or any(not slot.is_idle for slot in self.slots)

    @property
    def num_cache_tokens(self) -> int:
        """Cells in use, of running and of idle slots."""
        return sum(slot.num_tokens for slot in self.slots)

    @property
    def num_running_cache_tokens(self) -> int:
        """Cells that running sequences need."""
        return sum(slot.num_tokens for slot in self.slots if not slot.is_idle)

    def add_request(self, request: AddRequest) -> list[Event]:
        """Queue a sequence, or refuse it with its terminal event."""
        embedding = self.limits.embedding
        embeds_whole = embedding is not None and embedding.is_whole
        sequence = Sequence.of(request, self.limits.n_ctx_slot, embeds_whole=embeds_whole)
        problem = self._problem(sequence)
        if problem:
            return [Finished(request.request_id, FinishReason.FAILED, problem)]
        self.waiting.append(sequence)
        return []

    def _problem(self, sequence: Sequence) -> str:
        spec, length = sequence.spec, len(sequence.tokens)
        if length == 0:
            return "the prompt is empty"
        if length > self.limits.n_ctx_slot:
            return f"{length} tokens do not fit a slot of {self.limits.n_ctx_slot}"
        if spec.slot is not None and not 0 <= spec.slot < self.limits.n_slots:
            return f"there is no slot {spec.slot}"
        if any(digest not in self.limits.adapters for digest, _ in spec.lora):
            return "an adapter that it needs is not loaded any more"
        return self._wrong_kind(spec)

    def _wrong_kind(self, spec: SequenceSpec) -> str:
        """Why the model can't do what is asked for, if it can't."""
        embedding = self.limits.embedding
        if not spec.embedding:
            return "" if self.limits.can_generate else "the model computes embeddings only"
        if embedding is None:
            return "the model was loaded without embeddings"
        if len(spec.prompt) > embedding.max_tokens:
            return f"{len(spec.prompt)} tokens are more than the {embedding.max_tokens} possible"
        return ""

    def abort(self, request_ids: Iterable[int]) -> list[Event]:
        """End sequences wherever they are; ids that already ended are ignored."""
        gone = set(request_ids)
        ended = [s for s in (*self.waiting, *self.running) if s.request_id in gone]
        return [self.finish(sequence, FinishReason.ABORTED) for sequence in ended]

    def finish(self, sequence: Sequence, reason: FinishReason, message: str = "") -> Event:
        """End one sequence; its slot keeps the computed tokens for others to reuse."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self._release(sequence)
        return Finished(sequence.request_id, reason, message)

    def fail_running(self, message: str) -> list[Event]:
        """End every running sequence, and forget all cells and prefixes: the context broke."""
        events = [self.finish(s, FinishReason.FAILED, message) for s in self.running]
        for slot in self.slots:
            self._forget(slot)
        self.host_cache.clear()
        self.index.clear()
        return events

    def schedule(self) -> Step:
        """Plan the next step: admit what can start, then share out the token budget."""
        self._step_number += 1
        self._counters = StepCounters()
        started: list[Started] = []
        edits: list[CacheEdit] = []
        self._shift(edits)
        shared_prefix_stops = self._admit(started, edits)
        shares = self._shares(shared_prefix_stops)
        self._make_room(shares, edits)
        chunks = [self._chunk(sequence, count) for sequence, count in shares.items()]
        chunks.sort(key=lambda chunk: chunk.slot)
        spare = self._spare(chunks)
        return Step(tuple(started), tuple(edits), self._with_room(chunks), self._counters, spare)

    def update(self, step: Step, results: list[Result]) -> list[Event]:
        """Record what the step computed; `results` are in the order of `step.sampled()`.

        Cells of guesses that were wrong, or not wanted, are beyond their slot's `num_tokens` then:
        `rejected_draft_edits` tells of them.
        """
        events: list[Event] = []
        remaining = iter(results)
        for chunk in step.chunks:
            sequence = chunk.sequence
            if sequence.slot is None:
                continue
            sequence.slot.num_tokens = chunk.stop
            if sequence.spec.report_progress and _is_of_prompt(chunk):
                done = min(chunk.stop, sequence.num_prompt_tokens)
                events.append(Prefilled(sequence.request_id, done))
            if chunk.wants_logits:
                events.extend(self._append(chunk, next(remaining)))
            elif sequence.reached_max_tokens and sequence.num_uncomputed_tokens == 0:
                events.append(self.finish(sequence, FinishReason.MAX_TOKENS))
        return events

    def rejected_draft_edits(self, step: Step) -> list[CacheEdit]:
        """What drops the cells of a step's guesses that nobody keeps."""
        return [
            Trim(chunk.slot, self.slots[chunk.slot].num_tokens)
            for chunk in step.chunks
            if self.slots[chunk.slot].num_tokens < chunk.start + chunk.num_tokens
        ]

    def states(self) -> list[SlotState]:
        """A picture of every slot, for `Inspect`."""
        return [_state(slot) for slot in self.slots]

    # --- between steps ---

    def adopt(self, tokens: list[int], scope: CacheScope) -> CachedPrefix | None:
        """Have a prefix in host memory that comes from disk; None if it is of no use there."""
        shared = self.index.shared(tokens, scope)
        if any(isinstance(h, CachedPrefix) and n == len(tokens) for h, n in shared.items()):
            return None
        prefix = self.host_cache.add_oldest(tokens, scope)
        if prefix is not None:
            self.index.put(prefix, tokens, scope)
        return prefix

    def erase(self, slot: Slot) -> list[CacheEdit]:
        """Empty an idle slot."""
        self._forget(slot)
        return [Trim(slot.id, 0)]

    def has_room(self, num_tokens: int) -> bool:
        """Whether an idle slot could hold so many tokens if other idle ones gave way."""
        others = self.num_running_cache_tokens
        return num_tokens <= self.limits.n_ctx_slot and others + num_tokens <= self.limits.n_ctx

    def make_room(self, slot: Slot, num_tokens: int) -> list[CacheEdit]:
        """Empty an idle slot, and others until so many tokens fit; host memory keeps them."""
        edits: list[CacheEdit] = []
        self._vacate(slot, edits)
        while self.num_cache_tokens + num_tokens > self.limits.n_ctx:
            self._vacate(self._victim(), edits)
        return edits

    def fill(self, slot: Slot, tokens: list[int], scope: CacheScope) -> None:
        """An empty slot was given cells."""
        slot.tokens, slot.num_tokens, slot.scope = tokens, len(tokens), scope
        slot.last_used = self._step_number
        self.index.put(slot, tokens, scope)

    def _vacate(self, slot: Slot, edits: list[CacheEdit]) -> None:
        drops = self._keep(slot, edits)
        edits += [*drops, Trim(slot.id, 0)]
        self._forget(slot)

    # --- admission ---

    def _admit(self, started: list[Started], edits: list[CacheEdit]) -> dict[Slot, int]:
        """Give free slots to the queue, in order; one that had better wait is passed over.

        Returns how far slots should compute at first because somebody waits for that much.
        """
        shared_prefix_stops: dict[Slot, int] = {}
        if all(not slot.is_idle for slot in self.slots):
            return shared_prefix_stops
        for sequence in self.waiting:
            if self._is_crowded(sequence):
                break
            shared = self.index.shared(sequence.tokens, sequence.scope)
            placement = place(sequence, self.slots, shared, self.limits.abilities)
            if isinstance(placement, Placement):
                self.waiting.start(sequence)
                self._occupy(sequence, placement, edits)
                started.extend(self._announce(sequence, placement.tier))
            elif isinstance(placement, WaitForPrefix):
                point = shared_prefix_stops.get(placement.slot, placement.length)
                shared_prefix_stops[placement.slot] = min(point, placement.length)
            elif sequence.spec.slot is None:
                break
        return shared_prefix_stops

    def _is_crowded(self, sequence: Sequence) -> bool:
        """Whether the running sequences leave it no room, so that it would be preempted before
        it gets anywhere; one that was preempted before has to wait for some more."""
        running = self.running
        wanted = sum(len(s.tokens) for s in (*running, sequence))
        margin = REENTRY_MARGIN * (len(running) + 1) if sequence.was_started else 0
        return bool(running) and wanted + margin > self.limits.n_ctx

    def _occupy(self, sequence: Sequence, placement: Placement, edits: list[CacheEdit]) -> None:
        slot, length, source = placement.slot, placement.length, placement.source
        if isinstance(source, CachedPrefix):
            self.host_cache.touch(source)  # before room is made for what the slot holds
        moved_from = None
        is_lost = slot.num_tokens > length or source is not None
        drops = self._keep(slot, edits) if is_lost else []
        if isinstance(source, CachedPrefix):
            edits.append(Restore(source.id, slot.id, length))
        elif source is not None:
            edits.append(CopyPrefix(source.id, slot.id, length))
        elif slot.num_tokens > length:
            prefix, length = length, self._reuse(sequence, slot, length, edits)
            moved_from = prefix if length > prefix else None
        edits += drops  # last, for the source may be among them
        slot.tokens, slot.num_tokens = sequence.tokens, length
        slot.scope, slot.shifted_from = sequence.scope, moved_from
        slot.sequence, sequence.slot = sequence, slot
        sequence.num_cached_tokens, sequence.last_prefill_step = length, self._step_number - 1
        self.index.put(slot, sequence.tokens[:moved_from], slot.scope)

    def _reuse(self, sequence: Sequence, slot: Slot, prefix: int, edits: list[CacheEdit]) -> int:
        """Drop what the slot holds beyond the prefix, but for chunks that the request wants to
        reuse; returns how many of its tokens have cells then."""
        spec, able = sequence.spec, self.limits.abilities
        wants_chunks = spec.min_reused_chunk > 0 and spec.cache_prompt
        reuse = Reuse((), prefix)
        if wants_chunks and able.can_trim and able.can_shift and slot.scope == sequence.scope:
            held = slot.tokens[: slot.num_tokens]
            reuse = find_chunks(held, sequence.tokens, prefix, spec.min_reused_chunk)
        left = slot.num_tokens
        for start, stop in reuse.gaps:
            edits.append(Shift(slot.id, start, stop, left == slot.num_tokens))
            left -= stop - start
        if left > reuse.length:
            edits.append(Trim(slot.id, reuse.length))
        return reuse.length

    def _keep(self, slot: Slot, edits: list[CacheEdit]) -> list[Drop]:
        """Save what a slot holds before it is lost, unless host memory has it already; returns
        what has to go in exchange."""
        if slot.shifted_from is not None or not self.host_cache.wants(slot.num_tokens):
            return []
        tokens = slot.tokens[: slot.num_tokens]
        shared = self.index.shared(tokens, slot.scope)
        kept = [holder for holder in shared if isinstance(holder, CachedPrefix)]
        if any(shared[prefix] == slot.num_tokens for prefix in kept):
            return []
        contained = [prefix for prefix in kept if shared[prefix] == prefix.num_tokens]
        for prefix in contained:
            self.host_cache.remove(prefix)
        saved, evicted = self.host_cache.add(tokens, slot.scope)
        edits.append(Save(slot.id, saved.id))
        self.index.put(saved, tokens, slot.scope)
        for prefix in (*contained, *evicted):
            self.index.remove(prefix)
        return [Drop(prefix.id) for prefix in (*contained, *evicted)]

    def _forget(self, slot: Slot) -> None:
        """The slot's cells are empty now."""
        slot.tokens, slot.num_tokens, slot.shifted_from = [], 0, None
        self.index.remove(slot)

    def _announce(self, sequence: Sequence, tier: CacheTier) -> Iterable[Started]:
        if sequence.was_started:  # it was preempted, and goes on
            return
        sequence.was_started = True
        assert sequence.slot is not None
        cached = min(sequence.num_cached_tokens, sequence.num_prompt_tokens)
        self._counters.looked_up(sequence.num_prompt_tokens, cached, tier)
        yield Started(sequence.request_id, sequence.slot.id, cached)

    def _release(self, sequence: Sequence) -> None:
        slot = sequence.slot
        assert slot is not None
        slot.tokens = sequence.tokens[: slot.num_tokens]
        slot.sequence, sequence.slot = None, None
        slot.last_used = self._step_number
        self.index.put(slot, slot.reusable_tokens, slot.scope)

    # --- answers longer than a slot ---

    def _shift(self, edits: list[CacheEdit]) -> None:
        """Move the windows of the sequences that outgrew their slot."""
        for sequence in self.running:
            count = sequence.discard()
            if count > 0:
                self._shift_cells(sequence, count, edits)

    def _shift_cells(self, sequence: Sequence, count: int, edits: list[CacheEdit]) -> None:
        """`count` tokens after those to keep are gone; of forced ones some had no cells yet."""
        slot, window = sequence.slot, sequence.window
        assert slot is not None
        assert window is not None
        stop = min(window.keep + count, slot.num_tokens)
        if stop > window.keep:
            own = slot.num_tokens if slot.shifted_from is None else slot.shifted_from
            edits.append(Shift(slot.id, window.keep, stop, window.keep < own))
            slot.num_tokens -= stop - window.keep
            slot.shifted_from = min(window.keep, own)
        self.index.put(slot, slot.reusable_tokens[: window.keep], slot.scope)

    # --- the token budget ---

    def _at_turn(self) -> list[Sequence]:
        """The running sequences that this step is for: all of them, unless they differ in kind."""
        running = self.running
        can_differ = bool(self.limits.adapters) or self.limits.embedding is not None
        if not (running and can_differ):
            return running
        kinds = dict.fromkeys([sequence.kind for sequence in running])
        kind = self.turns.take(kinds)
        return running if len(kinds) == 1 else [s for s in running if s.kind == kind]

    def _shares(self, shared_prefix_stops: dict[Slot, int]) -> dict[Sequence, int]:
        """Tokens of the sequences at turn to compute: decodes first, then prefill, in turns.

        A sequence stops at the end of a prefix that others wait for, and goes on together with
        them.
        """
        running = self._at_turn()
        if running and running[0].is_whole:
            return self._whole_prompts(running)
        decoding = [s for s in running if s.is_decoding]
        prefilling = [s for s in running if not s.is_decoding]
        shares: dict[Sequence, int] = {}
        room = self.limits.n_batch - len(running)  # one row for each, or the oldest might starve
        for sequence in decoding:
            shares[sequence] = min(sequence.num_uncomputed_tokens, 1 + room)
            room -= shares[sequence] - 1
        budget = self._prefill_tokens(shares, len(prefilling))
        most = self.limits.n_batch - sum(shares.values())
        prefilling.sort(
            key=lambda sequence: (sequence.last_prefill_step, sequence.num_uncomputed_tokens)
        )
        wanted = {sequence: _wanted(sequence, shared_prefix_stops) for sequence in prefilling}
        for sequence, share in share_out(wanted, budget, most).items():
            shares[sequence] = share
            sequence.last_prefill_step = self._step_number
        return shares

    def _whole_prompts(self, running: list[Sequence]) -> dict[Sequence, int]:
        """Prompts that are computed in one step each, the oldest first, as many as fit."""
        embedding = self.limits.embedding
        assert embedding is not None
        left = min(self._prefill_tokens({}, len(running)), embedding.max_rows)
        shares: dict[Sequence, int] = {}
        for sequence in sorted(running, key=lambda sequence: sequence.request_id):
            count = len(sequence.tokens)
            if shares and (embedding.is_alone or count > left):
                break
            shares[sequence] = count
            left -= count
        return shares

    def _prefill_tokens(self, decodes: dict[Sequence, int], num_prefilling: int) -> int:
        """Prompt tokens for a step that also has `decodes`. Streams of another kind have to wait
        for this step too, and for those of all kinds between two of theirs."""
        others = [s for s in self.running if s.is_decoding and s not in decodes]
        urgency = num_prefilling / max(len(decodes) + len(others), 1)
        left = self.budget.tokens(sum(decodes.values()) + len(others), urgency)
        if not others:
            return left
        num_kinds = len({s.kind for s in self.running})
        return min(left, max(left // num_kinds, MIN_CHUNK))

    def _chunk(self, sequence: Sequence, count: int) -> Chunk:
        assert sequence.slot is not None
        start = sequence.num_computed_tokens
        stop = start + count
        is_end = stop == len(sequence.tokens)
        wants_logits = is_end and (sequence.spec.embedding or not sequence.reached_max_tokens)
        return Chunk(sequence, sequence.slot.id, start, stop, wants_logits, sequence.is_decoding)

    def _with_room(self, chunks: list[Chunk]) -> tuple[Chunk, ...]:
        """Tell the chunks that continue an answer how much may be guessed after them: in what is
        left of the slot, of the cache, of the batch, and of the answer, in equal parts."""
        drafting = [chunk for chunk in chunks if chunk.is_decode and self._most_guesses(chunk) > 0]
        if not drafting:
            return tuple(chunks)
        num_rows = sum(chunk.num_tokens for chunk in chunks)
        left = min(
            self.limits.n_batch - num_rows,
            self.limits.n_ctx - self.num_cache_tokens - num_rows,
            self.limits.n_outputs - len(chunks),
        )
        part = max(left, 0) // len(drafting)
        room = {chunk: min(self._most_guesses(chunk), part) for chunk in drafting}
        return tuple(replace(chunk, max_draft=room.get(chunk, 0)) for chunk in chunks)

    def _spare(self, chunks: list[Chunk]) -> tuple[PaddingRow, ...]:
        """A row of each idle slot, as far as there are cells for it."""
        rows = sum(chunk.num_tokens + self._most_guesses(chunk) for chunk in chunks)
        room = min(self.limits.n_batch - rows, self.limits.n_ctx - self.num_cache_tokens - rows)
        if not self.limits.abilities.can_trim or room < len(self.slots):
            return ()
        most = self.limits.n_ctx_slot
        idle = (slot for slot in self.slots if slot.is_idle and slot.num_tokens < most)
        return tuple(PaddingRow(slot.id, slot.num_tokens) for slot in idle)

    def _most_guesses(self, chunk: Chunk) -> int:
        """Tokens that could be guessed after a chunk, as far as its own sequence is concerned."""
        sequence, wish = chunk.sequence, chunk.sequence.spec.speculation
        if wish is None or not chunk.wants_logits or not self.limits.abilities.can_trim:
            return 0
        most = max((wish.bounds(method).n_max for method in wish.methods), default=0)
        return min(most, self.limits.n_ctx_slot - chunk.stop, sequence.num_tokens_left - 1)

    def _make_room(self, shares: dict[Sequence, int], edits: list[CacheEdit]) -> None:
        """Free cells for the step: idle prefixes first, oldest first, then whole sequences,
        latest first; a preempted one goes back to the front of the queue."""
        while self.num_cache_tokens + sum(shares.values()) > self.limits.n_ctx:
            slot = self._victim()
            if slot.sequence is not None:
                sequence = slot.sequence
                shares.pop(sequence, None)
                self._release(sequence)
                self.waiting.appendleft(sequence)
                self._counters.num_preempted += 1
            self._vacate(slot, edits)

    def _victim(self) -> Slot:
        idle = [slot for slot in self.slots if slot.is_idle and slot.num_tokens > 0]
        if idle:
            return min(idle, key=lambda slot: slot.last_used)
        busy = [slot for slot in self.slots if slot.sequence is not None]
        return max(busy, key=lambda slot: _request_id(slot))

    # --- the end of a step ---

    def _append(self, chunk: Chunk, result: Result) -> list[Event]:
        sequence = chunk.sequence
        assert sequence.slot is not None
        if isinstance(result, SampleFailed):
            return [self.finish(sequence, FinishReason.FAILED, result.message)]
        if isinstance(result, EmbeddingResult):
            return self._embedded(sequence, sequence.slot, result)
        length, reason = len(sequence.tokens), None
        for token in result.tokens():
            sequence.tokens.append(token)
            reason = self._end(sequence)
            if reason is not None:
                break
        sequence.slot.num_tokens = min(chunk.stop + result.num_accepted, len(sequence.tokens))
        added = sequence.tokens[length:]
        logprobs = [s.logprobs for s in result.samples if s.logprobs is not None][: len(added)]
        drafts = (len(chunk.draft), result.num_accepted)
        events: list[Event] = [Generated(sequence.request_id, added, logprobs, *drafts)]
        if reason is not None:
            events.append(self.finish(sequence, reason))
        return events

    def _embedded(self, sequence: Sequence, slot: Slot, result: EmbeddingResult) -> list[Event]:
        """The cells of a prompt that nobody could have shared are not kept as a prefix: a crowd
        of documents would drive out what conversations come back to."""
        end = self.finish(sequence, FinishReason.EMBEDDED)
        if sequence.is_whole:
            self._forget(slot)
        return [EmbeddedEvent(sequence.request_id, result.vectors), end]

    def _end(self, sequence: Sequence) -> FinishReason | None:
        if sequence.tokens[-1] in self.limits.end_tokens:
            return FinishReason.STOP
        if sequence.reached_max_tokens:
            return FinishReason.MAX_TOKENS
        if sequence.window is None and len(sequence.tokens) > self.limits.n_ctx_slot:
            return FinishReason.CONTEXT_FULL
        return None


def _is_of_prompt(chunk: Chunk) -> bool:
    """Whether the chunk begins in the prompt; once tokens are discarded positions tell nothing."""
    sequence = chunk.sequence
    return sequence.num_discarded_tokens == 0 and chunk.start < sequence.num_prompt_tokens


def _wanted(sequence: Sequence, shared_prefix_stops: dict[Slot, int]) -> int:
    """Tokens that a prompt has to compute, up to where others wait for it if much lies beyond."""
    assert sequence.slot is not None
    uncomputed = sequence.num_uncomputed_tokens
    if sequence.spec.embedding and uncomputed > 1:
        uncomputed -= 1  # the last one is of another kind
    to_meeting = shared_prefix_stops.get(sequence.slot, 0) - sequence.num_computed_tokens
    return to_meeting if 0 < to_meeting <= uncomputed - MIN_COPY_GAIN else uncomputed


def _request_id(slot: Slot) -> int:
    return -1 if slot.sequence is None else slot.sequence.request_id


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
        max_tokens=sequence.spec.max_tokens,
        sampling=sequence.spec.sampling,
        speculation=sequence.spec.speculation,
        lora=sequence.spec.lora,
    )
