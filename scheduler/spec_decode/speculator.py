"""Speculative decoding of one step: plans drafts, lets them be made, learns from the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from protocol.commands import DraftMethod
from protocol.config import NgramConfig
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout
from scheduler.core.sampler import Sampler
from scheduler.core.step import Chunk
from scheduler.spec_decode.common_length import cut_to_common_length
from scheduler.spec_decode.draft_plan import DraftPlan
from scheduler.spec_decode.draft_planner import DraftPlanner
from scheduler.spec_decode.draft_policy import DraftPolicy
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.model_drafter import ModelDrafter, RunDraftModel, remember_draft

ONE_STREAM = Layout(512, is_unified=True)


class Speculator:
    """Adds drafts to the chunks of a step where drafts pay.

    The parts: `DraftPlanner` finds who could draft, `DraftPolicy` decides how far,
    `ModelDrafter` asks the draft model.
    """

    def __init__(
        self,
        ngram: NgramConfig,
        cost: StepCost | None,
        draft_cost: StepCost | None,
        layout: Layout = ONE_STREAM,
        *,
        recomputes: bool = False,
    ) -> None:
        """The costs of the model and of the draft model, how batches are cut, and whether right
        tokens are computed again where others of a draft were wrong.

        Without `cost` all drafts are as long as they may be.
        """
        self._cost = cost
        self._layout = layout
        self._planner = DraftPlanner(ngram)
        self._policy = (
            None if cost is None else DraftPolicy(cost, draft_cost, recomputes=recomputes)
        )
        self._model = ModelDrafter(cost, draft_cost)

    def draft(
        self, chunks: Sequence[Chunk], samplers: Mapping[int, Sampler], run: RunDraftModel
    ) -> tuple[Chunk, ...]:
        """The chunks of a step, with drafts where these are worth verifying.

        `samplers` are those of the chunks' sequences, by request id. `run` runs the draft model.
        """
        plans = self._planner.plans(chunks, samplers)
        num_decoding = sum(chunk.is_decode for chunk in chunks)
        self._choose_lengths(plans, num_decoding - len(plans))
        self._model.draft(plans, samplers, run)
        if self._cost is not None:
            cut_to_common_length(chunks, plans, self._cost, self._layout)
        drafted = list(chunks)
        for plan in plans:
            self._remember(plan, num_decoding)
            if draft := tuple(plan.draft[: plan.length]):
                plan.state.source = plan.source
                drafted[plan.index] = replace(plan.chunk, draft=draft)
        return tuple(drafted)

    def observe_verified(self, chunk: Chunk, num_accepted: int) -> None:
        """Learn from a chunk whose draft was verified: how many of its tokens were accepted."""
        state = self._planner.state(chunk.sequence.request_id)
        num_draft = len(chunk.draft)
        if self._policy is not None:
            self._policy.observe_verified(state, num_draft, num_accepted)
        method, _ = state.source
        if method == DraftMethod.MODEL:
            self._model.observe_verified(state, num_draft, num_accepted)

    def observe_drafting(self, requests: Sequence[DraftRequest], seconds: float) -> None:
        """Learn how long the draft model took for these requests."""
        self._model.observe_seconds(requests, seconds)

    def forget(self, request_id: int) -> None:
        """Drop what is known of a sequence that has ended."""
        state = self._planner.forget(request_id)
        if state is not None and self._policy is not None:
            self._policy.observe_answer(state.num_generated)

    def _choose_lengths(self, plans: list[DraftPlan], num_others: int) -> None:
        if self._policy is None:
            for plan in plans:
                plan.length = plan.max_length
        elif plans:
            self._policy.choose(plans, num_others)

    def _remember(self, plan: DraftPlan, num_decoding: int) -> None:
        if self._policy is not None:
            remember_draft(plan, self._policy.stats(num_decoding))
