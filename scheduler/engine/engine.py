"""The engine between two commands: schedule, execute, update."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable

from protocol.blocks import BlockEvent
from protocol.commands import (
    Abort,
    AddRequest,
    EndThinking,
    Inspect,
    InspectBlocks,
    SlotCommand,
)
from protocol.config import NgramConfig
from protocol.events import Event, Finished, FinishReason
from protocol.messages import BlockReport, SlotReport, StepOutputs, ThinkingEnded
from scheduler.backends.base import Backend, DecodeError, Preparation, SamplerError
from scheduler.core.cache_edits import CacheEdit
from scheduler.core.context_limits import ContextLimits
from scheduler.core.host_memory import NO_HOST_MEMORY, HostMemory
from scheduler.core.results import Result
from scheduler.core.state_sizes import StateSizes
from scheduler.core.step import Step
from scheduler.engine.batch_window import BatchWindow
from scheduler.engine.calibration import UNKNOWN_COSTS, Costs
from scheduler.engine.disk_tier import DiskTier
from scheduler.engine.mask_threads import Masks
from scheduler.engine.samplers import Samplers
from scheduler.engine.slot_actions import SlotActions, SlotReply
from scheduler.engine.slot_report import slot_report
from scheduler.engine.step_executor import Execution, StepExecutor
from scheduler.engine.step_report import StepReport
from scheduler.engine.step_stats import StepReporter
from scheduler.engine.step_timer import Phase, StepTimer
from scheduler.kv_cache.block_ledger import BlockLedger
from scheduler.kv_cache.cache_report import cache_report
from scheduler.policy.scheduler import Scheduler
from scheduler.spec_decode.speculator import Speculator
from scheduler.storage.disk_cache import DiskCache

logger = logging.getLogger(__name__)

OnStepStart = Callable[[StepOutputs], None]


class Engine:
    """Runs sequences on a backend, one step at a time.

    The engine knows no socket: commands come in by calls, messages go out as return values. So it
    runs in a process of its own or inside a test.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        *,
        itl_target: float,
        host_memory: HostMemory = NO_HOST_MEMORY,
        open_disk: Callable[[], DiskCache] | None = None,
        costs: Costs = UNKNOWN_COSTS,
        ngram: NgramConfig = NgramConfig(),  # noqa: B008 (frozen)
        masks: Masks | None = None,
    ) -> None:
        """`clock` counts seconds. `open_disk`, for prefixes that outlive the engine, is called in
        a thread. `masks` computes masks of constraints, by default in threads."""
        limits = _limits(backend, itl_target, host_memory)
        self.scheduler = Scheduler(limits, costs.step)
        self.samplers = Samplers(backend, clock, masks, backend.num_sampling_threads)
        self.costs = costs
        self._backend = backend
        self._clock = clock
        self._window = BatchWindow(clock)
        self._speculator = Speculator(
            ngram,
            costs.step,
            costs.draft,
            backend.layout,
            recomputes=backend.abilities.recomputes_drafts,
        )
        self._executor = StepExecutor(
            *(backend, self.samplers, self._speculator, costs.step, clock),
            self.scheduler.cache.observe_save,
            self._settle,
        )
        self._reporter = StepReporter(backend, self.scheduler, self.samplers, costs.step)
        self._preparing: dict[int, tuple[AddRequest, Preparation]] = {}
        self._queued: list[int] = []
        self._events: list[Event] = []
        """Events for the outputs of the next step that ends."""
        self._report: StepReport | None = None
        """The last step's, until it is known to be made."""
        self._slot_actions = SlotActions(self.scheduler.cache, backend, self._edit, clock)
        self._blocks: BlockLedger | None = None
        self.disk = open_disk and DiskTier(open_disk, self.scheduler.cache, backend, clock)

    def watch_blocks(self, block_size: int, kind: str = "") -> None:
        """Keep account of blocks of so many tokens, for `take_block_events`.

        Blocks of another `kind` have other names.
        """
        self._blocks = BlockLedger(self.scheduler.cache, block_size, kind)

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
        """Whether files are being read or written, so that `take_replies` will have to act."""
        return self._slot_actions.are_pending or (self.disk is not None and self.disk.is_loading)

    @property
    def seconds_until_batch_starts(self) -> float:
        """How long an idle engine should wait for requests that arrive with those it has."""
        return 0.0 if self.scheduler.cache.num_running else self._window.seconds_left

    # --- commands ---

    def add_request(self, request: AddRequest) -> None:
        """Queue a sequence; the next step reports a refusal."""
        has_slot_for_more = len(self.scheduler.waiting) + 1 < self.scheduler.limits.n_slots
        more_follow = request.num_requests_being_read > 0 and has_slot_for_more
        self._window.request_arrived(more_follow=more_follow)
        preparation = self._backend.prepare(request)
        if preparation is None or preparation.done():
            self._admit(request, preparation)
        else:
            self._preparing[request.request_id] = (request, preparation)

    def admit_prepared(self) -> None:
        """Queue the sequences whose constraint has been compiled meanwhile."""
        done = [entry for entry in self._preparing.values() if entry[1].done()]
        for request, preparation in done:
            del self._preparing[request.request_id]
            self._admit(request, preparation)

    def take_queued(self) -> list[int]:
        """The requests that were added since the last call."""
        queued, self._queued = self._queued, []
        return queued

    def abort(self, command: Abort) -> None:
        """End sequences before the next step; ids of sequences that already ended are ignored."""
        for request_id in command.request_ids:
            preparing = self._preparing.pop(request_id, None)
            if preparing is not None:
                preparing[1].cancel()
                self._events.append(Finished(request_id, FinishReason.ABORTED))
        self._events += self.scheduler.abort(command.request_ids)

    def end_thinking(self, command: EndThinking) -> ThinkingEnded:
        """Let an answer end its thinking. An unknown id is no error: it may have just ended."""
        sampler = self.samplers.by_request.get(command.request_id)
        num_tokens = None if sampler is None else sampler.end_thinking()
        return ThinkingEnded(command.query_id, num_tokens)

    def inspect(self, query: Inspect) -> SlotReport:
        """Report every slot."""
        cache, num_waiting = self.scheduler.cache, len(self.scheduler.waiting)
        report = cache_report(cache, query.max_nodes) if query.max_nodes > 0 else None
        return slot_report(query.query_id, cache.slots, num_waiting, report)

    def inspect_blocks(self, query: InspectBlocks) -> BlockReport:
        """Report the blocks that each medium holds; none if they are not watched."""
        return BlockReport(query.query_id, {} if self._blocks is None else self._blocks.held())

    def take_block_events(self) -> list[BlockEvent]:
        """What became of the cache's blocks since the last call, as the cache is between steps."""
        return [] if self._blocks is None else self._blocks.changes()

    def begin_slot_command(self, command: SlotCommand) -> None:
        """Begin what a client wants done to a slot; `take_replies` tells how it went."""
        self._slot_actions.begin(command)

    def take_replies(self) -> list[SlotReply]:
        """Adopt what was read from disk; returns the replies to slot commands that are ready."""
        if self.disk is not None:
            self.disk.adopt_loaded()
        return self._slot_actions.take_replies()

    def rest(self) -> None:
        """Do what is best done while there is nothing to do."""
        self._backend.rest()

    def close(self) -> None:
        """Free every sampler and the backend."""
        self.samplers.close()
        self._slot_actions.close()
        self._backend.close()

    def _admit(self, request: AddRequest, preparation: Preparation | None) -> None:
        """Queue a sequence whose sampler can be made now; refuse it if there can't be one."""
        error = None if preparation is None else preparation.exception()
        if error is None:
            self._enqueue(request, preparation)
        else:
            self._refuse(request, str(error))

    def _enqueue(self, request: AddRequest, preparation: Preparation | None) -> None:
        try:
            if not request.spec.embedding:
                self.samplers.add(request, preparation)
        except SamplerError as error:
            self._refuse(request, str(error))
        else:
            self._events += self.scheduler.add_request(request)
        self._queued.append(request.request_id)

    def _refuse(self, request: AddRequest, message: str) -> None:
        self._events.append(Finished(request.request_id, FinishReason.FAILED, message))

    def _edit(self, edits: Iterable[CacheEdit]) -> None:
        """Change the cache outside of a batch. Raises `DecodeError`, after ending what is
        running."""
        try:
            self._executor.edit(edits)
        except DecodeError as error:
            self._fail_running("the cache could not be changed", error)
            raise

    def _fail_running(self, what: str, error: DecodeError) -> None:
        logger.error("%s: %s", what, error)
        self._events += self.scheduler.fail_running(str(error))

    # --- steps ---

    def step(
        self,
        on_step_start: OnStepStart = lambda outputs: None,
        send_seconds: float = 0.0,
        on_wait: Callable[[], None] = lambda: None,
    ) -> StepReport:
        """Do one step for every sequence that can go on. An error of the backend ends sequences,
        and is not raised.

        If sequences start, `on_step_start` is called with them before anything is computed: should
        the step kill the process, it is known who ran. `send_seconds`, for the statistics, is the
        time that sending the last outputs took. `on_wait` is called whenever this thread is about
        to compute or to wait, and needs no interpreter meanwhile. Only then another thread may ask
        for the report of the step before.
        """
        timer = StepTimer(self._clock)
        self._sample_late(on_wait)
        timer.lap(Phase.LATE)
        execution = self._execute(self._schedule(on_step_start, timer), timer, on_wait)
        events = self._update(execution, timer)
        queued = self.take_queued()
        self._settle()

        def make() -> StepOutputs:
            stats = self._reporter.stats(execution.step, timer, send_seconds)
            return StepOutputs(timer.begin, timer.end, events, stats, queued)

        self._report = StepReport(timer.end, make, lambda: self._learn(execution, timer))
        return self._report

    def _settle(self) -> None:
        """See to it that the last step's report is made, and that no other thread makes it."""
        report, self._report = self._report, None
        if report is not None and not report.is_settled:
            report.settle()

    def _sample_late(self, on_wait: Callable[[], None]) -> None:
        """Give late sequences whose masks have come their token, so that they join the step."""
        has_late = self.samplers.has_late
        is_alone = has_late and all(sequence.is_late for sequence in self.scheduler.running)
        if is_alone:
            on_wait()
        late = self.samplers.take_late(is_alone=is_alone)
        if is_alone:
            self._settle()
        for chunk, result in late:
            self._events += self.scheduler.update_late(chunk.sequence, result)

    def _schedule(self, on_step_start: OnStepStart, timer: StepTimer) -> Step:
        """Plan the step, and announce who starts."""
        step = self.scheduler.schedule()
        timer.lap(Phase.SCHEDULE)
        if step.started:
            self._events += step.started
            started: list[Event] = list(step.started)
            on_step_start(StepOutputs(timer.begin, timer.end, started, None, self.take_queued()))
        return step

    def _execute(self, step: Step, timer: StepTimer, on_wait: Callable[[], None]) -> Execution:
        """Compute the step. If that fails there are no results, and nothing runs any more."""
        try:
            return self._executor.execute(step, timer, on_wait)
        except DecodeError as error:
            self._settle()
            self._fail_running("a step failed", error)
            return Execution(step, None, [])

    def _update(self, execution: Execution, timer: StepTimer) -> list[Event]:
        """Tell the policy what came of the step; returns all events since the last step."""
        if execution.results is not None:
            self._record(execution.step, execution.results)
        events, self._events = self._events, []
        for event in events:
            if isinstance(event, Finished):
                self.samplers.remove(event.request_id)
                self._speculator.forget(event.request_id)
        timer.lap(Phase.UPDATE)
        return events

    def _record(self, step: Step, results: list[Result]) -> None:
        """Lengthen answers, and drop the cells of documents that were embedded."""
        self._events += self.scheduler.update(step, results)
        with contextlib.suppress(DecodeError):  # the events tell who ended because of it
            self._edit(self.scheduler.cache.embedded_edits(step))

    def _learn(self, execution: Execution, timer: StepTimer) -> None:
        """Learn what the step cost, for those that come."""
        self._executor.observe_costs(execution)
        self.scheduler.planner.observe(execution.step, timer.computing_seconds)


def _limits(backend: Backend, itl_target: float, host_memory: HostMemory) -> ContextLimits:
    info, checkpoints = backend.info, host_memory.checkpoints
    return ContextLimits(
        n_slots=info.n_slots,
        n_ctx_slot=info.n_ctx_slot,
        n_ctx=info.n_ctx,
        n_batch=backend.n_batch,
        rows_at_once=backend.layout.rows_at_once,
        end_tokens=backend.end_tokens,
        abilities=backend.abilities,
        adapters=frozenset(adapter.digest for adapter in info.adapters),
        embedding=info.embedding,
        can_generate=info.can_generate,
        itl_target=itl_target,
        cache_bytes=host_memory.num_bytes,
        sizes=StateSizes(info.cell_bytes, info.state_bytes, info.window, info.window_cell_bytes),
        max_checkpoints=checkpoints.per_slot * info.n_slots,
        checkpoint_step=checkpoints.step,
        n_outputs=backend.n_outputs,
    )
