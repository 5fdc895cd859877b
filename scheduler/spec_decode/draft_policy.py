"""Whether each planned draft pays, and how long it gets."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from scheduler.batching.cost_model import StepCost
from scheduler.core.running_mean import RunningMean
from scheduler.core.trial_schedule import TrialSchedule
from scheduler.spec_decode.acceptance_rate import AcceptanceRate, SharedRates
from scheduler.spec_decode.batch_seconds import BatchSeconds
from scheduler.spec_decode.break_even import BreakEvens
from scheduler.spec_decode.draft_lengths import Candidate, Decision, DraftLengths
from scheduler.spec_decode.draft_plan import DraftPlan, SequenceState, Source
from scheduler.spec_decode.draft_stats import DraftStats

PRIOR_ACCEPTANCE = 0.7
"""Assumed acceptance rate before there is experience."""

OPTIMISTIC_ACCEPTANCE = 0.95
"""Acceptance rate at which drafting would have to pay to be tried now and then."""

HOPELESS_TRIALS = 8
"""One trial in this many is made even if it could not pay at `OPTIMISTIC_ACCEPTANCE`. The costs
may have changed."""

TRIAL_LENGTH = 3
"""Tokens that a trial drafts."""

PRIOR_ANSWER_TOKENS = 256.0
"""Assumed tokens of an answer before there is experience."""

ANSWER_DECAY = 0.9
"""Weight that the lengths of older answers keep with each newer one."""


class DraftPolicy:
    """Decides the length of each plan, from step costs and from what drafts amounted to."""

    def __init__(
        self, cost: StepCost, draft_cost: StepCost | None, *, recomputes: bool = False
    ) -> None:
        """The arguments are those of `BatchSeconds`."""
        self._draft_cost = draft_cost
        self._seconds = BatchSeconds(cost, draft_cost, recomputes=recomputes)
        self._lengths = DraftLengths(self._seconds)
        self._break_evens = BreakEvens(self._seconds)
        self._rates: SharedRates[Source] = SharedRates(lambda source: PRIOR_ACCEPTANCE)
        self._stats: defaultdict[int, DraftStats] = defaultdict(DraftStats)
        """Of the draft model's drafts, by number of sequences that decode."""
        self._answer_tokens = RunningMean.steady(ANSWER_DECAY, PRIOR_ANSWER_TOKENS)
        self._hopeless_trials = TrialSchedule(HOPELESS_TRIALS)

    def stats(self, num_decoding: int) -> DraftStats:
        """What the draft model's drafts amount to while as many sequences decode."""
        return self._stats[num_decoding]

    def observe_verified(self, state: SequenceState, num_draft: int, num_accepted: int) -> None:
        """Learn how much of a sequence's draft was accepted."""
        self._rates.observe(state.acceptance, state.source, num_draft, num_accepted)

    def observe_answer(self, num_tokens: int) -> None:
        """Learn how long an answer became."""
        self._answer_tokens.observe(num_tokens)

    def choose(self, plans: list[DraftPlan], num_others: int) -> None:
        """Set `length`, and for the draft model `break_even`, of each plan; 0 means no draft.

        `num_others` further sequences decode without a plan.
        """
        candidates = [self._candidate(plan) for plan in plans]
        num_decoding = len(plans) + num_others
        decision = self._decide(plans, candidates, num_others)
        saved = 1 / self._seconds.plain_rate(num_decoding) - 1 / decision.rate
        is_drafted = [
            length > 0 and self._pays_for_reading(plan, saved)
            for plan, length in zip(plans, decision.lengths, strict=True)
        ]
        for index, plan in enumerate(plans):
            if is_drafted[index]:
                self._let_draft(plan, decision.lengths[index], sum(is_drafted), decision.rate)
            elif decision.lengths[index] == 0:
                self._try_again(plan, candidates[index], num_decoding)

    def _candidate(self, plan: DraftPlan) -> Candidate:
        acceptance = self._rates.of_sequence(plan.state.acceptance, plan.source)
        return Candidate(acceptance, plan.max_length, is_free=not plan.is_by_model)

    def _decide(
        self, plans: list[DraftPlan], candidates: list[Candidate], num_others: int
    ) -> Decision:
        stats = self._stats[len(plans) + num_others]
        are_by_model = all(plan.is_by_model for plan in plans)
        decision = self._lengths.choose(candidates, num_others, stats if are_by_model else None)
        if decision.count == 0:
            stats.fade()
        return decision

    def _let_draft(self, plan: DraftPlan, length: int, num_drafting: int, rate: float) -> None:
        plan.state.trials.reset()
        plan.length = length
        if plan.is_by_model:
            plan.length = plan.max_length
            plan.break_even = self._break_evens.of(num_drafting, rate, plan.max_length)

    def _pays_for_reading(self, plan: DraftPlan, saved: float) -> bool:
        """Whether drafts save more time than the draft model takes to read the sequence first.

        `saved` is seconds for each token of the answer. The answer is expected to be as long as
        earlier ones. An answer that is longer already is expected to be half done.
        """
        if plan.state.is_read or not plan.is_by_model or self._draft_cost is None:
            return True
        sequence = plan.chunk.sequence
        done = sequence.num_generated_tokens
        left = min(max(self._answer_tokens.value - done, done), sequence.num_tokens_left)
        unread = len(sequence.tokens) - sequence.num_cached_tokens
        return saved * left > self._draft_cost.micro_batch_seconds(1, max(unread, 1))

    def _try_again(self, plan: DraftPlan, candidate: Candidate, num_decoding: int) -> None:
        """Let a plan that does not pay, by what is known, draft a little now and then."""
        # Without this, no later sequence would begin with drafts after some unlucky sequences.
        self._rates.decay(plan.source)
        if not plan.state.trials.is_due():
            return
        if self._could_pay(candidate, num_decoding):
            if plan.is_by_model:
                rate = self._seconds.plain_rate(num_decoding)
                plan.break_even = self._break_evens.of(1, rate, plan.max_length)
        elif not self._hopeless_trials.is_due():
            return
        plan.length = min(TRIAL_LENGTH, plan.max_length)

    def _could_pay(self, candidate: Candidate, num_decoding: int) -> bool:
        """Whether drafting would be faster if nearly all draft tokens were accepted."""
        hopeful = replace(candidate, acceptance=AcceptanceRate(OPTIMISTIC_ACCEPTANCE))
        return self._lengths.choose([hopeful], num_decoding - 1).count > 0
