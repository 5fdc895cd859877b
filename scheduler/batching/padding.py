"""Padding of decode batches: unneeded rows are added where more rows take less time.

Kernels take rows by twos, fours or eights. So eight rows can be faster than seven, and two faster
than one. And with a stream for each slot, llama.cpp cuts a batch at each slot that has no row. An
8B model on an H100 takes 10 ms for 32 rows without gaps, and 70 ms for 16 rows in every other slot.
The padding rows go to idle slots between and beside the busy ones, and are dropped after the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scheduler.batching.cost_memo import CostMemo
from scheduler.batching.cost_model import StepCost
from scheduler.batching.micro_batches import Layout, split_into_micro_batches
from scheduler.core.step import Chunk, PaddingRow

MAX_BESIDE = 7
"""Most padding rows that only make a batch larger: enough to get from one to a kernel's eight."""

CELLS_READ = 256
"""Attention reads cells by so many. Deeper slots cost nothing within what is read anyway."""


def steps_until_deeper(batch: Sequence[Chunk]) -> int:
    """How many more tokens of each sequence attention computes while it reads as many cells."""
    return -max([chunk.stop for chunk in batch]) % CELLS_READ


@dataclass(frozen=True, slots=True)
class _Slots:
    """What the best padding depends on; slots rise."""

    busy: tuple[int, ...]
    idle: tuple[int, ...]
    """Idle slots that may get a padding row."""


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """A batch with padding rows."""

    slots: tuple[int, ...]
    """Slots of the padding rows; they rise."""
    seconds: float
    """What the batch takes with the padding rows."""


class Padding:
    """Finds the best padding rows by what batches cost."""

    def __init__(self, cost: StepCost, layout: Layout) -> None:
        self._cost = cost
        self._layout = layout
        self._offer: tuple[Sequence[PaddingRow], int] = ((), 0)
        """The padding rows of the last step, and up to which depth they were usable."""
        self._usable: tuple[int, ...] = ()
        self._known: CostMemo[_Slots, PaddedBatch | None] = CostMemo(cost)

    def best(
        self, batch: Sequence[Chunk], padding_rows: Sequence[PaddingRow]
    ) -> PaddedBatch | None:
        """The fastest way to pad a batch, whether or not it is faster than the batch alone.

        None if the batch can't be padded: without a usable row, or if it computes more than one
        token of each slot.
        """
        if not padding_rows or any(not chunk.is_decode or chunk.num_tokens != 1 for chunk in batch):
            return None
        deepest = max([chunk.stop for chunk in batch])  # attention of all rows reads as deep
        cells = -(-deepest // CELLS_READ) * CELLS_READ
        if (padding_rows, cells) != self._offer:  # most steps find what the step before found
            self._offer = padding_rows, cells
            self._usable = tuple([row.slot for row in padding_rows if row.start < cells])
        slots = _Slots(tuple([chunk.slot for chunk in batch]), self._usable)
        return self._known.get(slots, lambda: self._best(slots))

    def _best(self, slots: _Slots) -> PaddedBatch | None:
        return min(self._candidates(slots), key=lambda padded: padded.seconds, default=None)

    def _candidates(self, slots: _Slots) -> Iterator[PaddedBatch]:
        for padding in (*_nearest(slots), *_gaps(slots)):
            rows = [(slot, 1) for slot in sorted((*slots.busy, *padding))]
            seconds = self._cost.seconds(split_into_micro_batches(rows, self._layout))
            yield PaddedBatch(tuple(sorted(padding)), seconds)


def _nearest(slots: _Slots) -> Iterator[list[int]]:
    """The nearest idle slot, the two nearest idle slots, and so on."""
    first, last = slots.busy[0], slots.busy[-1]
    nearest = sorted(slots.idle, key=lambda slot: max(first - slot, slot - last))
    for count in range(1, min(len(nearest), MAX_BESIDE) + 1):
        yield nearest[:count]


def _gaps(slots: _Slots) -> Iterator[list[int]]:
    """The slots of the smallest gap between busy ones, of the two smallest gaps, and so on."""
    idle = set(slots.idle)
    between = (range(low + 1, high) for low, high in pairwise(slots.busy))
    gaps = [gap for gap in between if gap and idle.issuperset(gap)]
    filled: list[int] = []
    for gap in sorted(gaps, key=len):
        filled += gap
        yield list(filled)
