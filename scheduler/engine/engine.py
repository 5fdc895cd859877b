"""The loop's body: schedule, decode, sample, update."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from protocol.commands import Abort, AddRequest, Inspect, SlotCommand
from protocol.config import NgramConfig
from protocol.events import Event, Finished, FinishReason
from protocol.messages import SlotReport, StepCosts, StepOutputs, StepStats
from scheduler.backends.base import Backend, DecodeError, SamplerError
from scheduler.batching.grouping import BatchPlan, Grouping
from scheduler.batching.jump_forward import cut_forced_runs
from scheduler.batching.micro_batches import split_into_micro_batches
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.context_limits import ContextLimits
from scheduler.core.results import EmbeddingResult, Result, Sample, SampledRun, SampleFailed
from scheduler.core.sampler import Sampler
from scheduler.core.step import Chunk, Step
from scheduler.engine.calibration import UNKNOWN_COSTS, Costs
from scheduler.engine.disk_tier import DiskTier
from scheduler.engine.slot_actions import SlotActions, SlotReply
from scheduler.engine.slot_report import slot_report
from scheduler.engine.step_timer import Phase, StepTimer
from scheduler.policy.scheduler import Scheduler
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.speculator import Speculator
from scheduler.storage.disk_cache import DiskCache

logger = logging.getLogger(__name__)

STEPS_BETWEEN_COSTS = 500

BATCH_WINDOW_SECONDS = 0.008
"""How long an idle engine waits at most for sequences that come together."""

Clock = Callable[[], float]
Chunks = Sequence[Chunk]


class Engine:
    """Runs sequences on a backend, one step at a time.

    It knows no socket: commands come in by calls, messages go out as return values, so it runs
    in a process of its own or inside a test.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        itl_target: float,
        cache_bytes: int = 0,
        open_disk: Callable[[], DiskCache] | None = None,
        costs: Costs = UNKNOWN_COSTS,
        lookup: NgramConfig = NgramConfig(),  # noqa: B008 (frozen)
    ) -> None:
        """`open_disk` is for prefixes that outlive the engine; it is called in a thread."""
        self.scheduler = Scheduler(_limits(backend, itl_target, cache_bytes), costs.step)
        self.costs = costs
        self._cost = costs.step
        self._grouping = Grouping(costs.step, backend.layout)
        self._speculator = Speculator(lookup, costs.step, costs.draft, backend.layout)
        self._num_steps = 0
        self._starts_at = 0.0
        self.last_send_seconds = 0.0
        self.tell: Callable[[StepOutputs], None] = lambda outputs: None
        """Called before a step that begins with new sequences: should it be the last, it is known
        who ran."""
        self._backend = backend
        self._clock = clock
        self._samplers: dict[int, Sampler] = {}
        self._preparing: dict[int, tuple[AddRequest, Future[Any]]] = {}
        self._events: list[Event] = []
        self._mask_seconds = 0.0
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self.slot_actions = SlotActions(self.scheduler.cache, backend, self._edit, clock)
        self.disk = open_disk and DiskTier(open_disk, self.scheduler.cache, backend, clock)

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        return self.scheduler.has_work or bool(self._events)

    @property
    def is_preparing(self) -> bool:
        """Whether sequences wait for their constraint to be compiled."""
        return bool(self._preparing)

    @property
    def awaits_files(self) -> bool:
        """Whether something will change without a step or a command."""
        return self.slot_actions.are_pending or (self.disk is not None and self.disk.is_loading)

    @property
    def seconds_until_batch_starts(self) -> float:
        """How long an idle engine should wait for sequences that come with those it has: a prompt
        a step late is computed apart, and holds up the others, at every turn of such a group."""
        return 0.0 if self.scheduler.running else max(self._starts_at - self._clock(), 0.0)

    def add_request(self, command: AddRequest) -> None:
        """Queue a sequence; a refusal is reported by the next step."""
        has_room = len(self.scheduler.waiting) + 1 < self.scheduler.limits.n_slots
        if command.num_requests_being_read == 0 or not has_room:
            self._starts_at = 0.0
        elif self.seconds_until_batch_starts == 0:
            self._starts_at = self._clock() + BATCH_WINDOW_SECONDS
        preparation = self._backend.prepare(command)
        if preparation is None:
            self._enqueue(command)
        else:
            self._preparing[command.request_id] = (command, preparation)

    def admit_prepared(self) -> None:
        """Queue the sequences whose constraint has been compiled meanwhile."""
        done = [entry for entry in self._preparing.values() if entry[1].done()]
        for command, preparation in done:
            del self._preparing[command.request_id]
            error = preparation.exception()
            if error is None:
                self._enqueue(command)
            else:
                self._refuse(command, str(error))

    def abort(self, command: Abort) -> None:
        """End sequences before the next step."""
        for request_id in command.request_ids:
            if self._preparing.pop(request_id, None) is not None:
                self._events.append(Finished(request_id, FinishReason.ABORTED))
        self._events.extend(self.scheduler.abort(command.request_ids))

    def _enqueue(self, command: AddRequest) -> None:
        try:
            if not command.spec.embedding:
                self._samplers[command.request_id] = self._backend.sampler(command)
        except SamplerError as error:
            self._refuse(command, str(error))
        else:
            self._events.extend(self.scheduler.add_request(command))

    def _refuse(self, command: AddRequest, message: str) -> None:
        self._events.append(Finished(command.request_id, FinishReason.FAILED, message))

    def inspect(self, command: Inspect) -> SlotReport:
        """Report every slot."""
        scheduler = self.scheduler
        return slot_report(command.query_id, scheduler.cache.slots, len(scheduler.waiting))

    def act(self, command: SlotCommand) -> None:
        """Begin what a client wants done to a slot; `replies` tell how it went."""
        self.slot_actions.begin(command)

    def replies(self) -> list[SlotReply]:
        """Take over what was read from disk; returns the replies that are ready."""
        if self.disk is not None:
            self.disk.adopt_loaded()
        return self.slot_actions.take_replies()

    def _edit(self, edits: Iterable[CacheEdit]) -> None:
        """Change the cache between two steps. Raises `DecodeError`, which ends what is running."""
        try:
            for edit in edits:
                self._backend.edit(edit)
        except DecodeError as error:
            logger.error("the cache could not be changed: %s", error)
            self._events.extend(self.scheduler.fail_running(str(error)))
            raise

    def step(self) -> StepOutputs:
        """Do one step for every sequence that can go on."""
        times = StepTimer(self._clock)
        step = self.scheduler.schedule()
        times.lap(Phase.SCHEDULE)
        if step.started:
            self.tell(StepOutputs(times.begin, times.end, list(step.started), None))
        events = [*self._events, *step.started]
        self._events = []
        try:
            step, results = self._compute(step, times)
        except DecodeError as error:
            logger.error("a step failed: %s", error)
            events += self.scheduler.fail_running(str(error))
        else:
            events += self._update(step, results)
        self._forget(events)
        times.lap(Phase.UPDATE)
        return StepOutputs(times.begin, times.end, events, self._stats(step, times))

    def _compute(self, step: Step, times: StepTimer) -> tuple[Step, list[Result]]:
        """Edit the cache, guess ahead, and compute and sample one batch after the other; returns
        the step as it was computed, and what came of it. Raises `DecodeError`."""
        for edit in step.edits:
            self._backend.edit(edit)
        times.lap(Phase.DECODE)
        chunks = cut_forced_runs(step.chunks, self._cost, self._backend.layout)
        step = step.with_chunks(self._speculator.guess(chunks, self._samplers, self._draft))
        times.lap(Phase.DRAFT)
        results: dict[int, Result] = {}
        for batch in self._grouping.batches(step.chunks, step.padding_rows):
            self._decode(batch, times)
            results |= self._sample(batch.chunks)
            times.lap(Phase.SAMPLE)
        return step, [results[chunk.slot] for chunk in step.sampled()]

    def _decode(self, batch: BatchPlan, times: StepTimer) -> None:
        """Compute a batch, and masks of constraints beside it. Raises `DecodeError`."""
        chunks, padding_rows = batch.chunks, batch.padding_rows
        prepared = self._prepare(chunks)
        self._backend.decode(chunks, padding_rows)
        wait(prepared)
        seconds = times.lap(Phase.DECODE)
        yields = any(chunk.wants_logits for chunk in chunks)
        if self._cost is not None and yields and not chunks[0].sequence.kind.is_embedding:
            runs = [(chunk.slot, chunk.num_tokens) for chunk in chunks]
            runs += [(padding_row.slot, 1) for padding_row in padding_rows]
            self._cost.observe(
                split_into_micro_batches(sorted(runs), self._backend.layout), seconds
            )

    def _draft(self, wants: Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """Let the draft model guess, and learn what that takes."""
        begin = self._clock()
        guesses = self._backend.draft(wants, max_catch_up)
        self._speculator.observe_drafting(wants, self._clock() - begin)
        return guesses

    def _update(self, step: Step, results: list[Result]) -> list[Event]:
        """Tell the policy what came of a step, and drop the cells of wrong guesses."""
        for chunk, result in zip(step.sampled(), results, strict=True):
            if chunk.draft and isinstance(result, SampledRun):
                self._speculator.learn(chunk, result.num_accepted)
                step.counters.drafted(len(chunk.draft), result.num_accepted)
        events = self.scheduler.update(step, results)
        with contextlib.suppress(DecodeError):  # the next step tells who ended because of it
            self._edit(self.scheduler.cache.rejected_draft_edits(step))
        return events

    def _stats(self, step: Step, times: StepTimer) -> StepStats:
        scheduler = self.scheduler
        scheduler.planner.observe(step, times.computing_seconds)
        return StepStats(
            schedule_seconds=times.seconds[Phase.SCHEDULE],
            decode_seconds=times.seconds[Phase.DECODE],
            sample_seconds=times.seconds[Phase.SAMPLE],
            update_seconds=times.seconds[Phase.UPDATE],
            send_seconds=self.last_send_seconds,
            num_decode_tokens=step.num_decode_tokens,
            num_prefill_tokens=step.num_prefill_tokens,
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_cache_tokens=scheduler.cache.num_tokens,
            num_running_cache_tokens=scheduler.cache.num_running_tokens,
            num_prefilling=sum(not s.is_decoding for s in scheduler.running),
            num_preempted=step.counters.num_preempted,
            num_looked_up_tokens=step.counters.num_looked_up_tokens,
            saved_tokens=step.counters.saved_tokens,
            mask_seconds=self._take_mask_seconds(),
            draft_seconds=times.seconds[Phase.DRAFT],
            num_drafts=step.counters.num_drafts,
            num_draft_tokens=step.counters.num_draft_tokens,
            accepted_by_position=step.counters.accepted_by_position,
            costs=self._costs_once_in_a_while(),
        )

    def _costs_once_in_a_while(self) -> StepCosts | None:
        """The cost of steps, for metrics: with the first step and then with every so many."""
        self._num_steps += 1
        is_due = self._num_steps % STEPS_BETWEEN_COSTS == 1
        return self._cost.table() if self._cost is not None and is_due else None

    def close(self) -> None:
        """Free every sampler and the backend."""
        for sampler in self._samplers.values():
            sampler.close()
        self._samplers.clear()
        self.slot_actions.close()
        self._helper.shutdown()
        self._backend.close()

    def _prepare(self, batch: Chunks) -> list[Future[None]]:
        """Let constraints compute their masks beside the batch."""
        found = (self._samplers.get(c.sequence.request_id) for c in batch if c.wants_logits)
        samplers = [sampler for sampler in found if sampler and sampler.is_constrained]
        return [self._helper.submit(self._prepare_one, sampler) for sampler in samplers]

    def _prepare_one(self, sampler: Sampler) -> None:
        begin = self._clock()
        sampler.prepare()
        self._mask_seconds += self._clock() - begin

    def _take_mask_seconds(self) -> float:
        """Of this step; the helper has nothing to do between two steps."""
        seconds, self._mask_seconds = self._mask_seconds, 0.0
        return seconds

    def _sample(self, batch: Chunks) -> dict[int, Result]:
        """What came of the chunks that want logits, by slot."""
        results: dict[int, Result] = {}
        row = 0
        for chunk in batch:
            if chunk.wants_logits and chunk.sequence.spec.embedding:
                results[chunk.slot] = EmbeddingResult(self._backend.embedding(chunk))
            elif chunk.wants_logits:
                results[chunk.slot] = self._verify(chunk, row)
                row += chunk.num_outputs
        return results

    def _verify(self, chunk: Chunk, row: int) -> Result:
        """Sample after a chunk, and behind its guesses as long as they are right. A sampler that
        breaks ends its own sequence, not the step."""
        sampler = self._samplers[chunk.sequence.request_id]
        samples: list[Sample] = []
        right = 0
        try:
            while True:
                sample = sampler.sample(row + right)
                samples.append(sample)
                for token in (sample.token, *sample.forced):
                    if right == len(chunk.draft) or token != chunk.draft[right]:
                        return SampledRun(tuple(samples), right)
                    right += 1
                    if token in self.scheduler.limits.end_tokens:
                        return SampledRun(tuple(samples), right)
        except SamplerError as error:
            return SampleFailed(str(error))

    def _forget(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Finished):
                sampler = self._samplers.pop(event.request_id, None)
                if sampler is not None:
                    sampler.close()
                self._speculator.forget(event.request_id)


def _limits(backend: Backend, itl_target: float, cache_bytes: int) -> ContextLimits:
    info = backend.info
    return ContextLimits(
        n_slots=info.n_slots,
        n_ctx_slot=info.n_ctx_slot,
        n_ctx=info.n_ctx,
        n_batch=backend.n_batch,
        end_tokens=backend.end_tokens,
        abilities=backend.abilities,
        adapters=frozenset(adapter.digest for adapter in info.adapters),
        embedding=info.embedding,
        can_generate=info.can_generate,
        itl_target=itl_target,
        cache_bytes=cache_bytes,
        cell_bytes=info.cell_bytes,
        state_bytes=info.state_bytes,
        n_outputs=backend.n_outputs,
    )
