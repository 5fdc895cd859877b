"""How llama.cpp cuts a batch into micro-batches, which it computes one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True, slots=True)
class Layout:
    """What decides where a batch is cut."""

    n_ubatch: int
    """Most rows of a micro-batch."""
    is_unified: bool = False
    """Whether rows are taken in their order, because the slots share one stream of cells."""
    whole_tail: int = 0
    """How many of a slot's last rows in a batch are not cut: a recurrent memory can be taken back
    only within a micro-batch."""
    num_stages: int = 1
    """Devices that compute a micro-batch one after the other, each the next one meanwhile."""
    has_whole_drafts: bool = False
    """Whether a batch with drafts has to be one micro-batch. What is computed after a draft would
    take the place of what a window or a recurrent memory needs if the draft is wrong."""

    @property
    def rows_at_once(self) -> int:
        """Rows that keep all devices busy. A batch of more takes longer, and saves nothing."""
        return self.n_ubatch * self.num_stages


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together."""

    num_slots: int
    num_rows: int


def split_into_micro_batches(runs: Iterable[tuple[int, int]], layout: Layout) -> list[MicroBatch]:
    """The micro-batches of a batch of runs (slot, rows); slots rise.

    In one stream llama.cpp takes the rows in their order. With a stream for each slot it takes
    equally many rows of consecutive slots, until one of these slots has no rows left:

        slot 0  a a a a        1st  a b c
        slot 1  b              2nd  a       (slot 1 has no rows left, which is a gap)
        slot 2  c c            3rd  c
                               4th  a a     (after the gap, slot by slot)

    If tails are not cut, slots whose tail would be wait for a later micro-batch. If that is all of
    them, the first is computed alone.

    (split_simple and split_equal in llama.cpp's llama-batch.cpp)
    """
    if layout.is_unified:
        return _in_one_stream(list(runs), layout.n_ubatch)
    left = {slot: rows for slot, rows in runs if rows > 0}
    micro_batches: list[MicroBatch] = []
    while left:
        slots = _first_neighbours(left, layout.n_ubatch)
        rows = min(min(left[slot] for slot in slots), max(layout.n_ubatch // len(slots), 1))
        if layout.whole_tail:
            slots, rows = _with_whole_tails(slots, rows, left, layout)
        micro_batches.append(MicroBatch(len(slots), len(slots) * rows))
        for slot in slots:
            left[slot] -= rows
            if left[slot] == 0:
                del left[slot]
    return micro_batches


def _first_neighbours(left: dict[int, int], max_slots: int) -> list[int]:
    """The first slots with rows left that follow each other without a gap."""
    neighbours: list[int] = []
    for slot in left:
        if neighbours and (slot != neighbours[-1] + 1 or len(neighbours) == max_slots):
            break
        neighbours.append(slot)
    return neighbours


def _with_whole_tails(
    slots: list[int], rows: int, left: dict[int, int], layout: Layout
) -> tuple[list[int], int]:
    """The first of the slots whose tails are not cut after `rows` rows; or the first slot alone,
    with as many rows as its tail allows."""
    whole = list(takewhile(lambda slot: not 0 < left[slot] - rows < layout.whole_tail, slots))
    if whole:
        return whole, rows
    first = left[slots[0]]
    return slots[:1], first if first <= layout.n_ubatch else first - layout.whole_tail


def _in_one_stream(runs: list[tuple[int, int]], n_ubatch: int) -> list[MicroBatch]:
    total = sum(rows for _, rows in runs)
    sizes = [n_ubatch] * (total // n_ubatch) + ([total % n_ubatch] if total % n_ubatch else [])
    return [MicroBatch(min(len(runs), size), size) for size in sizes]
