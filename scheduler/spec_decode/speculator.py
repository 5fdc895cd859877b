"""Guesses ahead for the sequences of a step, as far as it pays. Policy; the draft model itself is
the backend's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from protocol.commands import DraftMethod, Speculation
from protocol.config import NgramConfig
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout, MicroBatch, split_into_micro_batches
from scheduler.core.running_mean import RunningMean
from scheduler.core.sampler import Sampler
from scheduler.core.step import Chunk
from scheduler.core.trial_schedule import TrialSchedule
from scheduler.spec_decode.acceptance_rate import AcceptanceRate
from scheduler.spec_decode.draft_lengths import Candidate, DraftLengths
from scheduler.spec_decode.draft_request import DraftRequest
from scheduler.spec_decode.draft_stats import DraftStats
from scheduler.spec_decode.draft_stopping import NUM_LEVELS, BreakEven, DraftStopping, first_rate
from scheduler.spec_decode.ngram import SequenceLookup, SharedLookup

ONE_STREAM = Layout(512, is_unified=True)

Draft = Callable[[Sequence[DraftRequest], int], list[list[int]]]

FIRST_RATE = 0.7
"""How often guesses are taken to be right before there is experience."""

LONG_MATCH = 12
"""Tokens in common from which on what is looked up is trusted on its own account."""

Source = tuple[DraftMethod, bool]
"""Who guesses, and whether from a long match: they are right differently often."""

HOPE = 0.95
"""A rate at which guessing has to pay for it to be tried once in a while."""

FIRST_PAUSE = 32
LAST_PAUSE = 1024
"""Steps between two trials of a sequence whose guesses don't pay: doubled each time."""

HOPELESS_TRIALS = 8
"""Of so many trials that could not pay even if all guesses were right one is made all the same."""

CATCH_UP = (64, 256, 512, 1024, 2048)
"""Numbers of tokens that the draft model may read before it guesses."""

TRIAL = 3
"""Tokens that a trial guesses."""

FIRST_ANSWER = 256.0
"""Tokens that answers are taken to have before there is experience."""

ANSWER_DECAY = 0.9
"""Weight that the lengths of older answers keep with each newer one."""


@dataclass(slots=True)
class _Draft:
    """What a draft model guessed, until it is known how much of it is right."""

    prospect: DraftStopping
    outcome: DraftStats


@dataclass(slots=True)
class _State:
    """What is known of one sequence's guesses."""

    acceptance: dict[Source, AcceptanceRate] = field(default_factory=dict)
    lookup: SequenceLookup | None = None
    num_generated: int = 0
    num_discarded: int = 0
    num_shared: int = 0
    """Tokens that the shared memory has read."""
    source: Source = (DraftMethod.MODEL, False)
    """Whose guess is being verified."""
    chances: dict[int, AcceptanceRate] = field(default_factory=dict)
    """How often the draft model is right, by how sure it is."""
    draft: _Draft | None = None
    """The draft model's latest."""
    has_asked: bool = False
    """Whether the draft model has seen the sequence."""
    trials: TrialSchedule = field(default_factory=lambda: TrialSchedule(FIRST_PAUSE, LAST_PAUSE))


@dataclass(slots=True)
class _Plan:
    """How one chunk could be drafted for."""

    index: int
    chunk: Chunk
    state: _State
    method: DraftMethod
    guess: list[int] = field(default_factory=list)
    most: int = 0
    price: BreakEven | None = None
    asked: DraftStopping | None = None
    """Of the draft model's guess, once it was asked."""
    is_long_match: bool = False

    @property
    def source(self) -> Source:
        """Whose guesses have been right how often matters."""
        return (self.method, self.is_long_match)


