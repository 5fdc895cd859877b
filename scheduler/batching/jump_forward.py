"""Jump-forward: how many of the tokens that constraints force are computed in one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import MAX_CHUNKS
from scheduler.batching.micro_batches import Layout, split_into_micro_batches
from scheduler.core.step import Chunk


def limit_jump_forward(
    chunks: Sequence[Chunk], cost: StepCost | None, layout: Layout
) -> tuple[Chunk, ...]:
    """The chunks, with runs of forced tokens cut where this gives more rows a second.

    With a stream for each slot, llama.cpp only computes rows together while neighbouring slots
    have rows left. A few rows of one slot can cost more than a row of every slot. A later step
    computes what is cut off, perhaps beside the run of a neighbour.
    """
    answers = [chunk for chunk in chunks if chunk.is_decode]
    if cost is None or all(chunk.num_tokens == 1 for chunk in answers):
        return tuple(chunks)
    if layout.is_unified or len(answers) > MAX_CHUNKS:
        return tuple(chunks)
    rows = _rows(answers, cost, layout)
    return tuple(_begin(chunk, rows[chunk.slot]) if chunk.is_decode else chunk for chunk in chunks)


def _rows(answers: Sequence[Chunk], cost: StepCost, layout: Layout) -> dict[int, int]:
    """Rows by slot; slots rise. Each has one row, and more where this gives more rows a second."""

    def rate(rows: dict[int, int]) -> float:
        return sum(rows.values()) / cost.seconds(split_into_micro_batches(rows.items(), layout))

    rows = dict.fromkeys([chunk.slot for chunk in answers], 1)
    best = rate(rows)
    for group in _neighbours(chunk for chunk in answers if chunk.num_tokens > 1):
        for length in sorted({chunk.num_tokens for chunk in group}):
            tried = rows | {chunk.slot: min(chunk.num_tokens, length) for chunk in group}
            if (faster := rate(tried)) > best:
                rows, best = tried, faster
    return rows


def _neighbours(runs: Iterator[Chunk]) -> list[list[Chunk]]:
    """Groups of chunks in consecutive slots."""
    groups: list[list[Chunk]] = []
    for chunk in runs:
        if groups and chunk.slot == groups[-1][-1].slot + 1:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups


def _begin(chunk: Chunk, count: int) -> Chunk:
    """The first `count` rows of a chunk; no token is sampled if rows are left."""
    if count == chunk.num_tokens:
        return chunk
    return replace(chunk, stop=chunk.start + count, wants_logits=False, max_draft=0)
