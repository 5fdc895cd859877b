"""The loop's body: schedule, decode, sample, update."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from scheduler.backend import Backend, DecodeError, Sampler, SamplerError
from scheduler.disk_cache import DiskCache
from scheduler.disk_tier import DiskTier
from scheduler.protocol import (
    Abort,
    Event,
    Finished,
    FinishReason,
    Inspect,
    SlotCommand,
    SlotReport,
    StepOutputs,
    StepStats,
    Submit,
)
from scheduler.scheduler import Limits, Scheduler
from scheduler.sequence import CacheEdit, Sample, SampleFailed, Step
from scheduler.slot_actions import SlotActions, SlotReply

logger = logging.getLogger(__name__)

Clock = Callable[[], float]


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
    ) -> None:
        """`open_disk` is for prefixes that outlive the engine; it is called in a thread."""
        self.scheduler = Scheduler(_limits(backend, itl_target, cache_bytes))
        self.last_send_seconds = 0.0
        self.tell: Callable[[StepOutputs], None] = lambda outputs: None
        """Called before a step that begins with new sequences: should it be the last, it is known
        who ran."""
        self._backend = backend
        self._clock = clock
        self._samplers: dict[int, Sampler] = {}
        self._preparing: dict[int, tuple[Submit, Future[Any]]] = {}
        self._events: list[Event] = []
        self._mask_seconds = 0.0
        self._helper = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self.slot_actions = SlotActions(self.scheduler, backend, self._edit, clock)
        self.disk = open_disk and DiskTier(open_disk, self.scheduler, backend, clock)

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

    def submit(self, command: Submit) -> None:
        """Queue a sequence; a refusal is reported by the next step."""
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

    def _enqueue(self, command: Submit) -> None:
        try:
            self._samplers[command.request_id] = self._backend.sampler(command)
        except SamplerError as error:
            self._refuse(command, str(error))
        else:
            self._events.extend(self.scheduler.submit(command))

    def _refuse(self, command: Submit, message: str) -> None:
        self._events.append(Finished(command.request_id, FinishReason.FAILED, message))

    def inspect(self, command: Inspect) -> SlotReport:
        """Report every slot."""
        scheduler = self.scheduler
        return SlotReport(command.query_id, scheduler.states(), len(scheduler.waiting))

    def act(self, command: SlotCommand) -> None:
        """Begin what a client wants done to a slot; `replies` tell how it went."""
        self.slot_actions.begin(command)

    def replies(self) -> list[SlotReply]:
        """Take over what was read from disk; returns the replies that are ready."""
        if self.disk is not None:
            self.disk.take_over()
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
        begin = self._clock()
        step = self.scheduler.schedule()
        scheduled = self._clock()
        if step.started:
            self.tell(StepOutputs(begin, scheduled, list(step.started), None))
        failure = self._decode(step)
        decoded = self._clock()
        samples = [] if failure else self._sample(step)
        sampled = self._clock()
        events = [*self._events, *step.started]
        events += (
            self.scheduler.fail_running(failure)
            if failure
            else self.scheduler.update(step, samples)
        )
        self._events = []
        self._forget(events)
        updated = self._clock()
        if step.chunks and not failure:
            self.scheduler.budget.observe(
                step.num_decode_tokens, step.num_prefill_tokens, sampled - scheduled
            )
        stats = StepStats(
            schedule_seconds=scheduled - begin,
            decode_seconds=decoded - scheduled,
            sample_seconds=sampled - decoded,
            update_seconds=updated - sampled,
            send_seconds=self.last_send_seconds,
            num_decode_tokens=step.num_decode_tokens,
            num_prefill_tokens=step.num_prefill_tokens,
            num_running=len(self.scheduler.running),
            num_waiting=len(self.scheduler.waiting),
            num_cache_tokens=self.scheduler.num_cache_tokens,
            num_running_cache_tokens=self.scheduler.num_running_cache_tokens,
            num_prefilling=sum(not s.is_decoding for s in self.scheduler.running),
            num_preempted=step.tally.num_preempted,
            num_looked_up_tokens=step.tally.num_looked_up_tokens,
            saved_tokens=step.tally.saved_tokens,
            mask_seconds=self._take_mask_seconds(),
        )
        return StepOutputs(begin, updated, events, stats)

    def close(self) -> None:
        """Free every sampler and the backend."""
        for sampler in self._samplers.values():
            sampler.close()
        self._samplers.clear()
        self.slot_actions.close()
        self._helper.shutdown()
        self._backend.close()

    def _decode(self, step: Step) -> str:
        """Edit the cache and compute the batch; returns what went wrong, if anything."""
        try:
            for edit in step.edits:
                self._backend.edit(edit)
            if step.chunks:
                prepared = self._prepare(step)
                self._backend.decode(step.chunks)
                wait(prepared)
        except DecodeError as error:
            logger.error("a step failed: %s", error)
            return str(error)
        return ""

    def _prepare(self, step: Step) -> list[Future[None]]:
        """Let constraints compute their masks beside the batch."""
        samplers = (self._samplers[chunk.sequence.request_id] for chunk in step.sampled())
        return [self._helper.submit(self._prepare_one, s) for s in samplers if s.is_constrained]

    def _prepare_one(self, sampler: Sampler) -> None:
        begin = self._clock()
        sampler.prepare()
        self._mask_seconds += self._clock() - begin

    def _take_mask_seconds(self) -> float:
        """Of this step; the helper has nothing to do between two steps."""
        seconds, self._mask_seconds = self._mask_seconds, 0.0
        return seconds

    def _sample(self, step: Step) -> list[Sample | SampleFailed]:
        return [
            self._sample_row(chunk.sequence.request_id, row)
            for row, chunk in enumerate(step.sampled())
        ]

    def _sample_row(self, request_id: int, row: int) -> Sample | SampleFailed:
        """A sampler that breaks ends its own sequence, not the step."""
        try:
            return self._samplers[request_id].sample(row)
        except SamplerError as error:
            return SampleFailed(str(error))

    def _forget(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Finished):
                sampler = self._samplers.pop(event.request_id, None)
                if sampler is not None:
                    sampler.close()


def _limits(backend: Backend, itl_target: float, cache_bytes: int) -> Limits:
    info = backend.info
    return Limits(
        n_slots=info.n_slots,
        n_ctx_slot=info.n_ctx_slot,
        n_ctx=info.n_ctx,
        n_batch=backend.n_batch,
        end_tokens=backend.end_tokens,
        abilities=backend.abilities,
        itl_target=itl_target,
        cache_bytes=cache_bytes,
        cell_bytes=info.cell_bytes,
        state_bytes=info.state_bytes,
    )
