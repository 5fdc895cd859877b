"""Carries out a step on the backend: edits, drafts, batches and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from scheduler.backends.base import Backend
from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import BatchPlan, Grouping
from scheduler.batching.jump_forward import limit_jump_forward
from scheduler.core.cache_edits import CacheEdit, Save, SaveCheckpoint
from scheduler.core.results import EmbeddingResult, Result, SampledRun
from scheduler.core.step import Chunk, Step
from scheduler.engine.samplers import Samplers
from scheduler.engine.sampling_run import SamplingPlan
from scheduler.engine.step_timer import Phase, StepTimer
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.speculator import Speculator

MIN_PATIENCE = 0.005
"""A step waits for cheap masks for as long as its batch took, but at least for this many seconds.
Where processors are scarce, also a cheap mask takes some milliseconds."""


class Execution(msgspec.Struct, frozen=True):
    """How a step went."""

    step: Step
    """With the chunks as they were computed."""
    results: list[Result] | None
    """Of the chunks that have one, in their order; None if the step failed."""
    batches: list[tuple[BatchPlan, float]]
    """What was computed at once, and its seconds."""


class StepExecutor:
    """Computes steps, and learns from each what batches cost and which drafts were right."""

    def __init__(
        self,
        backend: Backend,
        samplers: Samplers,
        speculator: Speculator,
        cost: StepCost | None,
        clock: Callable[[], float],
        observe_save: Callable[[Save | SaveCheckpoint, float], None],
        settle: Callable[[], None],
    ) -> None:
        """`cost` holds the measured time of steps, if there is one; it is kept up to date.
        `observe_save` is told how long saves took. `settle` returns when no other thread learns
        from an earlier step any more."""
        self._backend = backend
        self._samplers = samplers
        self._speculator = speculator
        self._cost = cost
        self._clock = clock
        self._observe_save = observe_save
        self._settle = settle
        self._grouping = Grouping(cost, backend.layout)

    def execute(
        self, step: Step, timer: StepTimer, on_wait: Callable[[], None] = lambda: None
    ) -> Execution:
        """Edit the cache, draft, then compute and sample one batch after the other. `on_wait` is
        called before each of these that takes long without the interpreter.

        Raises `DecodeError`.
        """
        may_draft = False
        if not step.is_repeat:
            may_draft = any(chunk.max_draft for chunk in step.chunks)
            step = self._prepared(step, timer, on_wait, may_draft=may_draft)
        timer.lap(Phase.DRAFT)
        results: dict[int, Result] = {}
        batches: list[tuple[BatchPlan, float]] = []
        for batch in self._grouping.batches(
            step.chunks, step.padding_rows, is_repeat=step.is_repeat
        ):
            on_wait()
            plan = self._compute(batch)
            timer.lap(Phase.DECODE)
            self._settle()
            batches.append((batch, timer.last_seconds))
            results |= self._results(batch.chunks, plan, timer.last_seconds)
            timer.lap(Phase.SAMPLE)
            if may_draft:
                self._drop_rejected(batch.chunks, results)
                timer.lap(Phase.DECODE)
        in_order = [results[chunk.slot] for chunk in step.sampled()]
        if may_draft:
            self._observe_drafts(step, in_order)
        return Execution(step, in_order, batches)

    def _prepared(
        self, step: Step, timer: StepTimer, on_wait: Callable[[], None], *, may_draft: bool
    ) -> Step:
        """Edit the cache, and cut runs of forced tokens or add drafts. Raises `DecodeError`."""
        if step.edits or may_draft:
            on_wait()
            self.edit(step.edits)
            self._settle()
            timer.lap(Phase.DECODE)
        if may_draft or any(chunk.stop - chunk.start > 1 for chunk in step.chunks):
            step = step.with_chunks(self._with_drafts(step.chunks))
        return step

    def _compute(self, batch: BatchPlan) -> SamplingPlan:
        """Compute a batch; returns what is sampled after it. Raises `DecodeError`."""
        self._samplers.start_masks(batch.chunks)
        self._backend.decode(batch.chunks, batch.padding_rows)
        # What is done here takes no time where a device computes.
        plan = self._samplers.plan(batch.chunks)
        self._backend.wait()
        return plan

    def observe_costs(self, execution: Execution) -> None:
        """Learn what the batches of a step cost."""
        if self._cost is None:
            return
        for batch, seconds in execution.batches:
            has_logits = any(chunk.wants_logits for chunk in batch.chunks)
            if has_logits and not batch.chunks[0].sequence.kind.is_embedding:
                self._cost.observe(self._grouping.micro_batches(batch), seconds)

    def edit(self, edits: Iterable[CacheEdit]) -> None:
        """Change the cache, and learn what saving takes. Raises `DecodeError`."""
        for edit in edits:
            begin = self._clock()
            self._backend.edit(edit)
            if isinstance(edit, Save | SaveCheckpoint):
                self._observe_save(edit, self._clock() - begin)

    def _with_drafts(self, chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
        """Cut runs of forced tokens where that is faster, and add drafts where that pays."""
        chunks = limit_jump_forward(chunks, self._cost, self._backend.layout)
        chunks = tuple(map(self._without_slow_draft, chunks))
        return self._speculator.draft(chunks, self._samplers.by_request, self._draft)

    def _without_slow_draft(self, chunk: Chunk) -> Chunk:
        may_draft = chunk.max_draft == 0 or self._samplers.may_draft(chunk)
        return chunk if may_draft else replace(chunk, max_draft=0)

    def _draft(self, requests: Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """Let the draft model propose tokens, and learn what that takes."""
        begin = self._clock()
        drafts = self._backend.draft(requests, max_catch_up)
        self._speculator.observe_drafting(requests, self._clock() - begin)
        return drafts

    def _results(
        self, chunks: Sequence[Chunk], plan: SamplingPlan, seconds: float
    ) -> dict[int, Result]:
        """The results of a batch's chunks that have one, by slot. The batch took `seconds`."""
        if not chunks[0].sequence.kind.is_embedding:
            return self._samplers.sample(chunks, plan, max(seconds, MIN_PATIENCE))
        return {
            chunk.slot: EmbeddingResult(self._backend.embedding(chunk))
            for chunk in chunks
            if chunk.wants_logits
        }

    def _drop_rejected(self, chunks: Sequence[Chunk], results: Mapping[int, Result]) -> None:
        """Drop the cells of draft tokens that were wrong, before anything more is computed: some
        memories can't do it later. Raises `DecodeError`."""
        drafted = [chunk for chunk in chunks if chunk.draft]
        verified = [(chunk, _num_right(results.get(chunk.slot))) for chunk in drafted]
        wrong = [(chunk, count) for chunk, count in verified if count < len(chunk.draft)]
        if wrong:
            self._backend.keep_right(wrong)

    def _observe_drafts(self, step: Step, results: list[Result]) -> None:
        """Count and remember how many draft tokens were right."""
        for chunk, result in zip(step.sampled(), results, strict=True):
            if chunk.draft and isinstance(result, SampledRun) and not result.is_late:
                self._speculator.observe_verified(chunk, result.num_accepted)
                step.counters.drafted(len(chunk.draft), result.num_accepted)


def _num_right(result: Result | None) -> int:
    """How many tokens of a draft were right."""
    return result.num_accepted if isinstance(result, SampledRun) else 0
