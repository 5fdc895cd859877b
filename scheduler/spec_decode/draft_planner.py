"""Who drafts for each chunk: the first method of its request that has a draft or can make one."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping

from protocol.commands import DraftMethod, Speculation
from protocol.config import NgramConfig
from scheduler.core.sampler import Sampler
from scheduler.core.sequence import Sequence
from scheduler.core.step import Chunk
from scheduler.spec_decode.draft_plan import DraftPlan, SequenceState
from scheduler.spec_decode.ngram import SequenceNgrams, SharedNgrams

LONG_MATCH = 12
"""Matched tokens from which an n-gram draft has an acceptance rate of its own."""


class DraftPlanner:
    """Plans drafts, n-gram drafts included, and keeps the state of each sequence."""

    def __init__(self, ngram: NgramConfig) -> None:
        self._ngram = ngram
        self._shared = SharedNgrams(ngram.shared_size)
        self._states: dict[int, SequenceState] = {}

    def plans(
        self, chunks: abc.Sequence[Chunk], samplers: Mapping[int, Sampler]
    ) -> list[DraftPlan]:
        """A plan for each chunk that some method can draft for, in the order of the chunks.

        `samplers` are those of the chunks' sequences, by request id.
        """
        plans = (
            self._plan(index, chunk, samplers)
            for index, chunk in enumerate(chunks)
            if chunk.max_draft > 0
        )
        return [plan for plan in plans if plan is not None]

    def state(self, request_id: int) -> SequenceState:
        """The state of a sequence that was planned for."""
        return self._states[request_id]

    def forget(self, request_id: int) -> SequenceState | None:
        """Drop the state of a sequence that has ended, and return it, if there is one."""
        return self._states.pop(request_id, None)

    def _plan(self, index: int, chunk: Chunk, samplers: Mapping[int, Sampler]) -> DraftPlan | None:
        speculation = chunk.sequence.spec.speculation
        assert speculation is not None
        state = self._updated_state(chunk, speculation)
        for method in speculation.methods:
            bounds = speculation.bounds(method)
            max_length = min(bounds.n_max, chunk.max_draft)
            plan = DraftPlan(index, chunk, speculation, state, method, max_length)
            if method != DraftMethod.MODEL and max_length >= max(bounds.n_min, 1):
                self._draft(plan, samplers[chunk.sequence.request_id])
            if plan.max_length >= max(bounds.n_min, 1):
                return plan
        return None

    def _draft(self, plan: DraftPlan, sampler: Sampler) -> None:
        """Put an n-gram draft into the plan, cut where the sequence's constraint refuses it."""
        sequence, state = plan.chunk.sequence, plan.state
        if plan.method == DraftMethod.NGRAM_MOD:
            draft = self._shared.draft(sequence.tokens, plan.max_length, _readers(sequence))
        else:
            assert state.ngrams is not None
            draft, num_matched = state.ngrams.draft(sequence.tokens, plan.max_length)
            plan.is_long_match = num_matched >= LONG_MATCH
        plan.draft = draft[: sampler.allowed(draft)] if draft else []
        plan.max_length = len(plan.draft)

    def _updated_state(self, chunk: Chunk, speculation: Speculation) -> SequenceState:
        """The state of a sequence, brought up to its latest token."""
        sequence = chunk.sequence
        state = self._states.get(sequence.request_id)
        if state is None:
            state = self._states[sequence.request_id] = SequenceState()
        state.num_generated = sequence.num_generated_tokens
        if state.num_discarded != sequence.num_discarded_tokens or state.ngrams is None:
            # A context shift has moved the tokens, so all positions are wrong.
            state.ngrams = SequenceNgrams(self._ngram.simple_size, self._ngram.simple_min_hits)
            state.num_discarded = sequence.num_discarded_tokens
            state.num_shared = min(state.num_shared, len(sequence.tokens))
        if DraftMethod.NGRAM_MOD in speculation.methods:
            self._shared.read(sequence.tokens, state.num_shared, _readers(sequence))
            state.num_shared = len(sequence.tokens)
        return state


def _readers(sequence: Sequence) -> tuple[object, ...]:
    """Who may learn from a sequence: the same tenant in the same cache scope.

    A tenant could guess another tenant's text, and see in its own draft counts that it was right.
    """
    return (sequence.scope, sequence.spec.tenant)
