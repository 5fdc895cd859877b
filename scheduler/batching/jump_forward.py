"""How many of the tokens that constraints forced are computed in one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import MAX_CHUNKS
from scheduler.batching.micro_batches import Layout, split_into_micro_batches
from scheduler.core.step import Chunk


def limit_jump_forward(
    chunks: Sequence[Chunk], cost: StepCost | None, layout: Layout
) -> tuple[Chunk, ...]:
    """The chunks, runs of forced tokens cut where all of them would mean fewer rows a second.

    With a stream for each slot, llama.cpp computes rows together only as far as neighbouring slots
    have some left, and a few rows of one slot can cost more than a row of every slot. What is cut
    off comes with a later step, then perhaps beside the run of a neighbour.
    """
    answers = [chunk for chunk in chunks if chunk.is_decode]
    if cost is None or all(chunk.num_tokens == 1 for chunk in answers):
        return tuple(chunks)
    if layout.is_unified or len(answers) > MAX_CHUNKS:
        return tuple(chunks)
    rows = _rows(answers, cost, layout)
    return tuple(_begin(chunk, rows[chunk.slot]) if chunk.is_decode else chunk for chunk in chunks)


def _rows(answers: Sequence[Chunk], cost: StepCost, layout: Layout) -> dict[int, int]:
    """Rows by slot, slots rising: one of each, and more where that raises the rows a second."""

    def rate(rows: dict[int, int]) -> float:
        return sum(rows.values()) / cost.seconds(split_into_micro_batches(rows.items(), layout))

    rows = dict.fromkeys([chunk.slot for chunk in answers], 1)
    best = rate(rows)
    for group in _neighbours(chunk for chunk in answers if chunk.num_tokens > 1):
        for most in sorted({chunk.num_tokens for chunk in group}):
            tried = rows | {chunk.slot: min(chunk.num_tokens, most) for chunk in group}
            if (faster := rate(tried)) > best:
                rows, best = tried, faster
    return rows


def _neighbours(runs: Iterator[Chunk]) -> list[list[Chunk]]:
    groups: list[list[Chunk]] = []
    for chunk in runs:
        if groups and chunk.slot == groups[-1][-1].slot + 1:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups


def _begin(chunk: Chunk, count: int) -> Chunk:
    """The first `count` rows of a chunk."""
    if count == chunk.num_tokens:
        return chunk
    return replace(chunk, stop=chunk.start + count, wants_logits=False, max_draft=0)
