"""Drafts of one step are cut to a common length."""

from __future__ import annotations

from protocol.commands import DraftMethod, Speculation
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout
from scheduler.core.step import Chunk
from scheduler.spec_decode.break_even import BreakEven
from scheduler.spec_decode.common_length import cut_to_common_length
from scheduler.spec_decode.draft_plan import DraftPlan, SequenceState
from scheduler.spec_decode.draft_stopping import DraftStopping
from tests.support.scheduling import make_sequence

SECONDS = {1: 1.0, 2: 1.05, 4: 1.1, 8: 1.2, 64: 2.0}
"""A micro-batch costs far more than its rows."""

FREE = BreakEven(verifying=(0.0,) * 9, min_joint_probability=(0.0,) * 8)


def plan(slot: int, length: int, acceptance: float = 0.9) -> DraftPlan:
    """A plan whose draft model has drafted `length` tokens."""
    speculation = Speculation(methods=(DraftMethod.MODEL,), n_max=8)
    sequence = make_sequence([5, 6], speculation=speculation)
    chunk = Chunk(sequence, slot, 1, 2, True, is_decode=True, max_draft=8)
    stopping = DraftStopping(lambda level: acceptance, FREE)
    for _ in range(length):
        stopping.should_continue(0.9)
    return DraftPlan(
        index=slot,
        chunk=chunk,
        speculation=speculation,
        state=SequenceState(),
        method=DraftMethod.MODEL,
        max_length=8,
        draft=[1] * length,
        break_even=FREE,
        stopping=stopping,
    )


def cut(*plans: DraftPlan, is_unified: bool = False) -> list[int]:
    cost = StepCost(SECONDS, SECONDS)
    layout = Layout(512, is_unified)
    cut_to_common_length([one.chunk for one in plans], plans, cost, layout)
    return [len(one.draft) for one in plans]


def test_a_token_that_only_one_draft_has_is_cut() -> None:
    assert cut(plan(0, 3), plan(1, 2)) == [2, 2]


def test_many_likely_tokens_of_one_draft_are_kept() -> None:
    assert cut(plan(0, 8, acceptance=1.0), plan(1, 1)) == [8, 1]


def test_in_one_stream_nothing_is_cut() -> None:
    assert cut(plan(0, 3), plan(1, 2), is_unified=True) == [3, 2]


def test_a_single_draft_is_left_alone() -> None:
    assert cut(plan(0, 3)) == [3]