class Speculator:
    """Decides who is guessed for, by what, and how far; and learns from what came of it."""

    def __init__(
        self,
        lookup: NgramConfig,
        cost: StepCost | None,
        draft_cost: StepCost | None,
        layout: Layout = ONE_STREAM,
    ) -> None:
        """Without costs it guesses as far as it may. `layout` says how batches are cut."""
        self._layout = layout
        self._lookup = lookup
        self._cost = cost
        self._draft_cost = draft_cost
        self._lengths = None if cost is None else DraftLengths(cost, draft_cost)
        self._shared = SharedLookup(lookup.shared_size)
        self._states: dict[int, _State] = {}
        self._experience: dict[Source, AcceptanceRate] = {}
        self._chances = [AcceptanceRate(first_rate(level)) for level in range(NUM_LEVELS)]
        self._yields: defaultdict[int, DraftStats] = defaultdict(DraftStats)
        """By number of sequences that decode."""
        self._answer_length = RunningMean.steady(ANSWER_DECAY, FIRST_ANSWER)
        """Tokens that answers have of late."""
        self._hopeless_trials = TrialSchedule(HOPELESS_TRIALS)
        self._is_catching_up = False

    def guess(
        self, chunks: Sequence[Chunk], samplers: Mapping[int, Sampler], draft: Draft
    ) -> tuple[Chunk, ...]:
        """The chunks, with guesses where they are worth verifying."""
        plans = [
            plan
            for index, chunk in enumerate(chunks)
            if chunk.max_draft > 0 and (plan := self._plan(index, chunk, samplers)) is not None
        ]
        num_others = sum(chunk.is_decode for chunk in chunks) - len(plans)
        lengths = self._choose(plans, num_others)
        self._ask(plans, lengths, samplers, draft)
        self._shorten(chunks, plans)
        outcome = self._yields[len(plans) + num_others]
        drafted = list(chunks)
        for plan, length in zip(plans, lengths, strict=True):
            if plan.asked is not None:
                plan.state.draft = _Draft(plan.asked, outcome)
                if not plan.guess and plan.asked.num_asked > 0:
                    outcome.observe(plan.asked.num_asked, 0, 0)
            if guess := tuple(plan.guess[:length]):
                plan.state.source = plan.source
                drafted[plan.index] = replace(plan.chunk, draft=guess)
        return tuple(drafted)

    def _shorten(self, chunks: Sequence[Chunk], plans: list[_Plan]) -> None:
        """Cut the draft model's guesses to a common length where that is faster.

        With a stream for each slot, rows are computed together only as far as all of them have
        some left, so that guesses of different lengths can cost more than they are worth.
        """
        priced = {p.chunk.slot: p for p in plans if p.price is not None and p.guess}
        if self._cost is None or self._layout.is_unified or len(priced) < 2:
            return
        cost = self._cost
        decodes = [chunk for chunk in chunks if chunk.is_decode]

        def rate(most: int) -> float:
            tokens, rows = float(len(decodes)), []
            for chunk in decodes:
                plan = priced.get(chunk.slot)
                length = min(len(plan.guess), most) if plan else 0
                tokens += plan.asked.tokens(length) if plan and plan.asked else 0.0
                rows.append((chunk.slot, chunk.num_tokens + length))
            return tokens / cost.seconds(split_into_micro_batches(rows, self._layout))

        most = max(range(max(len(plan.guess) for plan in priced.values()) + 1), key=rate)
        for plan in priced.values():
            del plan.guess[most:]

    def learn(self, chunk: Chunk, num_accepted: int) -> None:
        """A chunk's guesses were verified."""
        state = self._states[chunk.sequence.request_id]
        for acceptance in (state.acceptance[state.source], self._experience[state.source]):
            acceptance.observe(len(chunk.draft), num_accepted)
        if state.draft is not None and state.source[0] == DraftMethod.MODEL:
            self._learn_chances(state, state.draft, len(chunk.draft), num_accepted)

    def _learn_chances(
        self, state: _State, draft: _Draft, num_verified: int, num_accepted: int
    ) -> None:
        """How often the draft model was right where it was so sure, and what that came to."""
        tried = min(num_accepted + 1, num_verified)
        for index, level in enumerate(draft.prospect.levels[:tried]):
            if level is not None:
                for acceptance in (state.chances[level], self._chances[level]):
                    acceptance.observe(1, int(index < num_accepted))
        draft.outcome.observe(draft.prospect.num_asked, num_verified, num_accepted)

    def observe_drafting(self, wants: Sequence[DraftRequest], seconds: float) -> None:
        """The draft model's guesses for these took so many seconds."""
        lengths = [want.prospect.num_asked for want in wants]
        if self._draft_cost is None or self._is_catching_up or min(lengths) == 0:
            return  # reading prompts took part of the time
        counts = (sum(length > done for length in lengths) for done in range(max(lengths)))
        self._draft_cost.observe([MicroBatch(count, count) for count in counts], seconds)

    def forget(self, request_id: int) -> None:
        """A sequence has ended."""
        state = self._states.pop(request_id, None)
        if state is not None:
            self._answer_length.observe(state.num_generated)

    # --- who could guess ---

    def _plan(self, index: int, chunk: Chunk, samplers: Mapping[int, Sampler]) -> _Plan | None:
        """The first method that has a guess, or could make one."""
        wish = chunk.sequence.submit.speculation
        assert wish is not None
        state = self._state(chunk, wish)
        for method in wish.methods:
            bounds = wish.bounds(method)
            plan = _Plan(index, chunk, state, method, most=min(bounds.n_max, chunk.max_draft))
            if plan.most < max(bounds.n_min, 1):
                continue
            if method == DraftMethod.MODEL:
                return plan
            self._look_up(plan)
            if plan.guess:
                sampler = samplers[chunk.sequence.request_id]
                del plan.guess[sampler.allowed(plan.guess) :]
            plan.most = len(plan.guess)
            if plan.most >= max(bounds.n_min, 1):
                return plan
        return None

    def _look_up(self, plan: _Plan) -> None:
        sequence, state = plan.chunk.sequence, plan.state
        if plan.method == DraftMethod.NGRAM_MOD:
            plan.guess = self._shared.guess(sequence.tokens, plan.most, sequence.scope)
        elif state.lookup is not None:
            plan.guess, num_matched = state.lookup.guess(sequence.tokens, plan.most)
            plan.is_long_match = num_matched >= LONG_MATCH

    def _state(self, chunk: Chunk, wish: Speculation) -> _State:
        """What is known of a sequence, up to its latest token."""
        sequence = chunk.sequence
        state = self._states.get(sequence.request_id)
        if state is None:
            state = self._states[sequence.request_id] = _State()
        state.num_generated = sequence.num_generated_tokens
        if state.num_discarded != sequence.num_discarded_tokens or state.lookup is None:
            state.lookup = SequenceLookup(self._lookup.simple_size, self._lookup.simple_min_hits)
            state.num_discarded = sequence.num_discarded_tokens
            state.num_shared = min(state.num_shared, len(sequence.tokens))
        if DraftMethod.NGRAM_MOD in wish.methods:
            self._shared.read(sequence.tokens, state.num_shared, sequence.scope)
            state.num_shared = len(sequence.tokens)
        return state

    # --- how far ---

    def _choose(self, plans: list[_Plan], num_others: int) -> list[int]:
        candidates = [self._candidate(plan) for plan in plans]
        if not plans or self._lengths is None:
            return [candidate.most for candidate in candidates]
        num_decoding = len(candidates) + num_others
        experience = self._yields[num_decoding]
        is_model = all(plan.method == DraftMethod.MODEL for plan in plans)
        decision = self._lengths.choose(candidates, num_others, experience if is_model else None)
        if decision.count == 0:
            experience.doubt()
        saved = 1 / self._lengths.plain_rate(num_decoding) - 1 / decision.rate
        going = {
            index
            for index, plan in enumerate(plans)
            if decision.lengths[index] > 0 and self._is_worth_reading(plan, saved)
        }
        lengths = [0] * len(plans)
        for index, plan in enumerate(plans):
            if index in going:
                lengths[index] = decision.lengths[index]
                plan.state.trials.reset()
                if plan.method == DraftMethod.MODEL:
                    lengths[index] = plan.most
                    plan.price = self._lengths.price(len(going), decision.rate, plan.most)
            elif decision.lengths[index] == 0:
                lengths[index] = self._try_again(plan, candidates[index], num_decoding)
        return lengths

    def _is_worth_reading(self, plan: _Plan, saved: float) -> bool:
        """Whether guesses that save so many seconds for each token of an answer save more than it
        takes the draft model to read the sequence first. Answers are taken to be as long as those
        before, and once one is longer, to be half done."""
        is_read = plan.state.has_asked or plan.method != DraftMethod.MODEL
        if is_read or self._draft_cost is None:
            return True
        sequence = plan.chunk.sequence
        done = sequence.num_generated_tokens
        left = min(max(self._answer_length.value - done, done), sequence.num_tokens_left)
        unread = len(sequence.tokens) - sequence.num_cached_tokens
        return saved * left > self._draft_cost.piece(1, max(unread, 1))

    def _try_again(self, plan: _Plan, candidate: Candidate, num_decoding: int) -> int:
        """Tokens to guess where it does not pay, as far as is known: mostly none."""
        assert self._lengths is not None
        # Or no sequence would ever begin with guesses again after some unlucky ones.
        self._experience[plan.source].doubt(FIRST_RATE)
        if not plan.state.trials.is_due():
            return 0
        if self._could_pay(candidate, num_decoding):
            if plan.method == DraftMethod.MODEL:
                plain_rate = self._lengths.plain_rate(num_decoding)
                plan.price = self._lengths.price(1, plain_rate, plan.most)
        elif not self._hopeless_trials.is_due():  # the costs may have changed
            return 0
        return min(TRIAL, plan.most)

    def _candidate(self, plan: _Plan) -> Candidate:
        """The plan, as what decides about lengths sees it. A sequence begins with what others of
        late had."""
        rates, source = plan.state.acceptance, plan.source
        if source not in rates:
            experience = self._experience.setdefault(source, AcceptanceRate(FIRST_RATE))
            rates[source] = AcceptanceRate(experience.rate)
        return Candidate(rates[source], plan.most, plan.method != DraftMethod.MODEL)

    def _could_pay(self, candidate: Candidate, num_decoding: int) -> bool:
        """Whether guessing would be faster if nearly all guesses were right."""
        assert self._lengths is not None
        hopeful = replace(candidate, acceptance=AcceptanceRate(HOPE))
        return self._lengths.choose([hopeful], num_decoding - 1).count > 0

    # --- the draft model ---

    def _ask(
        self,
        plans: list[_Plan],
        lengths: list[int],
        samplers: Mapping[int, Sampler],
        draft: Draft,
    ) -> None:
        asking = [
            (plan, length)
            for plan, length in zip(plans, lengths, strict=True)
            if plan.method == DraftMethod.MODEL and length > 0
        ]
        if not asking:
            return
        self._is_catching_up = any(not plan.state.has_asked for plan, _ in asking)
        wants = [self._want(plan, length, samplers) for plan, length in asking]
        guesses = draft(wants, self._max_catch_up())
        for (plan, _), want, guess in zip(asking, wants, guesses, strict=True):
            wish = plan.chunk.sequence.submit.speculation
            assert wish is not None
            plan.state.has_asked = True
            plan.asked = want.prospect
            length = want.prospect.best_length(len(guess))
            plan.guess = guess[:length] if length >= wish.bounds(plan.method).n_min else []

    def _max_catch_up(self) -> int:
        """Tokens that the draft model may read at once: what takes it as long as the model takes
        for a step, so that a long prompt doesn't hold up everybody's next token."""
        if self._cost is None or self._draft_cost is None:
            return CATCH_UP[1]
        patience = self._cost.piece(1, 1)
        fitting = (n for n in CATCH_UP if self._draft_cost.piece(1, n) <= patience)
        return max(fitting, default=CATCH_UP[0])

    def _want(self, plan: _Plan, length: int, samplers: Mapping[int, Sampler]) -> DraftRequest:
        sequence, wish = plan.chunk.sequence, plan.chunk.sequence.submit.speculation
        assert wish is not None
        sampler = samplers[sequence.request_id]
        prospect = DraftStopping(partial(self._chance, plan.state), plan.price, wish.p_min)
        return DraftRequest(plan.chunk.slot, sequence.tokens, sampler, length, prospect)

    def _chance(self, state: _State, level: int) -> float:
        """How often a guess is right of which the draft model is so sure. A sequence begins with
        what others of late had."""
        if level not in state.chances:
            state.chances[level] = AcceptanceRate(self._chances[level].rate)
        return state.chances[level].rate
