"""How llama.cpp cuts a batch into the pieces that it computes at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """What decides where a batch is cut."""

    n_ubatch: int
    """Rows that a piece may have."""
    is_unified: bool = False
    """Whether the slots share one stream of cells."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows that go through the model together."""

    num_slots: int
    num_rows: int


def split_into_micro_batches(runs: Iterable[tuple[int, int]], layout: Layout) -> list[MicroBatch]:
    """The pieces of a batch of runs (slot, rows), slots rising.

    In one stream llama.cpp takes the rows as they come. With a stream for each slot it takes
    equally many rows of consecutive slots, until one of them has none left:

        slot 0  a a a a        1st  a b c
        slot 1  b              2nd  a       (slot 1 has no rows left, which is a gap)
        slot 2  c c            3rd  c
                               4th  a a     (after the gap, slot by slot)

    (split_simple and split_equal in llama.cpp's llama-batch.cpp)
    """
    if layout.is_unified:
        return _in_one_stream(list(runs), layout.n_ubatch)
    left = {slot: rows for slot, rows in runs if rows > 0}
    pieces: list[MicroBatch] = []
    while left:
        slots = _first_neighbours(left, layout.n_ubatch)
        rows = min(min(left[slot] for slot in slots), max(layout.n_ubatch // len(slots), 1))
        pieces.append(MicroBatch(len(slots), len(slots) * rows))
        for slot in slots:
            left[slot] -= rows
            if left[slot] == 0:
                del left[slot]
    return pieces


def _first_neighbours(left: dict[int, int], most: int) -> list[int]:
    neighbours: list[int] = []
    for slot in left:
        if neighbours and (slot != neighbours[-1] + 1 or len(neighbours) == most):
            break
        neighbours.append(slot)
    return neighbours


def _in_one_stream(runs: list[tuple[int, int]], n_ubatch: int) -> list[MicroBatch]:
    total = sum(rows for _, rows in runs)
    sizes = [n_ubatch] * (total // n_ubatch) + ([total % n_ubatch] if total % n_ubatch else [])
    return [MicroBatch(min(len(runs), size), size) for size in sizes]
