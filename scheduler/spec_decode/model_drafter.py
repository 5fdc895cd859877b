"""Asks the draft model for drafts, and learns how reliable and how fast they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import MicroBatch
from scheduler.core.sampler import Sampler
from scheduler.spec_decode.acceptance_rate import SharedRates
from scheduler.spec_decode.draft_plan import DraftPlan, ModelDraft, SequenceState
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.draft_stats import DraftStats
from scheduler.spec_decode.draft_stopping import DraftStopping, prior_acceptance

CATCH_UP_SIZES = (64, 256, 512, 1024, 2048)
"""Numbers of tokens that the draft model may read before it drafts."""

DEFAULT_CATCH_UP = 256
"""The number without costs."""

RunDraftModel = Callable[[Sequence[DraftRequest], int], list[list[int]]]
"""The backend's `draft`: takes requests and most tokens to read, returns a draft for each."""


class ModelDrafter:
    """The draft model's share of a step's drafts."""

    def __init__(self, cost: StepCost | None, draft_cost: StepCost | None) -> None:
        self._cost = cost
        self._draft_cost = draft_cost
        self._rates: SharedRates[int] = SharedRates(prior_acceptance)
        """By level of confidence."""
        self._is_catching_up = False

    def draft(
        self, plans: Sequence[DraftPlan], samplers: Mapping[int, Sampler], run: RunDraftModel
    ) -> None:
        """Put drafts, and the `stopping` of each, into the plans that are the draft model's."""
        asking = [plan for plan in plans if plan.is_by_model and plan.length > 0]
        if not asking:
            return
        self._is_catching_up = any(not plan.state.is_read for plan in asking)
        requests = [self._request(plan, samplers) for plan in asking]
        drafts = run(requests, self._max_catch_up())
        for plan, request, draft in zip(asking, requests, drafts, strict=True):
            plan.state.is_read = True
            plan.stopping = request.stopping
            length = request.stopping.best_length(len(draft))
            plan.draft = draft[:length] if length >= plan.n_min else []

    def observe_seconds(self, requests: Sequence[DraftRequest], seconds: float) -> None:
        """Learn how long the draft model took for these requests."""
        lengths = [request.stopping.num_computed for request in requests]
        if self._draft_cost is None or self._is_catching_up or min(lengths) == 0:
            return  # reading prompts took part of the time
        counts = (sum(length > done for length in lengths) for done in range(max(lengths)))
        self._draft_cost.observe([MicroBatch(count, count) for count in counts], seconds)

    def observe_verified(self, state: SequenceState, num_draft: int, num_accepted: int) -> None:
        """Learn how much of the draft model's draft was accepted."""
        draft = state.model_draft
        if draft is None:
            return
        tried = min(num_accepted + 1, num_draft)
        for index, level in enumerate(draft.stopping.levels[:tried]):
            if level is not None:
                self._rates.observe(state.level_acceptance, level, 1, int(index < num_accepted))
        draft.stats.observe(draft.stopping.num_computed, num_draft, num_accepted)

    def _request(self, plan: DraftPlan, samplers: Mapping[int, Sampler]) -> DraftRequest:
        sequence = plan.chunk.sequence
        acceptance = partial(self._acceptance, plan.state)
        return DraftRequest(
            slot=plan.chunk.slot,
            tokens=sequence.tokens,
            sampler=samplers[sequence.request_id],
            n_max=plan.length,
            stopping=DraftStopping(acceptance, plan.break_even, plan.speculation.p_min),
        )

    def _acceptance(self, state: SequenceState, level: int) -> float:
        return self._rates.of_sequence(state.level_acceptance, level).rate

    def _max_catch_up(self) -> int:
        """Tokens that the draft model may read at once.

        It may take as long as the model takes for one step. So a long prompt does not hold up
        everybody's next token.
        """
        if self._cost is None or self._draft_cost is None:
            return DEFAULT_CATCH_UP
        patience = self._cost.micro_batch_seconds(1, 1)
        fitting = (
            size
            for size in CATCH_UP_SIZES
            if self._draft_cost.micro_batch_seconds(1, size) <= patience
        )
        return max(fitting, default=CATCH_UP_SIZES[0])


def remember_draft(plan: DraftPlan, stats: DraftStats) -> None:
    """Keep what is needed to learn from the verification of a draft model's draft.

    If nothing of the draft is worth verifying, its outcome is known at once.
    """
    if plan.stopping is None:
        return
    plan.state.model_draft = ModelDraft(plan.stopping, stats)
    if not plan.draft and plan.stopping.num_computed > 0:
        stats.observe(plan.stopping.num_computed, 0, 0)
