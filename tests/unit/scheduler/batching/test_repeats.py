"""Chunks that repeat those of the call before are divided as if they were looked at anew."""

from __future__ import annotations

import random

import pytest

from scheduler.batching.cost_model import StepCost
from scheduler.batching.grouping import Grouping
from scheduler.batching.micro_batches import Layout, MicroBatch
from scheduler.core.step import Chunk, PaddingRow
from tests.support.scheduling import make_sequence

NUM_SLOTS = 6
TABLES = (
    {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0},
    {1: 5.0, 2: 9.0, 3: 9.5, 4: 6.0, 5: 12.0, 6: 12.0},
    {1: 2.6, 2: 8.6, 3: 11.0, 4: 12.0, 5: 25.0},
)
"""Costs of which the first makes no difference, the others are better padded or divided."""

SEQUENCE = make_sequence()


class Pair:
    """Two divisions of the same steps, of which one is told what repeats."""

    def __init__(self, table: dict[int, float], layout: Layout) -> None:
        self.costs = [StepCost(table, table) for _ in range(2)]
        self.told, self.untold = (Grouping(cost, layout) for cost in self.costs)
        self.num_short = 0
        """Steps that were not looked at anew."""

    def compare(
        self, chunks: list[Chunk], padding: tuple[PaddingRow, ...], *, is_repeat: bool
    ) -> None:
        plain = self.told._plain
        told = self.told.batches(chunks, padding, is_repeat=is_repeat)
        self.num_short += self.told._plain is plain is not None
        assert told == self.untold.batches(chunks, padding)

    def learn(self, rng: random.Random) -> None:
        """The costs turn out to be others."""
        rows, seconds = rng.randint(1, NUM_SLOTS), rng.choice((0.5, 3.0, 20.0))
        for cost in self.costs:
            cost.observe([MicroBatch(rows, rows)], seconds)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("is_unified", [False, True])
def test_repeats_are_divided_as_if_they_were_not(seed: int, is_unified: bool) -> None:
    rng = random.Random(seed)
    pair = Pair(TABLES[seed % len(TABLES)], Layout(512, is_unified=is_unified))
    for _ in range(60):
        busy = sorted(rng.sample(range(NUM_SLOTS), rng.randint(1, NUM_SLOTS)))
        stops = {slot: rng.choice((20, 250, 500, 700)) for slot in busy}
        idle = [slot for slot in range(NUM_SLOTS) if slot not in busy]
        padding = tuple(PaddingRow(slot, rng.choice((0, 260, 600))) for slot in idle)
        if rng.random() < 0.3:  # a prompt comes before
            pair.compare([prompt_of(busy[0])], padding, is_repeat=False)
        for number in range(rng.choice((1, 3, 12))):
            chunks = [token_of(slot, stops[slot] + number) for slot in busy]
            pair.compare(chunks, padding, is_repeat=number > 0)
            if rng.random() < 0.1:
                padding = tuple(PaddingRow(slot, rng.choice((0, 260, 600))) for slot in idle)
            if rng.random() < 0.2:
                pair.learn(rng)
    assert pair.num_short > 0


def prompt_of(slot: int) -> Chunk:
    return Chunk(make_sequence(), slot, 0, 40, wants_logits=True)


def token_of(slot: int, stop: int) -> Chunk:
    return Chunk(SEQUENCE, slot, stop - 1, stop, wants_logits=True, is_decode=True)
