"""Carries out a step on the backend: edits, drafts, batches and samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import wait

from scheduler.backends.base import Backend
from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import BatchPlan, Grouping
from scheduler.batching.jump_forward import limit_jump_forward
from scheduler.batching.micro_batches import split_into_micro_batches
from scheduler.core.results import EmbeddingResult, Result, SampledRun
from scheduler.core.step import Chunk, Step
from scheduler.engine.samplers import Samplers
from scheduler.engine.step_timer import Phase, StepTimer
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.speculator import Speculator


class StepExecutor:
    """Computes steps, and learns from each what batches cost and which drafts were right."""

    def __init__(
        self,
        backend: Backend,
        samplers: Samplers,
        speculator: Speculator,
        cost: StepCost | None,
        clock: Callable[[], float],
    ) -> None:
        """`cost` holds the measured time of steps, if there is one; it is kept up to date."""
        self._backend = backend
        self._samplers = samplers
        self._speculator = speculator
        self._cost = cost
        self._clock = clock
        self._grouping = Grouping(cost, backend.layout)

    def execute(self, step: Step, timer: StepTimer) -> tuple[Step, list[Result]]:
        """Edit the cache, draft, then compute and sample one batch after the other.

        Returns the step with the chunks as they were computed, and the results of those that have
        one. Raises `DecodeError`.
        """
        with timer(Phase.DECODE):
            for edit in step.edits:
                self._backend.edit(edit)
        with timer(Phase.DRAFT):
            step = step.with_chunks(self._with_drafts(step.chunks))
        results: dict[int, Result] = {}
        for batch in self._grouping.batches(step.chunks, step.padding_rows):
            with timer(Phase.DECODE):
                self._decode(batch)
            self._observe_cost(batch, timer.last_seconds)
            with timer(Phase.SAMPLE):
                self._sample(batch.chunks, results)
        in_order = [results[chunk.slot] for chunk in step.sampled()]
        self._observe_drafts(step, in_order)
        return step, in_order

    def _with_drafts(self, chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
        """Cut runs of forced tokens where that is faster, and add drafts where that pays."""
        chunks = limit_jump_forward(chunks, self._cost, self._backend.layout)
        return self._speculator.draft(chunks, self._samplers.by_request, self._draft)

    def _draft(self, requests: Sequence[DraftRequest], max_catch_up: int) -> list[list[int]]:
        """Let the draft model propose tokens, and learn what that takes."""
        begin = self._clock()
        drafts = self._backend.draft(requests, max_catch_up)
        self._speculator.observe_drafting(requests, self._clock() - begin)
        return drafts

    def _decode(self, batch: BatchPlan) -> None:
        """Compute a batch, and masks of constraints beside it. Raises `DecodeError`."""
        masks = self._samplers.start_masks(batch.chunks)
        self._backend.decode(batch.chunks, batch.padding_rows)
        wait(masks)

    def _observe_cost(self, batch: BatchPlan, seconds: float) -> None:
        chunks = batch.chunks
        has_logits = any(chunk.wants_logits for chunk in chunks)
        if self._cost is None or not has_logits or chunks[0].sequence.kind.is_embedding:
            return
        runs = [(chunk.slot, chunk.num_tokens) for chunk in chunks]
        runs += [(padding_row.slot, 1) for padding_row in batch.padding_rows]
        micro_batches = split_into_micro_batches(sorted(runs), self._backend.layout)
        self._cost.observe(micro_batches, seconds)

    def _sample(self, chunks: Sequence[Chunk], results: dict[int, Result]) -> None:
        """Add the results of a batch's chunks that have one, by slot."""
        row = 0
        for chunk in chunks:
            if chunk.wants_logits and chunk.sequence.spec.embedding:
                results[chunk.slot] = EmbeddingResult(self._backend.embedding(chunk))
            elif chunk.has_result:
                results[chunk.slot] = self._samplers.result(chunk, row)
                row += chunk.num_outputs

    def _observe_drafts(self, step: Step, results: list[Result]) -> None:
        """Count and remember how many draft tokens were right."""
        for chunk, result in zip(step.sampled(), results, strict=True):
            if chunk.draft and isinstance(result, SampledRun):
                self._speculator.observe_verified(chunk, result.num_accepted)
                step.counters.drafted(len(chunk.draft), result.num_accepted)
