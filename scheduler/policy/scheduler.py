"""Which sequences run, and what becomes of the results of each step.

Policy only, without a clock, a socket or a tensor: time and samples are passed in, plans and
events come out.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.commands import AddRequest
from protocol.events import (
    EmbeddedEvent,
    Event,
    Finished,
    FinishReason,
    Generated,
    Prefilled,
    Scored,
    Started,
)
from scheduler.batching.cost_model import StepCost
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.context_limits import ContextLimits
from scheduler.core.results import EmbeddingResult, Result, SampledRun, SampleFailed, ScoredPrompt
from scheduler.core.sequence import Sequence, Slot
from scheduler.core.step import Chunk, Step
from scheduler.kv_cache.cache_manager import KVCacheManager
from scheduler.kv_cache.explanation import explain
from scheduler.kv_cache.placement import Placement, WaitForPrefix
from scheduler.policy.refusal import refusal
from scheduler.policy.steady_steps import SteadySteps
from scheduler.policy.step_planner import StepPlan, StepPlanner
from scheduler.policy.waiting_queue import WaitingQueue

REENTRY_MARGIN = 32
"""Free cells per running sequence that are needed before a preempted sequence comes back.
Re-admission recomputes its whole context, so it must not be preempted again at once."""


class Scheduler:
    """Owns the queue, and decides who gets a slot and who has to give it back.

    The engine calls `schedule`, carries out the step, and passes the results to `update`.
    """

    def __init__(self, limits: ContextLimits, cost: StepCost | None = None) -> None:
        """`cost` holds the measured time of steps, if there is one."""
        self.limits = limits
        self.waiting = WaitingQueue()
        self.cache = KVCacheManager(limits, None if cost is None else cost.prompt_seconds)
        self.planner = StepPlanner(self.cache, cost)
        self._steady = SteadySteps(self.cache)

    @property
    def running(self) -> list[Sequence]:
        """The sequences that have a slot, in slot order."""
        return self.cache.running

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return self.cache.num_running > 0 or bool(self.waiting)

    def add_request(self, request: AddRequest) -> list[Event]:
        """Queue a sequence, or refuse it with its terminal event."""
        embedding = self.limits.embedding
        embeds_whole = embedding is not None and embedding.is_whole
        sequence = Sequence.of(request, self.limits.n_ctx_slot, embeds_whole=embeds_whole)
        problem = refusal(sequence, self.limits)
        if problem:
            return [Finished(request.request_id, FinishReason.FAILED, problem)]
        self.waiting.append(sequence)
        return []

    def abort(self, request_ids: Iterable[int]) -> list[Event]:
        """End sequences that wait or run; ids of sequences that already ended are ignored."""
        gone = set(request_ids)
        ended = [s for s in (*self.waiting, *self.running) if s.request_id in gone]
        return [self._finish(sequence, FinishReason.ABORTED) for sequence in ended]

    def fail_running(self, message: str) -> list[Event]:
        """End every running sequence, and forget all cells and prefixes: the context broke."""
        events = [self._finish(s, FinishReason.FAILED, message) for s in self.running]
        self.cache.clear()
        return events

    def schedule(self) -> Step:
        """Plan the next step: admit what can start, then share out the token budget."""
        step = self._repeated()
        if step is None:
            step = self._planned()
            self._steady.remember(step)
        return step

    def _repeated(self) -> Step | None:
        """The step before, a token later; None if there is anything to decide."""
        could_start = self.waiting and self.cache.has_idle_slot
        if could_start or self.cache.checkpoints.has_stops:
            return None
        chunks = self._steady.next_chunks()
        return self.planner.repeated(chunks) if chunks else None

    def _planned(self) -> Step:
        plan = StepPlan(self.cache.begin_step())
        plan.edits += self.cache.shift_windows()
        num_running = self.cache.num_running
        starts = self._admit(plan)
        if self.cache.num_running > num_running:
            starts = self.cache.set_aside(starts)
        plan.edits += starts
        plan.edits += self.cache.checkpoints.save_due(self.cache.slots)
        self.planner.share_out(plan)
        self._make_room(plan)
        return self.planner.step(plan)

    def update(self, step: Step, results: list[Result]) -> list[Event]:
        """Record what the step computed; `results` are in the order of `step.sampled()`. The cells
        of draft tokens that were wrong are gone."""
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
            if chunk.has_result:
                events += self._record(chunk, next(remaining))
            if chunk.wants_logits:
                continue
            if sequence.reached_max_tokens and sequence.num_uncomputed_tokens == 0:
                events.append(self._finish(sequence, FinishReason.MAX_TOKENS))
        return events

    def update_late(self, sequence: Sequence, result: SampledRun | SampleFailed) -> list[Event]:
        """Record what was sampled for a late sequence, which goes on with the next step."""
        stop = len(sequence.tokens)
        sequence.is_late = False
        match result:
            case SampledRun():
                return self._append(Chunk(sequence, _slot(sequence).id, stop, stop, True), result)
            case SampleFailed():
                return [self._failed(sequence, result)]

    # --- admission and preemption ---

    def _admit(self, plan: StepPlan) -> list[CacheEdit]:
        """Give idle slots to the queue, in order; returns the edits for that. A sequence that waits
        for a prefix, or for a slot that it named, does not hold up those behind it."""
        edits: list[CacheEdit] = []
        if not self.cache.has_idle_slot:
            return edits
        for sequence in self.waiting:
            if self._is_crowded(sequence):
                break
            match self.cache.place(sequence):
                case Placement() as placement:
                    edits += self._start(sequence, placement, plan)
                case WaitForPrefix(slot, length):
                    stop = plan.shared_prefix_stops.get(slot, length)
                    plan.shared_prefix_stops[slot] = min(stop, length)
                    self.cache.checkpoints.stop_at(slot, length)
                case None if sequence.spec.slot is None:
                    break
        return edits

    def _is_crowded(self, sequence: Sequence) -> bool:
        """Whether the running sequences leave too few cells: the sequence would be preempted
        soon. One that was preempted before needs a margin."""
        running = self.running
        wanted = sum(len(s.tokens) for s in (*running, sequence))
        margin = REENTRY_MARGIN * (len(running) + 1) if sequence.was_started else 0
        return bool(running) and wanted + margin > self.limits.n_ctx

    def _start(self, sequence: Sequence, placement: Placement, plan: StepPlan) -> list[CacheEdit]:
        self.waiting.start(sequence)
        edits = self.cache.occupy(sequence, placement)
        if sequence.was_started:  # it was preempted, and goes on
            return edits
        sequence.was_started = True
        lookup = explain(sequence, placement, self.limits.abilities)
        plan.counters.looked_up(sequence.num_prompt_tokens, lookup)
        sequence.lookup = lookup
        assert sequence.slot is not None
        started = Started(sequence.request_id, sequence.slot.id, lookup.num_reused, lookup)
        plan.started.append(started)
        return edits

    def _make_room(self, plan: StepPlan) -> None:
        """Free cells for the step: idle prefixes first, oldest first, then whole sequences,
        latest first."""
        while self.cache.num_tokens + sum(plan.shares.values()) > self.limits.n_ctx:
            slot = self.cache.victim()
            if slot.sequence is not None:
                self._preempt(slot.sequence, plan)
            plan.edits += self.cache.vacate(slot)

    def _preempt(self, sequence: Sequence, plan: StepPlan) -> None:
        """Take a sequence's slot away; it goes back to the front of the queue."""
        plan.shares.pop(sequence, None)
        self.cache.release(sequence)
        self.waiting.appendleft(sequence)
        plan.counters.num_preempted += 1

    # --- the end of a step ---

    def _finish(self, sequence: Sequence, reason: FinishReason, message: str = "") -> Event:
        """End one sequence; its slot keeps the computed tokens for others to reuse."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self.cache.release(sequence)
        return Finished(sequence.request_id, reason, message)

    def _record(self, chunk: Chunk, result: Result) -> list[Event]:
        match result:
            case SampledRun():
                return self._append(chunk, result)
            case EmbeddingResult(vectors):
                return self._embedded(chunk.sequence, vectors)
            case ScoredPrompt(start, logprobs, run):
                scored = Scored(chunk.sequence.request_id, start, list(logprobs))
                return [scored, *(self._record(chunk, run) if run else ())]
            case SampleFailed():
                return [self._failed(chunk.sequence, result)]

    def _failed(self, sequence: Sequence, failure: SampleFailed) -> Event:
        reason = FinishReason.REFUSED if failure.is_refusal else FinishReason.FAILED
        return self._finish(sequence, reason, failure.message)

    def _append(self, chunk: Chunk, run: SampledRun) -> list[Event]:
        """Lengthen an answer, up to the token that ends it."""
        sequence = chunk.sequence
        added, reason = self._lengthen(sequence, run)
        _slot(sequence).num_tokens = chunk.stop + run.num_accepted
        sequence.is_late = run.is_late
        logprobs = [s.logprobs for s in run.samples if s.logprobs is not None][: len(added)]
        drafts = (len(chunk.draft), run.num_accepted)
        events: list[Event] = []
        if added:
            events.append(Generated(sequence.request_id, added, logprobs, *drafts))
        if reason is not None:
            events.append(self._finish(sequence, reason))
        return events

    def _lengthen(
        self, sequence: Sequence, run: SampledRun
    ) -> tuple[list[int], FinishReason | None]:
        """Add tokens up to the one that ends the answer; returns them, and why it ends."""
        added: list[int] = []
        for token in run.tokens():
            added.append(token)
            sequence.tokens.append(token)
            reason = self._end(sequence)
            if reason is not None:
                return added, reason
        return added, None

    def _embedded(self, sequence: Sequence, vectors: bytes) -> list[Event]:
        """End a sequence with its embedding. Cells of a prompt that can't be shared are not kept:
        many documents would drive out the prefixes of conversations."""
        slot = _slot(sequence)
        end = self._finish(sequence, FinishReason.EMBEDDED)
        if sequence.is_whole:
            self.cache.forget(slot)
        return [EmbeddedEvent(sequence.request_id, vectors), end]

    def _end(self, sequence: Sequence) -> FinishReason | None:
        """Why the answer ends with its last token; None if it goes on."""
        if sequence.tokens[-1] in self.limits.end_tokens:
            return FinishReason.STOP
        if sequence.reached_max_tokens:
            return FinishReason.MAX_TOKENS
        # The last token needs no cell, but llama-server counts it too.
        if sequence.window is None and len(sequence.tokens) >= self.limits.n_ctx_slot:
            return FinishReason.CONTEXT_FULL
        return None


def _slot(sequence: Sequence) -> Slot:
    assert sequence.slot is not None
    return sequence.slot


def _is_of_prompt(chunk: Chunk) -> bool:
    """Whether the chunk begins in the prompt. Once tokens are discarded positions don't tell."""
    sequence = chunk.sequence
    return sequence.num_discarded_tokens == 0 and chunk.start < sequence.num_prompt_tokens
