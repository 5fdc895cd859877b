"""Cuts the draft model's drafts of one step to a common length, where that is faster."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout, split_into_micro_batches
from scheduler.core.step import Chunk
from scheduler.spec_decode.draft_plan import DraftPlan


def cut_to_common_length(
    chunks: Sequence[Chunk], plans: Sequence[DraftPlan], cost: StepCost, layout: Layout
) -> None:
    """Shorten drafts in place to the common length that gives the most tokens a second.

    With a stream for each slot, rows are only computed together while every slot has rows left.
    So drafts of different lengths can cost more than they are worth.
    """
    cuttable = {p.chunk.slot: p for p in plans if p.break_even is not None and p.draft}
    if layout.is_unified or len(cuttable) < 2:
        return
    decodes = [chunk for chunk in chunks if chunk.is_decode]

    def rate(max_length: int) -> float:
        """Tokens a second if no draft is longer."""
        tokens, rows = float(len(decodes)), []
        for chunk in decodes:
            plan = cuttable.get(chunk.slot)
            length = min(len(plan.draft), max_length) if plan else 0
            if plan and plan.stopping:
                tokens += plan.stopping.expected_tokens(length)
            rows.append((chunk.slot, chunk.num_tokens + length))
        return tokens / cost.seconds(split_into_micro_batches(rows, layout))

    longest = max(len(plan.draft) for plan in cuttable.values())
    best = max(range(longest + 1), key=rate)
    for plan in cuttable.values():
        del plan.draft[best:]
